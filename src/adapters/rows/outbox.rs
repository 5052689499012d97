//! Cursors and dead letters as rows of a database.

use diesel::Queryable;

use super::{Fault, instant};
use crate::domain::OrderId;
use crate::ports::{DeadLetter, LeaderStatus, OutboxStatus, Position, Resolution};

/// A dead letter as the columns of its row, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct DeadLetterRow {
    /// The order that is held back.
    pub order_id: String,
    /// The sequence of the event within it.
    pub sequence: i64,
    /// Where the event stands in the log.
    pub position: i64,
    /// Why the sink refused it.
    pub cause: String,
    /// When, in microseconds since the epoch.
    pub buried_at: i64,
    /// What an operator wants done with it.
    pub resolution: Option<String>,
}

impl DeadLetterRow {
    /// A resolution as its column holds it.
    pub const fn resolution_text(resolution: Resolution) -> &'static str {
        match resolution {
            Resolution::Retry => "RETRY",
            Resolution::Drop => "DROP",
        }
    }
}

impl TryFrom<DeadLetterRow> for DeadLetter {
    type Error = Fault;

    fn try_from(row: DeadLetterRow) -> Result<Self, Fault> {
        let parse = |text: String| {
            let known = [Resolution::Retry, Resolution::Drop];
            let found = known.into_iter().find(|known| DeadLetterRow::resolution_text(*known) == text);
            found.ok_or_else(|| Fault::new("resolution", format!("is none: {text:?}")))
        };
        Ok(Self {
            order_id: OrderId::parse(&row.order_id).map_err(|why| Fault::new("order_id", why))?,
            sequence: row.sequence,
            position: Position(row.position),
            cause: row.cause,
            refused_at: instant("buried_at", row.buried_at)?,
            resolution: row.resolution.map(parse).transpose()?,
        })
    }
}

/// A sink's cursor as the columns of its row, in this order, and how many dead
/// letters it has.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct CursorRow {
    /// The last event that the sink has.
    pub position: i64,
    /// Who led last.
    pub leader: Option<String>,
    /// Since when, in microseconds since the epoch.
    pub led_since: Option<i64>,
    /// What failed last.
    pub failure: Option<String>,
    /// When, in microseconds since the epoch.
    pub failed_at: Option<i64>,
    /// How many dead letters the sink has.
    pub dead_letters: i64,
}

impl CursorRow {
    /// How publishing to the sink goes; whether anybody leads is not in the
    /// row.
    ///
    /// # Errors
    /// The first column that breaks an invariant.
    pub fn status(self, has_leader: bool) -> Result<OutboxStatus, Fault> {
        let failure = match (self.failure, self.failed_at) {
            (Some(failure), Some(at)) => Some((failure, instant("failed_at", at)?)),
            _ => None,
        };
        let leader = match (self.leader, self.led_since) {
            (Some(leader), Some(since)) => {
                Some(LeaderStatus { name: leader, since: instant("led_since", since)?, failure })
            }
            _ => None,
        };
        let dead_letters = u64::try_from(self.dead_letters).unwrap_or_default();
        Ok(OutboxStatus { cursor: Position(self.position), has_leader, leader, dead_letters })
    }
}
