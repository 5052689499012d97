//! The options of a store.

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio_postgres::config::Host;

use super::open_error::OpenError;
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

impl ServerAddress {
    /// Returns the error for a server that cannot be reached.
    pub(super) fn unreachable(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> OpenError {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
            }
        });
        OpenError::Connect { server: hosts.collect::<Vec<_>>().join(", "), cause: cause.into() }
    }
}
