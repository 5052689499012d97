use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::{Offset, PortError, Undecodable};
use crate::domain::{Day, Event, OrderId, PickupPointId};

/// What a consumer has read, exactly once: how far, which events, and what they
/// add up to. All of it moves in one atomic step.
///
/// Consumers that share an inbox share the partitions by leases. A consumer
/// that was paused does not know that its lease is over, so every lease has a
/// fence, above all before it for its partition, and what a lower fence writes
/// is not done.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Renews the leases that `consumer` has of these partitions, and takes up
    /// to its fair share of those that nobody has or whose lease is over;
    /// beyond its share it gives back what others wait for. Answers all that it
    /// has now.
    async fn share(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
    ) -> Result<Vec<Share>, PortError>;

    /// Gives back the leases that `consumer` has.
    async fn leave(&self, source: &str, consumer: &str) -> Result<(), PortError>;

    /// Applies a batch of a partition: keeps the events that were not there
    /// yet, adds them to the statistics, keeps what is unknown, and moves the
    /// position; in one atomic step, durable when it is answered.
    async fn apply(&self, share: &Share, intake: &Intake) -> Result<Applied, PortError>;

    /// Moves a partition to where an operator wants it, back or forth. What is
    /// read again changes nothing.
    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError>;

    /// Every partition that was ever read, in order.
    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError>;

    /// How many orders have gaps in their sequence, and up to `limit` of them.
    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError>;

    /// A page of the statistics: points in order, of each the newest day first.
    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError>;
}

/// The right to read a partition into the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: u32,
    /// Who has it.
    pub consumer: String,
    /// Above that of every lease of the partition before it.
    pub fence: i64,
    /// Where to go on; `None` if the partition was never read.
    pub position: Option<Offset>,
}

/// What a batch brings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intake {
    /// Events, in the order of the source.
    pub events: Vec<Event>,
    /// What a later release may know how to read.
    pub unknown: Vec<Undecodable>,
    /// Where to go on after the batch.
    pub next: Offset,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// It is in.
    Done {
        /// For each event, whether it was new.
        fresh: Vec<bool>,
        /// Orders that have a gap since this batch.
        opened: u64,
        /// Orders whose gap this batch has filled.
        filled: u64,
    },
    /// Somebody else has the partition by now: nothing was done.
    Fenced,
}

/// How far a partition was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub partition: u32,
    /// Where reading goes on; `None` if it was never read.
    pub position: Option<Offset>,
    /// Who has it; `None` if nobody does, or the lease is over.
    pub consumer: Option<String>,
}

/// Orders whose sequence has gaps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// How many orders.
    pub orders: u64,
    /// Some of them, by id.
    pub some: Vec<Gap>,
}

/// An order whose sequence has a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The order.
    pub order_id: OrderId,
    /// The first sequence that is missing.
    pub missing: i64,
    /// The highest sequence that was seen.
    pub highest: i64,
}

/// Which statistics; filters are joined by AND.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatisticsFilter {
    /// Only of this point.
    pub pickup_point_id: Option<PickupPointId>,
    /// Only of this day and later ones.
    pub first_day: Option<Day>,
    /// Only of this day and earlier ones.
    pub last_day: Option<Day>,
}

/// Which part of the statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsPage {
    /// The key of the last item of the page before: point, day, currency.
    pub after: Option<(PickupPointId, Day, String)>,
    /// The most items to answer.
    pub limit: usize,
}

/// What happened at a point on a day, by the instants of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayStatistics {
    /// The point.
    pub pickup_point_id: PickupPointId,
    /// The day.
    pub day: Day,
    /// The currency of the sums.
    pub currency: String,
    /// How many orders came.
    pub accepted: i64,
    /// How many were issued.
    pub issued: i64,
    /// How many were brought back.
    pub returned: i64,
    /// How many went away with a courier.
    pub handed_to_courier: i64,
    /// The surcharges of what came, in minor units.
    pub surcharge_minor: i64,
    /// The total price of what came, in minor units.
    pub accepted_minor: i64,
    /// The total price of what was issued, in minor units.
    pub issued_minor: i64,
    /// The total price of what was brought back, in minor units.
    pub returned_minor: i64,
}
