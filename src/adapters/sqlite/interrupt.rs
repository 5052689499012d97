//! Interrupts a read whose caller no longer waits.
//!
//! The driver does not expose `sqlite3_interrupt`, and this crate has no unsafe code. So each read
//! has the condition `is_awaited()`, a function that SQLite calls for each row that the read
//! visits. The function fails when the caller is gone, which ends the statement.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use diesel::result::Error;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Bool;
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, SqliteConnection};

/// The message of an interrupted statement.
const INTERRUPTED: &str = "the caller of the read no longer waits";

#[diesel::declare_sql_function]
extern "SQL" {
    fn is_awaited() -> Bool;
}

/// The caller of a read. It waits as long as this value exists.
#[derive(Debug, Default)]
pub(super) struct Caller(Arc<()>);

/// A reference to a caller.
#[derive(Debug, Clone, Default)]
pub(super) struct CallerRef(Weak<()>);

impl Caller {
    /// Returns a reference to this caller.
    pub(super) fn downgrade(&self) -> CallerRef {
        CallerRef(Arc::downgrade(&self.0))
    }
}

/// The caller that `is_awaited()` checks on one connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct CurrentCaller(Arc<Mutex<CallerRef>>);

impl CurrentCaller {
    /// Defines `is_awaited()` on the connection, and returns a value without a caller.
    pub(super) fn install(connection: &mut SqliteConnection) -> QueryResult<Self> {
        let current = Self::default();
        let asked = current.clone();
        // Not deterministic: otherwise SQLite calls it once for the whole statement.
        is_awaited_utils::register_nondeterministic_impl(connection, move || Awaited(asked.waits()))?;
        Ok(current)
    }

    /// Sets the caller of the next statements.
    pub(super) fn set(&self, caller: CallerRef) {
        *self.lock() = caller;
    }

    fn waits(&self) -> bool {
        self.lock().0.strong_count() > 0
    }

    fn lock(&self) -> MutexGuard<'_, CallerRef> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of `is_awaited()`: true, or an error.
#[derive(Debug)]
struct Awaited(bool);

impl ToSql<Bool, Sqlite> for Awaited {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        if !self.0 {
            return Err(INTERRUPTED.into());
        }
        <bool as ToSql<Bool, Sqlite>>::to_sql(&self.0, out)
    }
}

/// Returns true for the error of an interrupted statement.
pub(super) fn is_interruption(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(_, cause) if cause.message() == INTERRUPTED)
}

/// Makes `is_awaited()` return true and call `visit`, once for each row that a read visits.
#[cfg(test)]
pub(super) fn on_each_row(
    connection: &mut SqliteConnection,
    mut visit: impl FnMut() + Send + std::panic::UnwindSafe + 'static,
) -> QueryResult<()> {
    is_awaited_utils::register_nondeterministic_impl(connection, move || {
        visit();
        true
    })
}
