//! Rows of an outbox, and their conversion to and from the domain.

use diesel::Queryable;

use super::{Fault, instant};
use crate::domain::OrderId;
use crate::ports::{DeadLetter, LeaderStatus, OutboxStatus, Position, Resolution};

/// The columns of a row of `dead_letters`, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct DeadLetterRow {
    /// The order, whose later events are held back.
    pub order_id: String,
    /// The sequence of the event.
    pub sequence: i64,
    /// The position of the event in the log.
    pub position: i64,
    /// The reason the sink refused the event.
    pub cause: String,
    /// The instant of the refusal, in microseconds since the epoch.
    pub buried_at: i64,
    /// The resolution that an operator chose.
    pub resolution: Option<String>,
}

impl DeadLetterRow {
    /// Returns the text of a resolution.
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
            found.ok_or_else(|| Fault::new("resolution", format!("must be RETRY or DROP: {text:?}")))
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

/// The columns of a row of `outbox_cursors`, in this order, and the number of the
/// sink's dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct CursorRow {
    /// The position of the last published event.
    pub position: i64,
    /// The name of the last leader.
    pub leader: Option<String>,
    /// The instant at which it became leader, in microseconds since the epoch.
    pub led_since: Option<i64>,
    /// The last failure.
    pub failure: Option<String>,
    /// The instant of the last failure, in microseconds since the epoch.
    pub failed_at: Option<i64>,
    /// The number of the sink's dead letters.
    pub dead_letters: i64,
}

impl CursorRow {
    /// Returns the status of the outbox. The row does not say whether a relay
    /// holds the leader lock.
    ///
    /// # Errors
    /// Returns the first column that breaks an invariant.
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
