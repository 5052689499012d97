use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;

use super::{PortError, Position};
use crate::domain::{OrderId, Timestamp};

/// How far the log was published to each sink, who may say so, and what a sink
/// would not take. Kept with the log, as durably.
///
/// One relay leads at a time, whatever the sink. A leader that was paused does
/// not know that it is one no longer, so every lead has a fence, a number above
/// all before it for its sink, and what a lower fence writes is not done.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Takes the lead, unless somebody has it. It lasts until the lease is
    /// dropped, or the process or its connection to the store has died.
    async fn acquire_lease(&self, sink: &str) -> Result<Option<Lease>, PortError>;

    /// Moves the cursor forward and buries dead letters, in one atomic step; a
    /// letter of an order that has one already takes its place. Durable when it
    /// is answered. A cursor that would move back is an inconsistency.
    async fn advance(
        &self,
        token: &LeaseToken,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError>;

    /// Those of the orders that are held back, each with the sequence of the
    /// first event that the sink does not have.
    async fn held_back(
        &self,
        sink: &str,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, i64>, PortError>;

    /// Up to `limit` dead letters of a sink, by order id, after that one.
    async fn dead_letters(
        &self,
        sink: &str,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError>;

    /// The last event that a sink is known to have, with all before it; `None`
    /// if nobody ever led for it.
    async fn cursor(&self, sink: &str) -> Result<Option<Position>, PortError>;

    /// Remembers what an operator wants done with an order's dead letter; tells
    /// whether there is one. The relay does it.
    async fn resolve(
        &self,
        sink: &str,
        order_id: &OrderId,
        resolution: Resolution,
    ) -> Result<bool, PortError>;

    /// Up to `limit` dead letters that an operator has decided about, by order
    /// id.
    async fn resolved_dead_letters(&self, sink: &str, limit: usize) -> Result<Vec<DeadLetter>, PortError>;

    /// Takes an order's dead letter away, because the sink has everything of it
    /// up to the cursor. Not if the letter is another one by now.
    async fn remove_dead_letter(
        &self,
        token: &LeaseToken,
        letter: &DeadLetter,
    ) -> Result<LeaseWrite, PortError>;

    /// Keeps for operators who leads and what failed last.
    async fn record_leader_status(
        &self,
        token: &LeaseToken,
        status: &LeaderStatus,
    ) -> Result<LeaseWrite, PortError>;

    /// How publishing to a sink goes; `None` if nobody ever led for it.
    async fn status(&self, sink: &str) -> Result<Option<OutboxStatus>, PortError>;
}

/// The right to publish to a sink. Dropped, it gives the lead back.
pub struct Lease {
    /// What proves it.
    pub token: LeaseToken,
    /// The last event that the sink has; publishing goes on after it.
    pub cursor: Position,
    /// Whether the adapter knows that the lead is lost.
    over: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whatever the adapter has to hold for as long as the lease lives.
    _hold: Box<dyn Any + Send + Sync>,
}

impl Lease {
    /// A lease that lives as long as what it holds.
    pub fn new(token: LeaseToken, cursor: Position, hold: impl Any + Send + Sync) -> Self {
        Self { token, cursor, over: Box::new(|| false), _hold: Box::new(hold) }
    }

    /// The same lease, which may be lost before it is dropped.
    #[must_use]
    pub fn lost_when(self, over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { over: Box::new(over), ..self }
    }

    /// Whether the lead is known to be lost. One that is lost without being
    /// known to be moves no cursor all the same.
    pub fn is_lost(&self) -> bool {
        (self.over)()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lease = formatter.debug_struct("Lease");
        lease.field("token", &self.token).field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

/// Which lead it was that something was done under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseToken {
    /// The sink that is led for.
    pub sink: String,
    /// Above that of every lead before it.
    pub fencing_token: i64,
}

/// Whether the cursor moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum LeaseWrite {
    /// It did, and the letters are buried.
    Done,
    /// Somebody else leads by now: nothing was done.
    Fenced,
}

/// An event that a sink refused for its own sake. The later events of its order
/// are held back with it; those of other orders are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The order that is held back.
    pub order_id: OrderId,
    /// The sequence of the event within it.
    pub sequence: i64,
    /// Where the event stands in the log.
    pub position: Position,
    /// Why the sink refused it, a sentence.
    pub cause: String,
    /// When.
    pub refused_at: Timestamp,
    /// What an operator wants done with it.
    pub resolution: Option<Resolution>,
}

/// What an operator wants done with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The sink gets the event again, and then what was held back behind it.
    Retry,
    /// The sink never gets the event, but what was held back behind it.
    Drop,
}

/// What operators want to know of a lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderStatus {
    /// Who leads: a name of the process.
    pub name: String,
    /// Since when.
    pub since: Timestamp,
    /// What failed last, a sentence, and when.
    pub failure: Option<(String, Timestamp)>,
}

/// How publishing to a sink goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxStatus {
    /// The last event that the sink is known to have, with all before it.
    pub cursor: Position,
    /// Whether anybody leads now.
    pub has_leader: bool,
    /// Who leads, or led last.
    pub leader: Option<LeaderStatus>,
    /// How many orders are held back by a dead letter.
    pub dead_letters: u64,
}
