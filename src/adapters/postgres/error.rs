//! The driver's errors as errors of the ports. Diesel tells some SQLSTATEs as
//! kinds and keeps none: 40001 is `SerializationFailure`, class 23 has a kind
//! for each code, and everything else (57014 statement timeout, 55P03 lock
//! timeout, 53100 disk full, 57P01 shutdown, 40P01 deadlock, 08xxx connection)
//! is something that may be otherwise a little later.

use deadpool::managed::{PoolError, TimeoutType};
use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error};

use crate::adapters::rows::Fault;
use crate::ports::PortError;

/// Why a statement, or what was made of its rows, failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another batch was first: nothing was written.
    LostRace,
    /// The connection is gone.
    Broken(Error),
    /// A connection cannot be made.
    Connect(ConnectionError),
    /// The pool had no connection to give in time.
    Waited(&'static str),
    /// An operation was not answered in time.
    Silent,
    /// PostgreSQL, or the driver.
    Driver(Error),
    /// What is stored, or was to be stored, breaks an invariant.
    Inconsistent(String),
}

impl Failure {
    /// A row that is not what the domain says it is.
    pub(super) fn row(table: &str, key: &str, fault: &Fault) -> Self {
        Self::Inconsistent(describe(table, key, fault))
    }
}

/// Names table, key and column.
pub(super) fn describe(table: &str, key: &str, fault: &Fault) -> String {
    format!("{table} {key:?}: {fault}")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use DatabaseErrorKind as Kind;
        match &error {
            // Only the guard of a batch raises it: nothing here runs at an
            // isolation that could.
            Error::DatabaseError(Kind::SerializationFailure, _) => Self::LostRace,
            Error::DatabaseError(Kind::UnableToSendCommand | Kind::ClosedConnection, _)
            | Error::BrokenTransactionManager => Self::Broken(error),
            // A check without a name is the lack of a partition for a new
            // position, and that is made in time or by hand.
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
            PoolError::Timeout(TimeoutType::Wait) => Self::Waited("all are in use"),
            _ => Self::Waited("none could be made in time"),
        }
    }
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Inconsistent(what) => Self::inconsistent(what),
            Failure::LostRace => Self::unavailable("a batch lost the race against others", "too often"),
            Failure::Connect(error) => Self::unavailable("there is no connection to PostgreSQL", error),
            Failure::Waited(why) => Self::unavailable("there is no connection to PostgreSQL", why),
            Failure::Silent => Self::unavailable("PostgreSQL does not answer", "for too long"),
            Failure::Broken(error) => Self::unavailable("the connection to PostgreSQL broke", error),
            Failure::Driver(error) => Self::unavailable("PostgreSQL could not do it", error),
        }
    }
}
