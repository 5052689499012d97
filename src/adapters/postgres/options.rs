//! The options of a store.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::tls::Tls;

/// The options of a store.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The primary.
    pub server: ServerAddress,
    /// A standby of it, from which orders, lists and histories are read.
    pub standby: Option<ServerAddress>,
    /// Connections that read, to each server.
    pub readers: NonZeroUsize,
    /// Connections that write.
    pub writers: NonZeroUsize,
    /// The longest time of a statement, of a wait for a lock, and of a wait for
    /// a connection.
    pub timeout: Duration,
}

/// The address of a database, with credentials and TLS settings.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Hosts, user, password and database.
    pub config: tokio_postgres::Config,
    /// The TLS settings of connections to it.
    pub tls: Tls,
}
