use std::net::SocketAddr;
use std::time::Duration;

use super::store::{StoreUrl, url};
use super::text;

/// The consumer of events, `pvz consume`. It reads where `events.url` says that
/// events are sent.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Consumer {
    /// Where what was read is kept: "sqlite:PATH" (a file, for one process;
    /// without a path it is consumer.db in the data directory) or
    /// "postgres://user:password@host:port/database" (for any number of
    /// consumers; it may be the database of the orders).
    #[config(env = "PVZ_CONSUMER_STORE", default = "sqlite:", deserialize_with = url)]
    pub store: StoreUrl,

    /// Where the consumer's liveness, readiness and metrics listen:
    /// address:port. Port 0 picks a free one.
    #[config(env = "PVZ_CONSUMER_ADMIN_ADDR", default = "127.0.0.1:9465", deserialize_with = text::address)]
    pub admin_addr: SocketAddr,

    /// How many records are read and applied at once.
    #[config(
        env = "PVZ_CONSUMER_BATCH",
        default = 2000,
        deserialize_with = text::integer::<_, _, 1, 100_000>
    )]
    pub batch: usize,

    /// How long a partition stays with a consumer that says nothing any more.
    #[config(
        env = "PVZ_CONSUMER_LEASE",
        default = "6s",
        deserialize_with = text::duration::<_, 300, { text::HOUR }>
    )]
    pub lease: Duration,

    /// Whether `pvz serve` consumes the events itself, in its own process.
    #[config(env = "PVZ_CONSUMER_IN_PROCESS", default = false, deserialize_with = text::truth)]
    pub in_process: bool,
}
