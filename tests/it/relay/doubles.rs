//! Test doubles: a scripted sink, an outbox that checks every cursor, and a log that omits events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pvz::domain::OrderId;
use pvz::ports::{
    DeadLetter, Delivery, EventLog, EventSink, KnownSink, LeaderStatus, Lease, LeaseToken, LeaseWrite,
    LoggedEvent, Outbox, OutboxStatus, PortError, Position, PublishedEvent, Receipt, Resolution, SinkTail,
};
use tokio::sync::{Notify, watch};

use super::RelayFixture;

/// The action of the sink on one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkAction {
    Write,
    FailBeforeWriting,
    FailAfterWriting,
    /// Writes and acknowledges only the first events of the batch.
    WritePartially(usize),
    /// Planted fault: acknowledges without writing.
    AcknowledgeWithoutWriting,
    Hang,
    WriteThenHang,
    /// The relay crashes before the events are written, or after.
    Crash,
    WriteThenCrash,
}

/// A sink that follows a script, then accepts every event that is not poisoned.
#[derive(Default)]
pub struct ScriptedSink {
    script: Mutex<VecDeque<SinkAction>>,
    poison: Mutex<BTreeSet<(OrderId, i64)>>,
    written: Mutex<Vec<(OrderId, i64)>>,
    acknowledged: Mutex<BTreeSet<Position>>,
    /// The last event of the sink.
    pub last: Mutex<Option<PublishedEvent>>,
    /// The number of calls of `tail` that fail.
    pub tail_failures: AtomicUsize,
    pub crash: Notify,
    /// Notified at every call.
    pub begun: Notify,
}

impl ScriptedSink {
    pub fn new(script: &[SinkAction], poison: &[(OrderId, i64)]) -> Self {
        Self {
            script: Mutex::new(script.iter().copied().collect()),
            poison: Mutex::new(poison.iter().cloned().collect()),
            ..Self::default()
        }
    }

    /// Returns every written event, in the order of writing, duplicates included.
    pub fn written(&self) -> Vec<(OrderId, i64)> {
        self.written.lock().unwrap().clone()
    }

    /// Appends actions to the script.
    pub fn continue_with(&self, script: &[SinkAction]) {
        self.script.lock().unwrap().extend(script);
    }

    /// Accepts the event from now on.
    pub fn remove_poison(&self, order_id: &OrderId, sequence: i64) {
        self.poison.lock().unwrap().remove(&(order_id.clone(), sequence));
    }

    fn write(&self, events: &[LoggedEvent]) -> Vec<Receipt> {
        let mut stopped: BTreeSet<OrderId> = BTreeSet::new();
        let receipts = events.iter().map(|LoggedEvent { position, event }| {
            let id = (event.order.order_id.clone(), event.sequence);
            if self.poison.lock().unwrap().contains(&id) {
                stopped.insert(id.0);
                return Receipt::Refused("the event is poisoned".to_owned());
            }
            if stopped.contains(&id.0) {
                return Receipt::Pending;
            }
            self.written.lock().unwrap().push(id);
            *self.last.lock().unwrap() = Some(PublishedEvent::from(event));
            self.acknowledged.lock().unwrap().insert(*position);
            Receipt::Acknowledged
        });
        receipts.collect()
    }

    /// Writes events whose acknowledgements are lost.
    fn write_without_acknowledging(&self, events: &[LoggedEvent]) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        self.write(events);
        *self.acknowledged.lock().unwrap() = acknowledged;
    }
}

fn failure() -> PortError {
    PortError::unavailable("the sink fails", "as scripted")
}

#[async_trait]
impl EventSink for ScriptedSink {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn describe(&self) -> String {
        "a script".to_owned()
    }

    async fn tail(&self) -> Result<SinkTail, PortError> {
        let fails = |left: usize| left.checked_sub(1);
        if self.tail_failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
            return Err(failure());
        }
        Ok(SinkTail { partitions: 1, events: self.last.lock().unwrap().iter().cloned().collect() })
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        self.begun.notify_one();
        let step = self.script.lock().unwrap().pop_front().unwrap_or(SinkAction::Write);
        match step {
            SinkAction::Write => Delivery { receipts: self.write(events), failure: None },
            SinkAction::FailBeforeWriting => Delivery::failed(events.len(), failure()),
            SinkAction::FailAfterWriting => {
                self.write_without_acknowledging(events);
                Delivery::failed(events.len(), failure())
            }
            SinkAction::WritePartially(some) => {
                let mut receipts = self.write(&events[..some.min(events.len())]);
                receipts.resize(events.len(), Receipt::Pending);
                Delivery { receipts, failure: Some(failure()) }
            }
            SinkAction::AcknowledgeWithoutWriting => {
                Delivery { receipts: vec![Receipt::Acknowledged; events.len()], failure: None }
            }
            SinkAction::Hang => pending().await,
            SinkAction::WriteThenHang => {
                self.write_without_acknowledging(events);
                pending().await
            }
            SinkAction::Crash => {
                self.crash.notify_one();
                pending().await
            }
            SinkAction::WriteThenCrash => {
                self.write_without_acknowledging(events);
                self.crash.notify_one();
                pending().await
            }
        }
    }
}

/// An outbox that checks each cursor against the acknowledgements of the sink. Its leases are not
/// exclusive, so a leader can be fenced while it works.
pub struct CheckedOutbox {
    pub inner: Arc<dyn Outbox>,
    pub sink: Arc<ScriptedSink>,
    pub log: Vec<LoggedEvent>,
    /// Events that an operator dropped.
    pub dropped: Mutex<BTreeSet<(OrderId, i64)>>,
    pub advanced: watch::Sender<(Position, usize)>,
}

