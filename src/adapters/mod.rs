//! One folder per technology; nobody names another adapter.

pub mod admin;
pub mod gather;
pub mod grpc;
pub mod guess;
pub mod http;
pub mod journal;
pub mod kafka;
pub mod lock_file;
pub mod memory;
pub mod metered;
pub mod postgres;
pub mod record;
pub mod sqlite;
pub mod status;
pub mod system;
pub mod wire;
