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
    /// The position of the event in the log.
    pub position: i64,
    /// The cause of the refusal.
    pub cause: String,
    /// The time of the refusal, in microseconds since the epoch.
    pub buried_at: i64,
    /// The operator's decision, if there is one.
    pub resolution: Option<String>,
}

impl DeadLetterRow {
    /// Returns a resolution as its column stores it.
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
            found.ok_or_else(|| Fault::new("resolution", format!("has the unknown value {text:?}")))
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

/// The cursor of a sink and the number of its dead letters, as columns in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct CursorRow {
    /// The position of the last event that the sink has.
    pub position: i64,
    /// The last leader.
    pub leader: Option<String>,
    /// The time at which it became the leader, in microseconds since the epoch.
    pub led_since: Option<i64>,
    /// The last failure.
    pub failure: Option<String>,
    /// The time of that failure, in microseconds since the epoch.
    pub failed_at: Option<i64>,
    /// The number of dead letters of the sink.
    pub dead_letters: i64,
}

impl CursorRow {
    /// Returns the publishing status of the sink. The leader lock is not part of the row, so
    /// `has_leader` is an argument.
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
