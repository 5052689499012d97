use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use async_trait::async_trait;

use super::{Offset, PortError, UndecodedRecord};
use crate::domain::{
    Day, DayStatistics, Event, EventId, OrderId, PartitionClaim, PartitionLease, PickupPointId,
    ReceivedBatch, ReceivedBefore, Reception,
};

/// Decides how the leases of a source change when a consumer claims partitions.
/// Returns the leases that change.
pub type AssignmentRule = fn(&[PartitionLease], &PartitionClaim) -> Vec<PartitionLease>;

/// Decides what a batch of events changes.
pub type ReceptionRule = fn(&[Event], &ReceivedBefore) -> ReceivedBatch;

/// The store of a consumer: the position in each partition, the events that
/// were received, and their statistics. They change together, in one atomic
/// step, so each event counts exactly once.
///
/// An inbox holds no rules: it loads what a rule needs, calls the rule, and
/// writes the result. A rule is a pure function.
///
/// Consumers that share an inbox divide the partitions by leases. A consumer
/// that was paused does not know that its lease has expired, so every lease has
/// a fencing token, and a write under an outdated token has no effect.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Claims partitions for `consumer`: registers it, applies `rule` to the
    /// leases of `partitions`, and returns all assignments that the consumer
    /// holds now.
    async fn assign(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
        rule: AssignmentRule,
    ) -> Result<Vec<Assignment>, PortError>;

    /// Releases all leases of `consumer`.
    async fn release(&self, source: &str, consumer: &str) -> Result<(), PortError>;

    /// Applies a batch in one atomic step: applies `rule` to its events, writes what the rule
    /// returns, puts conflicting events aside, keeps the unknown events, deletes the resolved ones,
    /// and moves the position. Durable when it returns.
    async fn apply(
        &self,
        assignment: &Assignment,
        batch: &InboxBatch,
        rule: ReceptionRule,
    ) -> Result<Applied, PortError>;

    /// Returns up to `limit` unknown events of a partition that are kept after an
    /// offset, by offset.
    async fn unknown_events(
        &self,
        source: &str,
        partition: u32,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Vec<UndecodedRecord>, PortError>;

    /// Moves a partition to an offset, backward or forward, forgets its last event,
    /// and revokes its lease. Events that are read again change nothing.
    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError>;

    /// Returns every partition of the source that was ever assigned or rewound,
    /// ascending.
    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError>;

    /// Returns those of the events, by order and sequence, that were applied.
    async fn known_events(&self, events: &[(OrderId, i64)]) -> Result<HashSet<(OrderId, i64)>, PortError>;

    /// Returns the number of orders with a gap in their sequence, and up to
    /// `limit` of them by id.
    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError>;

    /// Returns the number of events that were put aside because of a conflict, and up to `limit` of
    /// them by order, sequence and id.
    async fn conflicts(&self, limit: usize) -> Result<Conflicts, PortError>;

    /// Returns a page of the statistics: pickup points ascending, the newest day
    /// of each first.
    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError>;
}

/// The right of a consumer to read a partition into the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: u32,
    /// The consumer.
    pub consumer: String,
    /// The fencing token of the lease.
    pub fencing_token: i64,
    /// The offset to continue at; `None` if the partition was never read.
    pub position: Option<Offset>,
    /// The last event read before the position; `None` if none was read since the
    /// partition was rewound.
    pub last_event: Option<LastEvent>,
}

/// The last event read from a partition. It identifies the log to which the
/// position belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEvent {
    /// Its offset.
    pub offset: Offset,
    /// Its id.
    pub event_id: EventId,
}

/// A batch of records of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InboxBatch {
    /// Events, in the order of the source.
    pub events: Vec<Event>,
    /// Events that only a later release can read.
    pub unknown: Vec<UndecodedRecord>,
    /// The offsets of kept unknown events that this release has read: they are
    /// no longer kept.
    pub resolved: Vec<Offset>,
    /// The offset to continue at after the batch; `None` leaves the position as
    /// it is.
    pub next: Option<Offset>,
    /// The last event of the batch; `None` leaves the last event as it is.
    pub last_event: Option<LastEvent>,
}

/// The result of applying a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// The batch was applied.
    Done {
        /// The effect of each event.
        receptions: Vec<Reception>,
        /// The number of orders in whose sequence the batch opened a gap.
        gaps_opened: u64,
        /// The number of orders whose gap the batch closed.
        gaps_closed: u64,
    },
    /// Another consumer has taken the partition: nothing was written.
    Fenced,
}

/// The progress in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub partition: u32,
    /// The offset to continue at; `None` if the partition was never read.
    pub position: Option<Offset>,
    /// The last event read before the position; `None` if none was read since the
    /// partition was rewound.
    pub last_event: Option<LastEvent>,
    /// The consumer that holds the lease; `None` if there is no lease or it has
    /// expired.
    pub consumer: Option<String>,
}

/// Orders with gaps in their sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// The number of orders.
    pub orders: u64,
    /// The first of them by id.
    pub first: Vec<Gap>,
}

/// An order with a gap in its sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The order.
    pub order_id: OrderId,
    /// The lowest missing sequence.
    pub missing: i64,
    /// The highest sequence received.
    pub highest: i64,
}

/// Events that were put aside because another event with the same order and sequence was applied.
/// Each is listed once, however often it is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conflicts {
    /// The number of events.
    pub events: u64,
    /// The first of them by order, sequence and id.
    pub first: Vec<Conflict>,
}

/// An event that was put aside because another one was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The order of both events.
    pub order_id: OrderId,
    /// The sequence of both events.
    pub sequence: i64,
    /// The event that was applied.
    pub applied: EventId,
    /// The event that was put aside.
    pub event_id: EventId,
}

/// A filter of the statistics; conditions are joined by AND.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatisticsFilter {
    /// Only this pickup point.
    pub pickup_point_id: Option<PickupPointId>,
    /// Only this day and later ones.
    pub first_day: Option<Day>,
    /// Only this day and earlier ones.
    pub last_day: Option<Day>,
}

/// A page of the statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsPage {
    /// The key of the last item of the previous page: pickup point, day,
    /// currency.
    pub after: Option<(PickupPointId, Day, String)>,
    /// The maximum number of items.
    pub limit: usize,
}
