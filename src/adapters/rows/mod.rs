//! Rows of databases as plain values, and their conversion to and from the
//! domain. Stored values are not trusted: one that breaks an invariant is a
//! [`Fault`] that names its column, never a panic and never a default.

mod event;
mod idempotency_record;
pub mod inbox;
mod message;
mod order;
mod outbox;
mod table_row;

use std::fmt;

use crate::domain::Timestamp;

pub use event::{EventRow, event_body, event_id_of, type_text};
pub use idempotency_record::{IdempotencyRow, answer_bytes, later_hash_bytes};
pub use inbox::{OrderProgressRow, PartitionRow, StatisticsRow, UnknownEventRow, event_json};
pub use message::{Format, Unread, read_event};
pub use order::OrderRow;
pub use outbox::{CursorRow, DeadLetterRow, KnownSinkRow};
pub use table_row::{BindRow, TableRow};

/// A stored value that breaks an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The column, with the path inside a message: `body.weight_grams`.
    pub column: String,
    /// The problem, as a predicate of the column's name.
    pub why: String,
}

impl Fault {
    fn new(column: &str, why: impl Into<String>) -> Self {
        Self { column: column.to_owned(), why: why.into() }
    }

    /// Returns the same fault, inside that column.
    fn within(self, column: &str) -> Self {
        Self { column: format!("{column}.{}", self.column), why: self.why }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.column, self.why)
    }
}

/// Returns an instant from microseconds since the epoch.
fn instant(column: &str, micros: i64) -> Result<Timestamp, Fault> {
    Timestamp::from_micros(micros).ok_or_else(|| Fault::new(column, "is not within the years 1 to 9999"))
}