impl CheckedOutbox {
    /// Panics unless every event up to the cursor was acknowledged, is dropped, or is a dead letter or
    /// held back by one.
    fn check(&self, cursor: Position, letters: &[DeadLetter], held: &BTreeMap<OrderId, i64>) {
        let acknowledged = self.sink.acknowledged.lock().unwrap();
        let dropped = self.dropped.lock().unwrap();
        for LoggedEvent { position, event } in &self.log {
            let order_id = &event.order.order_id;
            let held_back = |first: i64| event.sequence >= first;
            let excused = dropped.contains(&(order_id.clone(), event.sequence))
                || held.get(order_id).is_some_and(|first| held_back(*first))
                || letters.iter().any(|letter| letter.order_id == *order_id && held_back(letter.sequence));
            if *position <= cursor && !acknowledged.contains(position) {
                assert!(excused, "the cursor {cursor:?} is ahead of {position:?}, which is not acknowledged");
            }
        }
        drop((acknowledged, dropped));
        let exists = cursor == Position(0) || self.log.iter().any(|logged| logged.position == cursor);
        assert!(exists, "the cursor {cursor:?} is no event's position");
    }
}

#[async_trait]
impl Outbox for CheckedOutbox {
    async fn acquire_lease(&self, sink: &str) -> Result<Option<Lease>, PortError> {
        let lease = self.inner.acquire_lease(sink).await?;
        Ok(lease.map(|lease| Lease::new(lease.token.clone(), lease.cursor, ())))
    }

    async fn advance(
        &self,
        token: &LeaseToken,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError> {
        let orders = self.log.iter().map(|logged| logged.event.order.order_id.clone()).collect();
        let held = self.inner.held_back(&token.sink, &orders).await?;
        self.check(cursor, letters, &held);
        let advance = self.inner.advance(token, cursor, letters).await?;
        self.advanced.send_modify(|(to, fenced)| match advance {
            LeaseWrite::Done => *to = cursor,
            LeaseWrite::Fenced => *fenced += 1,
        });
        Ok(advance)
    }

    async fn held_back(
        &self,
        sink: &str,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, i64>, PortError> {
        self.inner.held_back(sink, orders).await
    }

    async fn dead_letters(
        &self,
        sink: &str,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError> {
        self.inner.dead_letters(sink, after, limit).await
    }

    async fn cursor(&self, sink: &str) -> Result<Option<Position>, PortError> {
        self.inner.cursor(sink).await
    }

    async fn resolve(&self, sink: &str, order_id: &OrderId, how: Resolution) -> Result<bool, PortError> {
        self.inner.resolve(sink, order_id, how).await
    }

    async fn resolved_dead_letters(&self, sink: &str, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        self.inner.resolved_dead_letters(sink, limit).await
    }

    async fn remove_dead_letter(
        &self,
        token: &LeaseToken,
        letter: &DeadLetter,
    ) -> Result<LeaseWrite, PortError> {
        // Without the dead letter, the events before the cursor must have been acknowledged.
        let cursor = self.inner.cursor(&token.sink).await?.unwrap_or_default();
        let orders = self.log.iter().map(|logged| logged.event.order.order_id.clone()).collect();
        let mut held = self.inner.held_back(&token.sink, &orders).await?;
        held.remove(&letter.order_id);
        self.check(cursor, &[], &held);
        self.inner.remove_dead_letter(token, letter).await
    }

    async fn known_sink(&self, sink: &str) -> Result<Option<KnownSink>, PortError> {
        self.inner.known_sink(sink).await
    }

    async fn record_sink(&self, sink: &str, known: &KnownSink) -> Result<(), PortError> {
        self.inner.record_sink(sink, known).await
    }

    async fn republish(&self, sink: &str, after: Position) -> Result<bool, PortError> {
        self.inner.republish(sink, after).await
    }

    async fn record_leader_status(
        &self,
        token: &LeaseToken,
        status: &LeaderStatus,
    ) -> Result<LeaseWrite, PortError> {
        let result = self.inner.record_leader_status(token, status).await?;
        self.advanced.send_modify(|(_, fenced)| *fenced += usize::from(result == LeaseWrite::Fenced));
        Ok(result)
    }

    async fn status(&self, sink: &str) -> Result<Option<OutboxStatus>, PortError> {
        self.inner.status(sink).await
    }
}

type Edit = dyn Fn(Position, Vec<LoggedEvent>) -> Vec<LoggedEvent> + Send + Sync;

/// A log whose feed is edited, and whose oldest events may be archived.
pub struct EditedLog {
    inner: Arc<dyn EventLog>,
    edit: Box<Edit>,
    pub oldest: Mutex<Position>,
}

impl EditedLog {
    pub(super) fn new(
        fixture: &RelayFixture,
        edit: impl Fn(Position, Vec<LoggedEvent>) -> Vec<LoggedEvent> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: fixture.stores.events.clone(), edit: Box::new(edit), oldest: Mutex::default() }
    }
}

#[async_trait]
impl EventLog for EditedLog {
    async fn history(&self, id: &OrderId, after: i64, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        let oldest = *self.oldest.lock().unwrap();
        let history = self.inner.history(id, after, limit).await?;
        Ok(history.into_iter().filter(|logged| logged.position > oldest).collect())
    }

    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        let from = after.max(*self.oldest.lock().unwrap());
        Ok((self.edit)(after, self.inner.feed(from, limit).await?))
    }

    async fn head(&self) -> Result<Position, PortError> {
        self.inner.head().await
    }

    async fn oldest(&self) -> Result<Position, PortError> {
        Ok(*self.oldest.lock().unwrap())
    }
}
