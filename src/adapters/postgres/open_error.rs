//! Errors of opening a store.

use super::tls::TlsError;
use crate::ports::PortError;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store cannot be opened, for whoever started the program.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// TLS cannot be spoken to it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database cannot be reached, or does not let us in.
    #[error("cannot connect to PostgreSQL")]
    Connect(#[source] Cause),
    /// The database answers, but not as it should.
    #[error("the PostgreSQL database cannot be used")]
    Database(#[source] Cause),
    /// The standby belongs to another store.
    #[error("the database to read from is not a standby of the store's")]
    OtherStore,
    /// There is no schema.
    #[error("the PostgreSQL database has no schema of ours yet; make it with `pvz migrate`")]
    Missing,
    /// The schema is older than this release.
    #[error("the schema of the PostgreSQL database is older than this release; run `pvz migrate`")]
    Older,
    /// A newer release made the schema.
    #[error(
        "the PostgreSQL database was written by a newer release: it has the schema version {0}, which \
         this one does not know"
    )]
    Newer(String),
    /// A step of the schema failed.
    #[error("cannot bring the schema of the PostgreSQL database up to date")]
    Migration(#[source] Cause),
}

impl From<PortError> for OpenError {
    fn from(error: PortError) -> Self {
        Self::Database(error.into())
    }
}
