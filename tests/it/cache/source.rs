//! Test double: a source of orders whose loads read at once and answer when the test lets them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pvz::domain::{Order, OrderId};
use pvz::ports::{CachedOrder, Fence, OrderCache, OrderSource, PortError, SortedKeys, StaleOrder};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::contract::fixtures::{accepted, id};

/// Timeout for a step of a test that does not fail.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// Returns an order in a version.
pub fn order(order_id: &str, version: i64) -> Order {
    Order { version, ..accepted(order_id, 0) }
}

/// A source of orders.
pub struct Source {
    orders: Mutex<HashMap<OrderId, Order>>,
    /// Orders whose loads fail.
    failing: Mutex<bool>,
    /// The number of loads that have read.
    loads: watch::Sender<usize>,
    /// A permit lets a load answer.
    answers: Semaphore,
}

impl Source {
    /// Returns an empty source that answers at once.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            orders: Mutex::default(),
            failing: Mutex::new(false),
            loads: watch::Sender::new(0),
            answers: Semaphore::new(Semaphore::MAX_PERMITS / 2),
        })
    }

    /// Holds the answers of all loads from now on.
    pub fn hold(&self) {
        self.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets all loads answer from now on.
    pub fn release(&self) {
        self.answers.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Commits a version of an order.
    pub fn commit(&self, order: &Order) {
        self.orders.lock().unwrap().insert(order.order_id.clone(), order.clone());
    }

    /// Makes all loads fail, or not.
    pub fn set_failing(&self, failing: bool) {
        *self.failing.lock().unwrap() = failing;
    }

    /// Returns the number of loads so far.
    pub fn loads(&self) -> usize {
        *self.loads.borrow()
    }

    /// Waits until that many loads have read.
    pub async fn wait_for_loads(&self, count: usize) {
        let mut loads = self.loads.subscribe();
        let read = loads.wait_for(|loads| *loads >= count);
        timeout(TIMEOUT, read).await.expect("the loads begin").unwrap();
    }
}

#[async_trait]
impl OrderSource for Source {
    async fn load(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        let found = self.orders.lock().unwrap().get(order_id).cloned();
        let failing = *self.failing.lock().unwrap();
        self.loads.send_modify(|loads| *loads += 1);
        self.answers.acquire().await.unwrap().forget();
        if failing { Err(PortError::unavailable("the store is away", "planted")) } else { Ok(found) }
    }
}

/// A cache and its source.
#[derive(Clone)]
pub struct Cached {
    pub cache: Arc<dyn OrderCache>,
    pub source: Arc<Source>,
}

impl Cached {
    pub fn new(cache: impl OrderCache + 'static) -> Self {
        Self { cache: Arc::new(cache), source: Source::new() }
    }

    /// Reads an order as the application does.
    pub async fn read(&self, order_id: &str) -> Result<CachedOrder, Arc<PortError>> {
        let source: Arc<dyn OrderSource> = self.source.clone();
        match self.cache.cached(&id(order_id)) {
            Some(found) => Ok(found),
            None => self.cache.load(&id(order_id), &source).await,
        }
    }

    /// Reads the version of an order, 0 if it does not exist.
    pub async fn version(&self, order_id: &str) -> i64 {
        let read = timeout(TIMEOUT, self.read(order_id)).await.expect("an answer");
        read.unwrap().map_or(0, |order| order.version)
    }

    /// Reads the version in a new task.
    pub fn spawn_read(&self, order_id: &'static str) -> JoinHandle<i64> {
        let this = self.clone();
        tokio::spawn(async move { this.version(order_id).await })
    }

    /// Returns the version that the cache holds.
    pub fn held(&self, order_id: &str) -> Option<i64> {
        self.cache.cached(&id(order_id)).map(|order| order.map_or(0, |order| order.version))
    }

    pub fn begin(&self, order_id: &str) -> Fence {
        self.cache.begin(&SortedKeys::from([id(order_id)]))
    }

    /// Commits a version on this replica and puts it.
    pub async fn write(&self, order: &Order) {
        let fence = self.begin(order.order_id.as_str());
        self.source.commit(order);
        self.cache.put(&fence, std::slice::from_ref(order)).await;
    }

    /// Announces a version of another replica.
    pub async fn announce(&self, order_id: &str, version: Option<i64>) {
        self.cache.invalidate(&[StaleOrder { order_id: id(order_id), version }]).await;
    }

    /// Fills the cache with other orders until it no longer holds this one.
    pub async fn evict(&self, order_id: &str) {
        for other in 0..1_000_000 {
            if self.held(order_id).is_none() {
                return;
            }
            self.write(&order(&format!("other-{other}"), 1)).await;
            self.cache.statistics();
        }
        panic!("the cache does not evict {order_id}");
    }
}
