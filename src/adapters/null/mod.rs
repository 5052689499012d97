//! Adapters that do nothing: a disabled feature is a choice of adapter, so use cases have no
//! optional ports.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{Order, OrderId};
use crate::ports::{
    Announcements, CacheStatistics, CacheUpdates, CachedOrder, ChangedOrders, CommitNotifications,
    CommitNotifier, Delivery, EventSink, Fence, LoggedEvent, OrderCache, OrderSource, PortError, SinkTail,
    SortedKeys, StaleOrder,
};

/// The sink of `events.url = "none:"`: discards every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullSink;

#[async_trait]
impl EventSink for NullSink {
    fn name(&self) -> &'static str {
        "none:"
    }

    fn describe(&self) -> String {
        "none: (events are not published)".to_owned()
    }

    fn discards(&self) -> bool {
        true
    }

    async fn tail(&self) -> Result<SinkTail, PortError> {
        Ok(SinkTail::default())
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        Delivery::complete(events.len())
    }
}

/// The cache of `cache.url = "none:"`: holds nothing, so every read loads the order.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullCache;

#[async_trait]
impl OrderCache for NullCache {
    fn cached(&self, _order_id: &OrderId) -> Option<CachedOrder> {
        None
    }

    async fn load(
        &self,
        order_id: &OrderId,
        source: &Arc<dyn OrderSource>,
    ) -> Result<CachedOrder, Arc<PortError>> {
        Ok(source.load(order_id).await?.map(Arc::new))
    }

    fn statistics(&self) -> CacheStatistics {
        CacheStatistics::default()
    }
}

#[async_trait]
impl CacheUpdates for NullCache {
    fn begin(&self, _order_ids: &SortedKeys<OrderId>) -> Fence {
        Fence::default()
    }

    async fn put(&self, _fence: &Fence, _orders: &[Order]) {}

    async fn invalidate(&self, _stale: &[StaleOrder]) {}

    async fn clear(&self, _announcements: Announcements) {}
}

/// The notifications of a store that only one process uses. There are no other replicas to
/// notify.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullNotifications;

#[async_trait]
impl CommitNotifications for NullNotifications {
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl CommitNotifier for NullNotifications {
    async fn notify(&mut self, _changed: &ChangedOrders) -> Result<(), PortError> {
        Ok(())
    }

    async fn wait(&mut self) -> Result<ChangedOrders, PortError> {
        pending().await
    }
}
