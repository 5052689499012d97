//! The store of orders in PostgreSQL, for any number of replicas on one
//! database.
//!
//! Batches race with batches of other workers and other replicas.
//! `locking_write` and `optimistic_insert` explain why no effect is lost or
//! doubled. Statements stay prepared as long as their connection is open.

mod audit;
mod columns;
mod command_check;
mod connect;
mod durability_barrier;
mod error;
mod feed;
mod in_doubt;
mod inbox;
mod inbox_sql;
mod inbox_write;
mod known_sink;
mod leader_lock;
mod loaded_versions;
mod lock_waits;
mod locking_statement;
mod locking_write;
mod maintenance;
mod migrate;
mod notification_payload;
mod notifications;
mod open_error;
mod optimistic_insert;
mod options;
mod outbox;
mod pipelined_connections;
mod pool;
mod read;
mod readers;
mod rows;
mod session;
mod session_check;
mod sql;
mod standby;
mod store;
mod tables;
mod tls;
mod unreplicated_writes;
mod write;

pub use self::connect::{Client, connect};
pub use self::migrate::{MigrationStatus, Step, migrate, status};
pub use self::notifications::{PostgresNotifications, PostgresNotifier};
pub use self::open_error::OpenError;
pub use self::options::{PostgresOptions, ServerAddress};
pub use self::store::PostgresStore;
pub use self::tls::{Authorities, Check, Encryption, Tls, TlsError};
