use std::sync::Arc;

use async_trait::async_trait;

use super::{PortError, SortedKeys};
use crate::domain::{Order, OrderId};

/// A cache of single orders for readers. No decision reads it: the writer has only
/// [`CacheUpdates`], which returns no orders.
///
/// A read that begins after [`CacheUpdates::put`], [`CacheUpdates::invalidate`] or
/// [`CacheUpdates::clear`] has returned does not see what was replaced, and no read sees an older
/// version than a read that ended before it began. This holds in every interleaving, also if
/// entries are evicted or expire meanwhile.
#[async_trait]
pub trait OrderCache: CacheUpdates {
    /// Returns the order if this process holds it: `Some(None)` means that it does not exist.
    /// Never waits.
    fn cached(&self, order_id: &OrderId) -> Option<CachedOrder>;

    /// Returns the order, loaded from its source if necessary, and may keep it. Concurrent calls
    /// for one order share a load. A call never joins a load that began before a change which was
    /// put, invalidated or cleared before the call.
    async fn load(
        &self,
        order_id: &OrderId,
        source: &Arc<dyn OrderSource>,
    ) -> Result<CachedOrder, Arc<PortError>>;

    /// Returns figures about the entries, after pending maintenance.
    fn statistics(&self) -> CacheStatistics;
}

/// An order, or `None` if it does not exist.
pub type CachedOrder = Option<Arc<Order>>;

/// The changes that a cache has to know.
#[async_trait]
pub trait CacheUpdates: Send + Sync {
    /// Marks the moment before a batch on these orders is executed.
    fn begin(&self, order_ids: &SortedKeys<OrderId>) -> Fence;

    /// Replaces older versions of orders that were committed after the fence. An order that
    /// somebody else may have changed since the fence is removed instead.
    async fn put(&self, fence: &Fence, orders: &[Order]);

    /// Removes entries that are older than a version, or that may be.
    async fn invalidate(&self, stale: &[StaleOrder]);

    /// Removes all entries, because changes may have been missed.
    async fn clear(&self, announcements: Announcements);
}

/// The place from which a cache loads orders.
#[async_trait]
pub trait OrderSource: Send + Sync {
    /// Returns the committed order.
    async fn load(&self, order_id: &OrderId) -> Result<Option<Order>, PortError>;
}

/// A moment in the life of the entries of an order. Equal epochs mean that nothing was put,
/// invalidated, filled or cleared in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Epoch {
    /// The number of clears.
    pub generation: u64,
    /// The number of changes of the order, or of another one that shares its counter.
    pub changes: u64,
}

/// The epochs of the orders of a batch before it was executed.
#[derive(Debug, Clone, Default)]
pub struct Fence {
    /// The orders.
    pub order_ids: SortedKeys<OrderId>,
    /// The epoch of each.
    pub epochs: Vec<Epoch>,
}

impl Fence {
    /// Returns the epoch of an order of the batch.
    pub fn epoch(&self, order_id: &OrderId) -> Option<Epoch> {
        let index = self.order_ids.binary_search(order_id).ok()?;
        self.epochs.get(index).copied()
    }
}

/// An order whose older versions must no longer be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleOrder {
    /// The order.
    pub order_id: OrderId,
    /// The oldest version that may be shown; `None` if it is unknown.
    pub version: Option<i64>,
}

/// The reception of changes that other processes make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcements {
    /// All changes are announced from now on, or nobody else makes any.
    Received,
    /// Changes may be missed, so entries live only for a moment.
    Missed,
}

/// Figures about a cache. Counts start with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStatistics {
    /// The number of entries.
    pub entries: u64,
    /// The memory of the entries, estimated.
    pub bytes: u64,
    /// The loaded orders that were not kept, because the order may have changed meanwhile.
    pub refused_fills: u64,
    /// The entries that were evicted to make room.
    pub evictions: u64,
}
