//! The driver's errors as errors of the ports.

use diesel::result::{DatabaseErrorKind, Error};

use crate::adapters::rows::Fault;
use crate::ports::PortError;

/// Why a statement, or what was made of its rows, failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite, or the driver.
    Driver(Error),
    /// What is stored, or was to be stored, breaks an invariant.
    Inconsistent(String),
}

impl Failure {
    /// A row that is not what the domain says it is.
    pub(super) fn row(table: &str, key: &str, fault: &Fault) -> Self {
        Self::Inconsistent(describe(table, key, fault))
    }

    /// A row with that key was there.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Driver(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
    }

    /// A load from that table. Of a text that is not UTF-8, or a missing value,
    /// the driver names the column only.
    pub(super) fn load(table: &'static str) -> impl Fn(Error) -> Self {
        move |error| match error {
            Error::DeserializationError(cause) => Self::Inconsistent(format!("{table}: {cause}")),
            other => Self::Driver(other),
        }
    }
}

/// Names table, key and column.
pub(super) fn describe(table: &str, key: &str, fault: &Fault) -> String {
    format!("{table} {key:?}: {fault}")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Inconsistent(what) => Self::inconsistent(what),
            Failure::Driver(error) => from_driver(error),
        }
    }
}

/// The message of `SQLITE_CORRUPT` and of `SQLITE_NOTADB`: the driver has no
/// kind for them, and waiting does not help.
const DAMAGED: [&str; 2] = ["database disk image is malformed", "file is not a database"];

fn from_driver(error: Error) -> PortError {
    use DatabaseErrorKind as Kind;
    match error {
        // SQLite names table and column: "UNIQUE constraint failed: orders.order_id".
        Error::DatabaseError(
            Kind::UniqueViolation | Kind::ForeignKeyViolation | Kind::NotNullViolation | Kind::CheckViolation,
            cause,
        ) => PortError::inconsistent(cause.message()),
        Error::DatabaseError(_, cause) if DAMAGED.iter().any(|text| cause.message().contains(text)) => {
            PortError::inconsistent(format!("the database file is damaged: {}", cause.message()))
        }
        Error::DeserializationError(cause) => {
            PortError::inconsistent(format!("a stored value cannot be read: {cause}"))
        }
        // Full, read-only, busy, input and output.
        other => PortError::unavailable("SQLite could not do it", other),
    }
}
