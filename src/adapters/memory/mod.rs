//! A store in memory, for trying the service out and for tests of the layers above. Its data is
//! lost when the process ends.

mod inbox;
mod indexes;
mod outbox;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::outbox::Progress;
use self::state::MemoryState;
use crate::domain::{Order, OrderId, PickupPointId, Timestamp};
use crate::ports::{
    AuditedOrder, Batch, DeadLetter, Decide, EventLog, KnownSink, LeaderStatus, Lease, LeaseToken,
    LeaseWrite, LoggedEvent, OrderFilter, OrderStore, Outbox, OutboxStatus, Outcome, Page, PortError,
    Position, Resolution,
};

/// An [`OrderStore`], [`EventLog`] and [`Outbox`] in memory, and a consumer's
/// [`Inbox`](crate::ports::Inbox).
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<MemoryState>,
    progress: Mutex<Progress>,
    inbox: Mutex<inbox::InboxState>,
    /// Locked while a relay holds the lease.
    lead: Arc<tokio::sync::Mutex<()>>,
    secret: [u8; 32],
}

impl MemoryStore {
    /// Returns an empty store with a secret for page tokens.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            state: Mutex::default(),
            progress: Mutex::default(),
            inbox: Mutex::default(),
            lead: Arc::default(),
            secret,
        }
    }

    /// Ignores poisoning: no change of the state can panic halfway.
    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the inbox. Ignores poisoning for the same reason.
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl OrderStore for MemoryStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        let mut state = self.state();
        let verdict = decide.decide(state.load(&batch));
        state.check(&verdict.writes)?;
        state.apply(verdict.writes);
        Ok(verdict.outcomes)
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        Ok(self.state().order(order_id))
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        Ok(self.state().orders(filter, page))
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        Ok(self.state().returns(point, page))
    }

    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        Ok(self.state().expire_idempotency_records(before, limit))
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError> {
        Ok(self.state().audit(after, limit))
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        Ok(self.secret)
    }

    async fn ping(&self) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl EventLog for MemoryStore {
    async fn history(
        &self,
        order_id: &OrderId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LoggedEvent>, PortError> {
        Ok(self.state().history(order_id, after, limit))
    }

    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        Ok(self.state().feed(after, limit))
    }

    async fn head(&self) -> Result<Position, PortError> {
        Ok(self.state().head())
    }

    async fn oldest(&self) -> Result<Position, PortError> {
        Ok(Position(0))
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn acquire_lease(&self, sink: &str) -> Result<Option<Lease>, PortError> {
        let Ok(hold) = Arc::clone(&self.lead).try_lock_owned() else { return Ok(None) };
        let (token, cursor) = self.progress().acquire_lease(sink);
        Ok(Some(Lease::new(token, cursor, hold)))
    }

    async fn advance(
        &self,
        token: &LeaseToken,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError> {
        self.progress().advance(token, cursor, letters)
    }

    async fn held_back(
        &self,
        sink: &str,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, i64>, PortError> {
        Ok(self.progress().held_back(sink, orders))
    }

    async fn dead_letters(
        &self,
        sink: &str,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError> {
        Ok(self.progress().dead_letters(sink, after, limit))
    }

    async fn cursor(&self, sink: &str) -> Result<Option<Position>, PortError> {
        Ok(self.progress().cursor(sink))
    }
    async fn resolve(
        &self,
        sink: &str,
        order_id: &OrderId,
        resolution: Resolution,
    ) -> Result<bool, PortError> {
        Ok(self.progress().resolve(sink, order_id, resolution))
    }

    async fn resolved_dead_letters(&self, sink: &str, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        Ok(self.progress().resolved_dead_letters(sink, limit))
    }

    async fn remove_dead_letter(
        &self,
        token: &LeaseToken,
        letter: &DeadLetter,
    ) -> Result<LeaseWrite, PortError> {
        Ok(self.progress().remove_dead_letter(token, letter))
    }

    async fn known_sink(&self, sink: &str) -> Result<Option<KnownSink>, PortError> {
        Ok(self.progress().known_sink(sink))
    }

    async fn record_sink(&self, sink: &str, known: &KnownSink) -> Result<(), PortError> {
        self.progress().record_sink(sink, known);
        Ok(())
    }

    async fn republish(&self, sink: &str, after: Position) -> Result<bool, PortError> {
        Ok(self.progress().republish(sink, after))
    }

    async fn record_leader_status(
        &self,
        token: &LeaseToken,
        status: &LeaderStatus,
    ) -> Result<LeaseWrite, PortError> {
        Ok(self.progress().record_leader_status(token, status))
    }

    async fn status(&self, sink: &str) -> Result<Option<OutboxStatus>, PortError> {
        Ok(self.progress().status(sink, self.lead.try_lock().is_err()))
    }
}
