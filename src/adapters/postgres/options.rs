//! The settings of a store.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::tls::Tls;

/// The options of a store.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where the database is.
    pub server: ServerAddress,
    /// A standby of it, from which orders, lists and histories are read.
    pub standby: Option<ServerAddress>,
    /// How many connections read at the same time, from each of them.
    pub readers: NonZeroUsize,
    /// How many connections write at the same time.
    pub writers: NonZeroUsize,
    /// How long a statement may run, how long it waits for a lock, and how
    /// long an operation waits for a connection.
    pub timeout: Duration,
}

/// The address of a database, and who we are to it.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Hosts, user, password, database.
    pub config: tokio_postgres::Config,
    /// How connections to it are secured.
    pub tls: Tls,
}
