use std::sync::Arc;

use async_trait::async_trait;
use metrics::{Counter, Gauge, counter, gauge};

use super::names;
use crate::domain::{Order, OrderId};
use crate::ports::{
    Announcements, CacheStatistics, CacheUpdates, CachedOrder, Fence, OrderCache, OrderSource, PortError,
    SortedKeys, StaleOrder,
};

/// An [`OrderCache`] that counts its hits and misses.
pub struct MeteredCache {
    cache: Arc<dyn OrderCache>,
    hits: Counter,
    negative_hits: Counter,
    misses: Counter,
    invalidations: Counter,
    clears: Counter,
}

impl MeteredCache {
    /// Wraps a cache.
    pub fn new(cache: Arc<dyn OrderCache>) -> Self {
        Self {
            cache,
            hits: counter!(names::CACHE_HITS),
            negative_hits: counter!(names::CACHE_NEGATIVE_HITS),
            misses: counter!(names::CACHE_MISSES),
            invalidations: counter!(names::CACHE_INVALIDATIONS),
            clears: counter!(names::CACHE_CLEARS),
        }
    }
}

#[async_trait]
impl OrderCache for MeteredCache {
    fn cached(&self, order_id: &OrderId) -> Option<CachedOrder> {
        let found = self.cache.cached(order_id);
        match &found {
            Some(Some(_)) => self.hits.increment(1),
            Some(None) => self.negative_hits.increment(1),
            None => self.misses.increment(1),
        }
        found
    }

    async fn load(
        &self,
        order_id: &OrderId,
        source: &Arc<dyn OrderSource>,
    ) -> Result<CachedOrder, Arc<PortError>> {
        self.cache.load(order_id, source).await
    }

    fn statistics(&self) -> CacheStatistics {
        self.cache.statistics()
    }
}

#[async_trait]
impl CacheUpdates for MeteredCache {
    fn begin(&self, order_ids: &SortedKeys<OrderId>) -> Fence {
        self.cache.begin(order_ids)
    }

    async fn put(&self, fence: &Fence, orders: &[Order]) {
        self.cache.put(fence, orders).await;
    }

    async fn invalidate(&self, stale: &[StaleOrder]) {
        self.invalidations.increment(stale.len() as u64);
        self.cache.invalidate(stale).await;
    }

    async fn clear(&self, announcements: Announcements) {
        self.clears.increment(1);
        self.cache.clear(announcements).await;
    }
}

/// Metrics of the entries of a cache, set periodically.
pub struct CacheGauges {
    entries: Gauge,
    bytes: Gauge,
    refused_fills: Counter,
    evictions: Counter,
}

impl CacheGauges {
    /// Returns the metrics, without values.
    pub fn new() -> Self {
        Self {
            entries: gauge!(names::CACHE_ENTRIES),
            bytes: gauge!(names::CACHE_BYTES),
            refused_fills: counter!(names::CACHE_FILLS_REFUSED),
            evictions: counter!(names::CACHE_EVICTIONS),
        }
    }

    /// Sets the metrics.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn show(&self, statistics: &CacheStatistics) {
        self.entries.set(statistics.entries as f64);
        self.bytes.set(statistics.bytes as f64);
        self.refused_fills.absolute(statistics.refused_fills);
        self.evictions.absolute(statistics.evictions);
    }
}

impl Default for CacheGauges {
    fn default() -> Self {
        Self::new()
    }
}
