use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;

use super::{PortError, Position};
use crate::domain::{EventId, OrderId, Timestamp};

/// The publishing state of each sink: cursor, lease and dead letters. Stored with the log, with
/// the same durability.
///
/// One relay at a time holds the lease. A paused leader does not know that it lost the lease, so
/// each lease has a fencing token, higher than all before it for the same sink. Writes with a
/// lower token have no effect.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Acquires the lease, or returns `None` if another relay holds it. It lasts until the lease
    /// is dropped, or the process or its connection to the store dies.
    async fn acquire_lease(&self, sink: &str) -> Result<Option<Lease>, PortError>;

    /// Advances the cursor and stores dead letters, atomically and durably. A dead letter
    /// replaces an earlier one of the same order. A cursor that would move back is an
    /// inconsistency.
    async fn advance(
        &self,
        token: &LeaseToken,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError>;

    /// Returns those of the orders that are held back, each with the sequence of the first event
    /// that the sink does not have.
    async fn held_back(
        &self,
        sink: &str,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, i64>, PortError>;

    /// Returns up to `limit` dead letters of a sink after an order id, ascending.
    async fn dead_letters(
        &self,
        sink: &str,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError>;

    /// Returns the cursor: the last event up to which the sink has all events. `None` if no
    /// relay ever held the lease.
    async fn cursor(&self, sink: &str) -> Result<Option<Position>, PortError>;

    /// Stores an operator's decision about a dead letter, which the relay carries out. Returns
    /// false if the order has no dead letter.
    async fn resolve(
        &self,
        sink: &str,
        order_id: &OrderId,
        resolution: Resolution,
    ) -> Result<bool, PortError>;

    /// Returns up to `limit` dead letters with an operator's decision, by order id.
    async fn resolved_dead_letters(&self, sink: &str, limit: usize) -> Result<Vec<DeadLetter>, PortError>;

    /// Removes the dead letter of an order after the sink has all events of the order up to the
    /// cursor. Does nothing if the order has another dead letter by now.
    async fn remove_dead_letter(
        &self,
        token: &LeaseToken,
        letter: &DeadLetter,
    ) -> Result<LeaseWrite, PortError>;

    /// Returns the recorded state of a sink; `None` if none was recorded.
    async fn known_sink(&self, sink: &str) -> Result<Option<KnownSink>, PortError>;

    /// Durably records the state of a sink from which publishing may start. Replaces an earlier
    /// record.
    async fn record_sink(&self, sink: &str, known: &KnownSink) -> Result<(), PortError>;

    /// Moves the cursor back, so that the events after it are published again, and fences off the
    /// leader. Returns false, and changes nothing, if the cursor is not after that position.
    async fn republish(&self, sink: &str, after: Position) -> Result<bool, PortError>;

    /// Stores the leader's name, last failure and reason to stop, for operators.
    async fn record_leader_status(
        &self,
        token: &LeaseToken,
        status: &LeaderStatus,
    ) -> Result<LeaseWrite, PortError>;

    /// Returns the publishing status of a sink; `None` if no relay ever held the lease.
    async fn status(&self, sink: &str) -> Result<Option<OutboxStatus>, PortError>;
}

/// The lease: the right to publish to a sink. Dropping it releases the lease.
pub struct Lease {
    /// The token that proves the lease.
    pub token: LeaseToken,
    /// The last event that the sink has. Publishing continues after it.
    pub cursor: Position,
    /// Returns true if the adapter knows that the lease is lost.
    over: Box<dyn Fn() -> bool + Send + Sync>,
    /// A resource that the adapter holds during the lease.
    _hold: Box<dyn Any + Send + Sync>,
}

impl Lease {
    /// Returns a lease that lasts as long as the held resource.
    pub fn new(token: LeaseToken, cursor: Position, hold: impl Any + Send + Sync) -> Self {
        Self { token, cursor, over: Box::new(|| false), _hold: Box::new(hold) }
    }

    /// Adds a check for a lease that can be lost before it is dropped.
    #[must_use]
    pub fn lost_when(self, over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { over: Box::new(over), ..self }
    }

    /// Returns true if the lease is known to be lost. A lost lease cannot move the cursor even
    /// if the loss is not known.
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

/// The proof of a lease, passed to every write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseToken {
    /// The sink.
    pub sink: String,
    /// Higher than the token of every earlier lease of the sink.
    pub fencing_token: i64,
}

/// The result of a write under a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum LeaseWrite {
    /// The write took effect.
    Done,
    /// Another relay holds the lease. Nothing was written.
    Fenced,
}

/// An event that the sink refused because of its content. Later events of its order are held
/// back; other orders are not affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The order that is held back.
    pub order_id: OrderId,
    /// The sequence of the refused event.
    pub sequence: i64,
    /// The position of the event in the log.
    pub position: Position,
    /// The cause of the refusal, a sentence.
    pub cause: String,
    /// The instant of the refusal.
    pub refused_at: Timestamp,
    /// The operator's decision, if there is one.
    pub resolution: Option<Resolution>,
}

/// An operator's decision about a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Publish the event again, then the events held back behind it.
    Retry,
    /// Do not publish the event, but those held back behind it.
    Drop,
}

/// The state of a sink that a relay read or an operator accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownSink {
    /// The number of partitions.
    pub partitions: usize,
    /// The accepted events: the sink has them and the log does not.
    pub accepted: Vec<EventId>,
}

/// The leader's status, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderStatus {
    /// The leader: host and process id.
    pub name: String,
    /// The instant at which it acquired the lease.
    pub since: Timestamp,
    /// The last failure, a sentence, and its instant.
    pub failure: Option<(String, Timestamp)>,
    /// The reason why the relay publishes nothing until an operator decides.
    pub stopped: Option<String>,
}

/// The publishing status of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxStatus {
    /// The last event up to which the sink has all events.
    pub cursor: Position,
    /// True if a relay holds the lease.
    pub has_leader: bool,
    /// The status of the current or the last leader.
    pub leader: Option<LeaderStatus>,
    /// The number of orders held back by a dead letter.
    pub dead_letters: u64,
}
