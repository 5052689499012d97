//! Builds the cache of single orders.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Store;
use crate::adapters::metered::{CacheGauges, MeteredCache};
use crate::adapters::moka::{Eviction, MokaCache, MokaOptions};
use crate::adapters::null::NullCache;
use crate::app::CachedOrders;
use crate::config::{Cache, CachePolicy, CacheUrl};
use crate::lifecycle::Lifecycle;
use crate::ports::OrderCache;

/// The period in which the metrics of the entries are updated.
const GAUGE_PERIOD: Duration = Duration::from_secs(5);

/// Returns the configured cache, and the orders behind it.
pub(super) fn cache(config: &Cache, store: &Store) -> (Arc<dyn OrderCache>, CachedOrders) {
    match config.url {
        CacheUrl::None => {
            let cache: Arc<dyn OrderCache> = Arc::new(NullCache);
            (Arc::clone(&cache), CachedOrders::new(cache, Arc::clone(&store.orders)))
        }
        CacheUrl::Moka => {
            let options = MokaOptions {
                size: config.size as u64,
                eviction: match config.policy {
                    CachePolicy::TinyLfu => Eviction::TinyLfu,
                    CachePolicy::Lru => Eviction::Lru,
                },
                time_to_live: config.ttl,
                negative_time_to_live: config.negative_ttl,
                ..MokaOptions::default()
            };
            let cache: Arc<dyn OrderCache> = Arc::new(MeteredCache::new(Arc::new(MokaCache::new(&options))));
            (Arc::clone(&cache), CachedOrders::new(cache, Arc::clone(&store.primary)))
        }
    }
}

/// Spawns the update of the metrics of the entries, until `stop` is cancelled.
pub(super) fn spawn_gauges(cache: Arc<dyn OrderCache>, life: &Lifecycle, stop: &CancellationToken) {
    let (gauges, stop) = (CacheGauges::new(), stop.clone());
    life.spawn_until_done("cache gauges", async move {
        loop {
            gauges.show(&cache.statistics());
            if stop.run_until_cancelled(sleep(GAUGE_PERIOD)).await.is_none() {
                break;
            }
        }
    });
}
