//! Adapters: one folder per technology. No adapter names another, and modules
//! shared by several adapters name none.

pub mod admin;
pub mod api;
pub mod connections;
pub mod file_identity;
pub mod grpc;
pub mod http;
pub mod journal;
pub mod kafka;
pub mod last_commit;
pub mod lock_file;
pub mod memory;
pub mod metered;
pub mod moka;
pub mod null;
pub mod optimistic_insert;
pub mod postgres;
pub mod proto_mapping;
pub mod rows;
pub mod sqlite;
pub mod status;
pub mod system;
pub mod write_coalescing;
