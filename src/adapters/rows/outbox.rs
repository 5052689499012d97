//! Rows of an outbox, and their conversion to and from the domain.

use diesel::Queryable;

use super::message::parse_uuid;
use super::{Fault, instant};
use crate::domain::{EventId, OrderId};
use crate::ports::{DeadLetter, KnownSink, LeaderStatus, OutboxStatus, Position, Resolution};

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
    /// The reason why the relay publishes nothing.
    pub stopped: Option<String>,
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
                let since = instant("led_since", since)?;
                Some(LeaderStatus { name: leader, since, failure, stopped: self.stopped })
            }
            _ => None,
        };
        let dead_letters = u64::try_from(self.dead_letters).unwrap_or_default();
        Ok(OutboxStatus { cursor: Position(self.position), has_leader, leader, dead_letters })
    }
}

/// The columns of a row of `outbox_cursors` about the sink itself, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct KnownSinkRow {
    /// The number of partitions.
    pub partitions: Option<i64>,
    /// The ids of the accepted events, separated by spaces.
    pub accepted_events: Option<String>,
}

impl KnownSinkRow {
    /// Returns the value of the column for the accepted events.
    pub fn accepted_text(accepted: &[EventId]) -> String {
        accepted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Returns the state of the sink; `None` if it was not recorded.
    ///
    /// # Errors
    /// Returns the first column that breaks an invariant.
    pub fn known(self) -> Result<Option<KnownSink>, Fault> {
        let (Some(partitions), Some(text)) = (self.partitions, self.accepted_events) else { return Ok(None) };
        let partitions =
            usize::try_from(partitions).map_err(|_| Fault::new("partitions", "must not be negative"))?;
        let id = |text| {
            parse_uuid(text).ok_or_else(|| Fault::new("accepted_events", format!("is not a UUID: {text:?}")))
        };
        let accepted = text.split_ascii_whitespace().map(id).collect::<Result<_, _>>()?;
        Ok(Some(KnownSink { partitions, accepted }))
    }
}
