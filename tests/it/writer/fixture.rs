//! Test fixture: a writer pool on a store with injected faults. Tests pause the clock of the runtime;
//! it advances only when every task waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pvz::adapters::memory::MemoryStore;
use pvz::adapters::null::NullCache;
use pvz::app::{Admission, Caller, PublishChanges, Writer, WriterLimits};
use pvz::domain::{Order, OrderId, PickupPointId, Policy, Refusal, Timestamp};
use pvz::ports::{
    AuditedOrder, Batch, BatchDecision, CacheUpdates, Clock, Decide, Loaded, OrderCache, OrderFilter,
    OrderStore, Outcome, Page, PortError, Writes,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::commands::{TestCommand, point};
use crate::support::time::{SequentialIds, TestClock};

/// An injected fault: the result of the next batch.
#[derive(Debug, Clone, Copy)]
pub enum StoreFault {
    /// Returns an unavailable error; the batch is not executed.
    Unavailable,
    /// Returns an inconsistency error.
    Inconsistent,
    /// Executes the batch, then returns an unavailable error.
    UnavailableAfterCommit,
    /// Executes the batch, then returns an in-doubt error.
    ExecutedInDoubt,
    /// Decides the batch and does not commit it, then returns an inconsistency error.
    DecidedNotCommitted,
    /// Panics.
    Panic,
    /// Executes the batch, then panics.
    ExecutedPanic,
    /// Never returns.
    Hang,
}

/// A memory store that can be paused and that returns injected faults.
pub struct ScriptedStore {
    pub memory: MemoryStore,
    faults: Mutex<VecDeque<StoreFault>>,
    /// Batches that contain this order return an inconsistency error.
    failing_order: Mutex<Option<OrderId>>,
    /// The order ids of each batch, in the order in which the batches began.
    batches: watch::Sender<Vec<Vec<String>>>,
    running: watch::Sender<bool>,
    /// The planted bug: decisions are made on the orders of this cache.
    cache: Mutex<Option<Arc<dyn OrderCache>>>,
}

impl ScriptedStore {
    fn new() -> Self {
        Self {
            memory: MemoryStore::new([7; 32]),
            faults: Mutex::default(),
            failing_order: Mutex::default(),
            batches: watch::Sender::new(Vec::new()),
            running: watch::Sender::new(true),
            cache: Mutex::default(),
        }
    }

    /// Injects faults into the next batches, one each.
    pub fn inject(&self, faults: &[StoreFault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Plants the bug that decisions are made on the orders of a cache.
    pub fn decide_on(&self, cache: Arc<dyn OrderCache>) {
        *self.cache.lock().unwrap() = Some(cache);
    }

    /// Makes batches that contain this order fail.
    pub fn set_failing_order(&self, order_id: &str) {
        *self.failing_order.lock().unwrap() = OrderId::parse(order_id).ok();
    }

    /// Makes every decision that changes this order panic: its version overflows.
    pub async fn set_max_version(&self, order_id: &str) {
        let order_id = OrderId::parse(order_id).unwrap();
        let batch = Batch { order_ids: [order_id.clone()].into(), ..Batch::default() };
        self.memory.transact(batch, Arc::new(SetMaxVersion(order_id))).await.unwrap();
    }

    /// Suspends batches after they began, until [`ScriptedStore::resume`].
    pub fn pause(&self) {
        self.running.send_replace(false);
    }

    pub fn resume(&self) {
        self.running.send_replace(true);
    }

    /// Returns the order ids of each batch so far.
    pub fn batches(&self) -> Vec<Vec<String>> {
        self.batches.borrow().clone()
    }

    /// Waits until `count` batches have begun.
    pub async fn wait_for_batches(&self, count: usize) {
        let mut batches = self.batches.subscribe();
        batches.wait_for(|batches| batches.len() >= count).await.unwrap();
    }

    /// Returns the row of an order and the number of its events.
    pub async fn stored(&self, order_id: &str) -> Option<(Order, usize)> {
        let audited = self.memory.audit(None, 10_000).await.unwrap();
        let found = audited.into_iter().find(|audited| audited.order_id.as_str() == order_id)?;
        Some((found.row.unwrap().unwrap(), found.events.unwrap().len()))
    }
}

/// The planted bug: a decision on the orders of a cache.
struct DecideOnCache {
    decide: Arc<dyn Decide>,
    cache: Arc<dyn OrderCache>,
}

impl Decide for DecideOnCache {
    fn decide(&self, mut loaded: Loaded) -> BatchDecision {
        for (order_id, order) in &mut loaded.orders {
            if let Some(Some(cached)) = self.cache.cached(order_id) {
                *order = (*cached).clone();
            }
        }
        self.decide.decide(loaded)
    }
}

/// A decision that sets the version of an order to the maximum.
struct SetMaxVersion(OrderId);

impl Decide for SetMaxVersion {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        let order = &loaded.orders[&self.0];
        let updated = vec![(order.version, Order { version: i64::MAX, ..order.clone() })];
        BatchDecision { writes: Writes { updated, ..Writes::default() }, outcomes: Vec::new() }
    }
}

fn unavailable() -> PortError {
    PortError::unavailable("the store is unavailable", "SELECT secret_of_the_log")
}

#[async_trait]
impl OrderStore for ScriptedStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        let order_ids: Vec<String> = batch.order_ids.iter().map(ToString::to_string).collect();
        self.batches.send_modify(|batches| batches.push(order_ids));
        self.running.subscribe().wait_for(|running| *running).await.unwrap();
        let cache = self.cache.lock().unwrap().clone();
        let decide = cache.map_or(Arc::clone(&decide), |cache| Arc::new(DecideOnCache { decide, cache }));
        let fault = self.faults.lock().unwrap().pop_front();
        let fails =
            self.failing_order.lock().unwrap().as_ref().is_some_and(|id| batch.order_ids.contains(id));
        match fault {
            _ if fails => Err(PortError::inconsistent("orders.state of the failing order")),
            None => self.memory.transact(batch, decide).await,
            Some(StoreFault::Unavailable) => Err(unavailable()),
            Some(StoreFault::Inconsistent) => Err(PortError::inconsistent("orders.state of some order")),
            Some(StoreFault::UnavailableAfterCommit) => {
                self.memory.transact(batch, decide).await?;
                Err(unavailable())
            }
            Some(StoreFault::ExecutedInDoubt) => {
                self.memory.transact(batch, decide).await?;
                Err(PortError::in_doubt("the store was lost", "COMMIT"))
            }
            Some(StoreFault::DecidedNotCommitted) => {
                let order_ids = batch.order_ids.clone();
                let mut loaded = Loaded::default();
                for order_id in order_ids.iter() {
                    let order = self.memory.order(order_id).await?;
                    loaded.orders.extend(order.map(|order| (order_id.clone(), order)));
                }
                decide.decide(loaded);
                Err(PortError::inconsistent("the commit failed"))
            }
            Some(StoreFault::ExecutedPanic) => {
                self.memory.transact(batch, decide).await?;
                panic!("the store has a bug after the commit")
            }
            Some(StoreFault::Panic) => panic!("the store has a bug"),
            Some(StoreFault::Hang) => std::future::pending().await,
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

/// A running writer pool. Its workers end with it.
pub struct WriterFixture {
    pub store: Arc<ScriptedStore>,
    pub writer: Writer,
    workers: Vec<JoinHandle<()>>,
}

/// The future outcome of a submitted command.
pub type PendingOutcome = JoinHandle<Result<Outcome, Refusal>>;

pub const LIMITS: WriterLimits = WriterLimits { queue: 64, batch: 16, retry_budget: Duration::from_secs(10) };

impl WriterFixture {
    pub fn new(workers: usize, limits: WriterLimits) -> Self {
        Self::with_clock(workers, limits, Arc::new(TestClock::default()))
    }

    pub fn with_clock(workers: usize, limits: WriterLimits, clock: Arc<dyn Clock>) -> Self {
        Self::with_cache(workers, limits, clock, Arc::new(NullCache))
    }

    pub fn with_cache(
        workers: usize,
        limits: WriterLimits,
        clock: Arc<dyn Clock>,
        cache: Arc<dyn CacheUpdates>,
    ) -> Self {
        let store = Arc::new(ScriptedStore::new());
        let policy = Arc::new(Policy::standard(point("main")));
        let (ids, changes) = (Arc::new(SequentialIds::default()), PublishChanges::new(cache));
        let writer = Writer::new(store.clone(), clock, ids, policy, limits, changes);
        let workers = (0..workers).map(|_| tokio::spawn(writer.clone().work())).collect();
        Self { store, writer, workers }
    }

    /// Submits a command in a new task. Its deadline is `timeout` from now.
    pub fn submit_within(&self, timeout: Duration, admission: Admission, ask: TestCommand) -> PendingOutcome {
        let writer = self.writer.clone();
        let deadline = Instant::now() + timeout;
        let caller = Caller { actor: ask.actor, scope: String::new(), traceparent: None, deadline };
        tokio::spawn(async move { writer.submit(ask.command, &caller, ask.key, admission).await })
    }

    /// Submits a command with a timeout of 30 seconds and immediate admission.
    pub fn submit(&self, ask: impl Into<TestCommand>) -> PendingOutcome {
        self.submit_within(Duration::from_secs(30), Admission::Immediate, ask.into())
    }

    /// Closes the pool, and waits for the workers to end.
    pub async fn close(self) {
        self.writer.close();
        for worker in self.workers {
            worker.await.expect("no worker panics");
        }
    }
}

/// Yields until every task waits for something.
pub async fn yield_until_idle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
