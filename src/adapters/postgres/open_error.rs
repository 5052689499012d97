//! Errors of opening a store.

use super::tls::TlsError;
use crate::ports::PortError;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A store cannot be opened. The texts are for the operator who starts the
/// program.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The TLS settings cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database cannot be reached or refuses the connection.
    #[error("cannot connect to PostgreSQL at {server}")]
    Connect {
        /// Host and port.
        server: String,
        /// The cause.
        #[source]
        cause: Cause,
    },
    /// The database returned an error or an unexpected value.
    #[error("the PostgreSQL database cannot be used")]
    Database(#[source] Cause),
    /// Connections share sessions.
    #[error(
        "the connections to PostgreSQL are not sessions of their own: {0}; set the pooler in between to session \
         mode, or use the address of the server itself"
    )]
    SharedSessions(&'static str),
    /// The engine lacks a feature of PostgreSQL.
    #[error("the database does not behave as PostgreSQL does: {0}; use a PostgreSQL server")]
    NotPostgres(&'static str),
    /// The standby is a database of another store.
    #[error("the database to read from is not a standby of the store's database")]
    OtherStore,
    /// There is no schema.
    #[error("the PostgreSQL database has no schema")]
    Missing,
    /// The schema is older than this release.
    #[error("the schema of the PostgreSQL database is older than this release")]
    Older,
    /// A newer release created the schema.
    #[error(
        "the schema of the PostgreSQL database is newer than this release: it has version {0}, which this \
         release does not know; run the newer one"
    )]
    Newer(String),
    /// A migration waited for a lock for too long.
    #[error(
        "the schema of the PostgreSQL database was not migrated, because another session held a lock for too long: \
         {by}; end that session or wait for it, and migrate again"
    )]
    Blocked {
        /// The sessions that held it.
        by: String,
        /// The error of PostgreSQL.
        #[source]
        cause: Cause,
    },
    /// A migration failed.
    #[error("cannot migrate the schema of the PostgreSQL database")]
    Migration(#[source] Cause),
}

impl From<PortError> for OpenError {
    fn from(error: PortError) -> Self {
        Self::Database(error.into())
    }
}
