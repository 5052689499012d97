//! A writer pool on a store that does what a test says, under a clock of the
//! runtime that stands still until nobody has anything to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pvz::adapters::memory::MemoryStore;
use pvz::app::{Admission, Caller, Writer, WriterLimits};
use pvz::domain::{Order, OrderId, PickupPointId, Policy, Refusal, Timestamp};
use pvz::ports::{
    AuditedOrder, Batch, BatchDecision, Clock, Decide, Loaded, OrderFilter, OrderStore, Outcome, Page,
    PortError, Writes,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::commands::{TestCommand, point};
use crate::support::time::{SequentialIds, TestClock};

/// What the store does with its next batch, instead of doing it.
#[derive(Debug, Clone, Copy)]
pub enum Trick {
    /// It is unavailable, and nothing was done.
    Unavailable,
    /// It finds that what is stored breaks an invariant.
    Inconsistent,
    /// It does it, and then fails as if it had not.
    UnavailableAfterwards,
    /// It does it, and cannot tell whether it did.
    DoneInDoubt,
    /// It panics.
    Panic,
    /// It never answers.
    Hang,
}

/// A memory store that can be held up, and plays tricks.
pub struct ScriptedStore {
    pub memory: MemoryStore,
    tricks: Mutex<VecDeque<Trick>>,
    /// Batches with this order fail with an inconsistency.
    cursed: Mutex<Option<OrderId>>,
    /// What each batch named, in the order in which they began.
    batches: watch::Sender<Vec<Vec<String>>>,
    open: watch::Sender<bool>,
}

impl ScriptedStore {
    fn new() -> Self {
        Self {
            memory: MemoryStore::new([7; 32]),
            tricks: Mutex::default(),
            cursed: Mutex::default(),
            batches: watch::Sender::new(Vec::new()),
            open: watch::Sender::new(true),
        }
    }

    pub fn plays(&self, tricks: &[Trick]) {
        self.tricks.lock().unwrap().extend(tricks);
    }

    pub fn curse(&self, order_id: &str) {
        *self.cursed.lock().unwrap() = OrderId::parse(order_id).ok();
    }

    /// Makes every decision that moves this order panic.
    pub async fn exhaust(&self, order_id: &str) {
        let order_id = OrderId::parse(order_id).unwrap();
        let batch = Batch { order_ids: [order_id.clone()].into(), ..Batch::default() };
        self.memory.transact(batch, Arc::new(Exhaust(order_id))).await.unwrap();
    }

    /// Batches begin, but are held up until [`ScriptedStore::resume`].
    pub fn hold(&self) {
        self.open.send_replace(false);
    }

    pub fn resume(&self) {
        self.open.send_replace(true);
    }

    /// The orders of each batch so far.
    pub fn batches(&self) -> Vec<Vec<String>> {
        self.batches.borrow().clone()
    }

    /// Waits until so many batches have begun.
    pub async fn begun(&self, count: usize) {
        let mut batches = self.batches.subscribe();
        batches.wait_for(|batches| batches.len() >= count).await.unwrap();
    }

    /// All that is stored of an order: its row and how many events it has.
    pub async fn stored(&self, order_id: &str) -> Option<(Order, usize)> {
        let audited = self.memory.audit(None, 10_000).await.unwrap();
        let found = audited.into_iter().find(|audited| audited.order_id.as_str() == order_id)?;
        Some((found.row.unwrap().unwrap(), found.events.unwrap().len()))
    }
}

/// Gives an order the last version that there is, so that to decide about it
/// overflows.
struct Exhaust(OrderId);

impl Decide for Exhaust {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        let order = &loaded.orders[&self.0];
        let updated = vec![(order.version, Order { version: i64::MAX, ..order.clone() })];
        BatchDecision { writes: Writes { updated, ..Writes::default() }, outcomes: Vec::new() }
    }
}

fn unavailable() -> PortError {
    PortError::unavailable("the store is away", "SELECT secret_of_the_log")
}

#[async_trait]
impl OrderStore for ScriptedStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        let named: Vec<String> = batch.order_ids.iter().map(ToString::to_string).collect();
        self.batches.send_modify(|batches| batches.push(named));
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let trick = self.tricks.lock().unwrap().pop_front();
        let cursed = self.cursed.lock().unwrap().as_ref().is_some_and(|id| batch.order_ids.contains(id));
        match trick {
            _ if cursed => Err(PortError::inconsistent("orders.state of a cursed order")),
            None => self.memory.transact(batch, decide).await,
            Some(Trick::Unavailable) => Err(unavailable()),
            Some(Trick::Inconsistent) => Err(PortError::inconsistent("orders.state of some order")),
            Some(Trick::UnavailableAfterwards) => {
                self.memory.transact(batch, decide).await?;
                Err(unavailable())
            }
            Some(Trick::DoneInDoubt) => {
                self.memory.transact(batch, decide).await?;
                Err(PortError::in_doubt("the store was lost", "COMMIT"))
            }
            Some(Trick::Panic) => panic!("the store has a bug"),
            Some(Trick::Hang) => std::future::pending().await,
        }
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        self.memory.order(order_id).await
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        self.memory.orders(filter, page).await
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        self.memory.returns(point, page).await
    }

    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        self.memory.expire_idempotency_records(before, limit).await
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError> {
        self.memory.audit(after, limit).await
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        self.memory.secret().await
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.memory.ping().await
    }
}

/// A pool at work. Its workers end with it.
pub struct Stage {
    pub store: Arc<ScriptedStore>,
    pub writer: Writer,
    workers: Vec<JoinHandle<()>>,
}

/// A caller's answer to be.
pub type Asked = JoinHandle<Result<Outcome, Refusal>>;

pub const LIMITS: WriterLimits = WriterLimits { queue: 64, batch: 16, retry_budget: Duration::from_secs(10) };

impl Stage {
    pub fn new(workers: usize, limits: WriterLimits) -> Self {
        Self::with_clock(workers, limits, Arc::new(TestClock::default()))
    }

    pub fn with_clock(workers: usize, limits: WriterLimits, clock: Arc<dyn Clock>) -> Self {
        let store = Arc::new(ScriptedStore::new());
        let policy = Arc::new(Policy::standard(point("main")));
        let writer = Writer::new(store.clone(), clock, Arc::new(SequentialIds::default()), policy, limits);
        let workers = (0..workers).map(|_| tokio::spawn(writer.clone().work())).collect();
        Self { store, writer, workers }
    }

    /// Asks in a task of its own, with that long to wait.
    pub fn ask_within(&self, patience: Duration, admission: Admission, ask: TestCommand) -> Asked {
        let writer = self.writer.clone();
        let deadline = Instant::now() + patience;
        let caller = Caller { actor: ask.actor, scope: String::new(), traceparent: None, deadline };
        tokio::spawn(async move { writer.submit(ask.command, &caller, ask.key, admission).await })
    }

    /// The same, with half a minute, at once or not at all.
    pub fn ask(&self, ask: impl Into<TestCommand>) -> Asked {
        self.ask_within(Duration::from_secs(30), Admission::Immediate, ask.into())
    }

    /// Closes the pool, and waits for the workers to end.
    pub async fn close(self) {
        self.writer.close();
        for worker in self.workers {
            worker.await.expect("a worker that did not panic");
        }
    }
}

/// Lets every task run until all of them wait for something.
pub async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
