//! What the writer tells readers about a batch: caches are changed after the commit and before the
//! answers, never inside the transaction.

use std::sync::Arc;

use crate::domain::{Order, OrderId};
use crate::ports::{CacheUpdates, Fence, SortedKeys, StaleOrder};

/// The orders of a batch after its last decision.
#[derive(Debug, Default)]
pub struct DecidedOrders {
    /// The orders that the batch changed.
    pub changed: Vec<Order>,
    /// The orders that it only read, with their versions.
    pub read: Vec<StaleOrder>,
}

/// Tells the cache of the outcome of batches.
#[derive(Clone)]
pub struct PublishChanges {
    cache: Arc<dyn CacheUpdates>,
}

impl PublishChanges {
    /// `cache` learns of every batch.
    pub fn new(cache: Arc<dyn CacheUpdates>) -> Self {
        Self { cache }
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
        }
        if !orders.read.is_empty() {
            self.cache.invalidate(&orders.read).await;
        }
    }

    /// Publishes a batch that failed. It may have been committed.
    pub async fn failed(&self, order_ids: &SortedKeys<OrderId>) {
        let stale = order_ids.iter().map(|order_id| StaleOrder { order_id: order_id.clone(), version: None });
        self.cache.invalidate(&stale.collect::<Vec<_>>()).await;
    }
}
