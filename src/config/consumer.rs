use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::store::{StoreUrl, url};
use super::text;

/// The event consumer, `pvz consume`. It reads from `events.url`.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Consumer {
    /// The consumer's database: "sqlite:PATH" (a file, for one consumer; default:
    /// consumer.db in the data directory) or "postgres://user@host:port/database"
    /// (for any number of consumers; may be the database of the orders).
    #[config(env = "PVZ_CONSUMER_STORE", default = "sqlite:", deserialize_with = url)]
    pub store: StoreUrl,

    /// PostgreSQL: file with the password of the consumer's database. Not set: as
    /// for `store.password_file`.
    #[config(env = "PVZ_CONSUMER_PASSWORD_FILE", deserialize_with = text::path)]
    pub password_file: Option<PathBuf>,

    /// Listening address of the consumer's health checks and metrics:
    /// address:port. Port 0 picks a free port.
    #[config(env = "PVZ_CONSUMER_ADMIN_ADDR", default = "127.0.0.1:9465", deserialize_with = text::address)]
    pub admin_addr: SocketAddr,

    /// Maximum number of records read and applied in one transaction.
    #[config(
        env = "PVZ_CONSUMER_BATCH",
        default = 2000,
        deserialize_with = text::integer::<_, _, 1, 100_000>
    )]
    pub batch: usize,

    /// Lease on a partition: time until another consumer may take over a
    /// partition whose consumer does not respond.
    #[config(
        env = "PVZ_CONSUMER_LEASE",
        default = "6s",
        deserialize_with = text::duration::<_, 300, { text::HOUR }>
    )]
    pub lease: Duration,

    /// Run the consumer inside `pvz serve`.
    #[config(env = "PVZ_CONSUMER_IN_PROCESS", default = false, deserialize_with = text::boolean)]
    pub in_process: bool,
}
