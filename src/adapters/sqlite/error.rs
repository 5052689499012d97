//! Converts errors of the driver to errors of the ports.

use diesel::result::{DatabaseErrorKind, Error};

use super::interrupt;
use crate::adapters::rows::Fault;
use crate::ports::PortError;

/// A failure of a statement, or of the conversion of its rows.
#[derive(Debug)]
pub(super) enum Failure {
    /// An error of SQLite or of the driver.
    Driver(Error),
    /// A stored value, or one to be stored, breaks an invariant.
    Inconsistent(String),
}

impl Failure {
    /// Returns the failure of a row that breaks an invariant of the domain.
    pub(super) fn row(table: &str, key: &str, fault: &Fault) -> Self {
        Self::Inconsistent(describe(table, key, fault))
    }

    /// Returns true if a row with the same key exists.
    pub(super) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Driver(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
    }

    /// Returns true if a read was interrupted because its caller no longer waits.
    pub(super) fn is_interruption(&self) -> bool {
        matches!(self, Self::Driver(error) if interrupt::is_interruption(error))
    }

    /// Converts the errors of a query of that table. For text that is not UTF-8,
    /// or a missing value, the driver names only the column.
    pub(super) fn load(table: &'static str) -> impl Fn(Error) -> Self {
        move |error| match error {
            Error::DeserializationError(cause) => Self::Inconsistent(format!("{table}: {cause}")),
            other => Self::Driver(other),
        }
    }
}

/// Returns a sentence that names table, key and column.
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

/// The messages of `SQLITE_CORRUPT` and `SQLITE_NOTADB`, for which the driver has
/// no error kind. Retrying does not help.
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
        // Disk full, read-only, busy, I/O error.
        other => PortError::unavailable("a SQLite operation failed", other),
    }
}
