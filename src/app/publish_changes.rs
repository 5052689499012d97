//! The publication of a batch to readers: the cache of this replica is changed after the commit and
//! before the answers, never inside the transaction, and the other replicas are told soon after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::{Order, OrderId};
use crate::ports::{CacheUpdates, ChangedOrders, Fence, SortedKeys, StaleOrder};

/// The number of changed orders above which the other replicas are told that any may have changed.
const MAX_ANNOUNCED: usize = 1_000;

/// The orders of a batch after its last decision.
#[derive(Debug, Default)]
pub struct DecidedOrders {
    /// The orders that the batch changed.
    pub changed: Vec<Order>,
    /// The orders that it only read, with their versions.
    pub read: Vec<StaleOrder>,
}

/// Tells the cache, and the other replicas, of the outcome of batches. Clones share their changes.
#[derive(Clone)]
pub struct PublishChanges {
    cache: Arc<dyn CacheUpdates>,
    unannounced: Arc<Unannounced>,
}

/// The changes that the other replicas are not told of yet.
#[derive(Default)]
struct Unannounced {
    changed: Mutex<ChangedOrders>,
    added: Notify,
}

impl Unannounced {
    fn changed(&self) -> MutexGuard<'_, ChangedOrders> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PublishChanges {
    /// `cache` learns of every batch.
    pub fn new(cache: Arc<dyn CacheUpdates>) -> Self {
        Self { cache, unannounced: Arc::default() }
    }

    /// Returns the cache of this replica.
    pub(super) fn cache(&self) -> &dyn CacheUpdates {
        &*self.cache
    }

    /// Takes the changes that the other replicas are not told of yet.
    pub(super) fn take_unannounced(&self) -> ChangedOrders {
        std::mem::take(&mut self.unannounced.changed())
    }

    /// Returns true if the other replicas are told of all changes.
    pub(super) fn all_announced(&self) -> bool {
        self.unannounced.changed().is_empty()
    }

    /// Waits until there are new changes. They may be announced already.
    pub(super) async fn wait_for_changes(&self) {
        self.unannounced.added.notified().await;
    }

    /// Adds changes that the other replicas must be told of.
    pub(super) fn announce(&self, changed: ChangedOrders) {
        self.unannounced.changed().add(changed, MAX_ANNOUNCED);
        self.unannounced.added.notify_one();
    }

    /// Marks the moment before a batch is executed.
    pub fn begin(&self, order_ids: &SortedKeys<OrderId>) -> Fence {
        self.cache.begin(order_ids)
    }

    /// Publishes a committed batch. Orders that it only read may be newer than what the cache has:
    /// another replica changed them. An answer that depends on them is about to be sent.
    pub async fn committed(&self, fence: &Fence, orders: DecidedOrders) {
        if !orders.changed.is_empty() {
            self.cache.put(fence, &orders.changed).await;
            let stale = |order: Order| StaleOrder { order_id: order.order_id, version: Some(order.version) };
            self.announce(ChangedOrders::Named(orders.changed.into_iter().map(stale).collect()));
        }
        if !orders.read.is_empty() {
            self.cache.invalidate(&orders.read).await;
        }
    }

    /// Publishes a batch that failed. It may have been committed.
    pub async fn failed(&self, order_ids: &SortedKeys<OrderId>) {
        let stale = order_ids.iter().map(|order_id| StaleOrder { order_id: order_id.clone(), version: None });
        let stale: Vec<StaleOrder> = stale.collect();
        self.cache.invalidate(&stale).await;
        self.announce(ChangedOrders::Named(stale));
    }
}
