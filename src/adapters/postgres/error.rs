//! Driver errors as errors of the ports.
//!
//! Diesel maps some SQLSTATEs to kinds and drops the code: 40001 is
//! `SerializationFailure`, and class 23 has a kind for each code. All other
//! codes (57014 statement timeout, 55P03 lock timeout, 53100 disk full, 57P01
//! shutdown, 40P01 deadlock, 08xxx connection) are retryable.

use deadpool::managed::{PoolError, TimeoutType};
use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error};

use crate::adapters::rows::Fault;
use crate::ports::PortError;

/// A failure of an operation.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another batch committed first; nothing was written.
    LostRace,
    /// The connection broke.
    Broken(Error),
    /// A connection cannot be opened.
    Connect(ConnectionError),
    /// The pool returned no connection in time.
    Pool(&'static str),
    /// An operation was not answered in time.
    TimedOut,
    /// Another error of PostgreSQL or the driver.
    Driver(Error),
    /// A stored value, or a value to store, breaks an invariant.
    Inconsistent(String),
}

impl Failure {
    /// A row that breaks an invariant.
    pub(super) fn row(table: &str, key: &str, fault: &Fault) -> Self {
        Self::Inconsistent(describe(table, key, fault))
    }
}

/// Names table, key and column of a fault.
pub(super) fn describe(table: &str, key: &str, fault: &Fault) -> String {
    format!("{table} {key:?}: {fault}")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use DatabaseErrorKind as Kind;
        match &error {
            // Only the guard of a batch raises it: no transaction here runs at
            // an isolation level that could.
            Error::DatabaseError(Kind::SerializationFailure, _) => Self::LostRace,
            Error::DatabaseError(Kind::UnableToSendCommand | Kind::ClosedConnection, _)
            | Error::BrokenTransactionManager => Self::Broken(error),
            // A check violation without a constraint means that a new position
            // has no partition. Maintenance creates it, or an operator.
            Error::DatabaseError(Kind::CheckViolation, cause) if cause.constraint_name().is_none() => {
                Self::Driver(error)
            }
            Error::DatabaseError(
                Kind::UniqueViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::CheckViolation
                | Kind::ExclusionViolation
                | Kind::RestrictViolation,
                cause,
            ) => {
                let table = cause.table_name().unwrap_or("a table");
                Self::Inconsistent(format!("{table}: {}", cause.message()))
            }
            Error::DeserializationError(cause) => {
                Self::Inconsistent(format!("a stored value cannot be read: {cause}"))
            }
            _ => Self::Driver(error),
        }
    }
}

impl From<PoolError<Self>> for Failure {
    fn from(error: PoolError<Self>) -> Self {
        match error {
            PoolError::Backend(failure) => failure,
            PoolError::Timeout(TimeoutType::Wait) => Self::Pool("all connections are in use"),
            _ => Self::Pool("no connection could be opened in time"),
        }
    }
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Inconsistent(what) => Self::inconsistent(what),
            Failure::LostRace => {
                Self::unavailable("the batch lost the race against other batches", "too many attempts")
            }
            Failure::Connect(error) => Self::unavailable("no connection to PostgreSQL", error),
            Failure::Pool(cause) => Self::unavailable("no connection to PostgreSQL", cause),
            Failure::TimedOut => Self::unavailable("PostgreSQL did not answer in time", "timeout"),
            Failure::Broken(error) => Self::unavailable("the connection to PostgreSQL broke", error),
            Failure::Driver(error) => Self::unavailable("PostgreSQL returned an error", error),
        }
    }
}
