//! Orders in PostgreSQL, for any number of replicas on one database.
//!
//! Batches race with those of other workers and other replicas; `write` says
//! why none of them can lose or double an effect. Statements are kept prepared
//! for as long as their connection lives.

mod audit;
mod check;
mod connect;
mod error;
mod feed;
mod in_doubt;
mod inbox;
mod inbox_sql;
mod inbox_write;
mod insert;
mod leader_lock;
mod locking_write;
mod maintenance;
mod migrate;
mod notifications;
mod open_error;
mod optimistic_insert;
mod options;
mod outbox;
mod pipelined_connections;
mod pool;
mod read;
mod rows;
mod session;
mod sql;
mod standby;
mod statement;
mod store;
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
