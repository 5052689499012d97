//! T13: random schedules of a cache against the model, and caches with a planted bug, which the model
//! must catch.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use pvz::adapters::moka::{Eviction, MokaCache, MokaOptions};
use pvz::domain::{Order, OrderId};
use pvz::ports::{
    Announcements, CacheStatistics, CacheUpdates, CachedOrder, Fence, OrderCache, OrderSource, PortError,
    SortedKeys, StaleOrder,
};

use super::model::{Model, Step, steps};
use crate::support::property;

/// Returns a cache with room for two or three orders, whose epochs share two counters.
fn cache(eviction: Eviction) -> MokaCache {
    MokaCache::new(&MokaOptions { size: 2_600, eviction, counters: 2, ..MokaOptions::default() })
}

#[test]
fn readers_see_what_they_may_in_every_schedule() {
    // A new cache for every schedule would take most of the time. Each schedule has its own orders.
    let caches = [Eviction::Lru, Eviction::TinyLfu].map(|eviction| Arc::new(cache(eviction)));
    let schedules = std::cell::Cell::new(0);
    let strategy = (0..2_usize, steps());
    let name = "cache::schedules::readers_see_what_they_may_in_every_schedule";
    property::check(name, 10_000, &strategy, |(eviction, steps)| {
        schedules.set(schedules.get() + 1);
        Model::run(caches[eviction].clone(), schedules.get(), &steps);
    });
}

/// A bug in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// A fill stores what it has loaded.
    FillsAlways,
    /// A fill stores what it has loaded if it is newer than the entry.
    FillsWhatIsNewer,
    /// A clear does nothing.
    MissesClears,
    /// A read joins a load of its order, whenever that began.
    JoinsEveryLoad,
    /// A put does not look at its fence.
    IgnoresFences,
}

type Flight = Shared<BoxFuture<'static, Result<CachedOrder, Arc<PortError>>>>;

/// A cache with a planted bug.
struct Buggy {
    bug: Bug,
    entries: Mutex<HashMap<OrderId, CachedOrder>>,
    flights: Mutex<HashMap<OrderId, Flight>>,
    cache: MokaCache,
}

impl Buggy {
    fn new(bug: Bug) -> Self {
        let cache = cache(Eviction::Lru);
        Self { bug, entries: Mutex::default(), flights: Mutex::default(), cache }
    }

    fn is_a_map(&self) -> bool {
        matches!(self.bug, Bug::FillsAlways | Bug::FillsWhatIsNewer)
    }

    fn insert(&self, order_id: &OrderId, order: CachedOrder, always: bool) {
        let version = |order: &CachedOrder| order.as_ref().map_or(0, |order| order.version);
        let mut entries = self.entries.lock().unwrap();
        let newer = entries.get(order_id).is_none_or(|held| version(held) < version(&order));
        if always || newer {
            entries.insert(order_id.clone(), order);
        }
    }
}

#[async_trait]
impl OrderCache for Buggy {
    fn cached(&self, order_id: &OrderId) -> Option<CachedOrder> {
        if self.is_a_map() {
            self.entries.lock().unwrap().get(order_id).cloned()
        } else {
            self.cache.cached(order_id)
        }
    }

    async fn load(
        &self,
        order_id: &OrderId,
        source: &Arc<dyn OrderSource>,
    ) -> Result<CachedOrder, Arc<PortError>> {
        if self.is_a_map() {
            let order = source.load(order_id).await?.map(Arc::new);
            self.insert(order_id, order.clone(), self.bug == Bug::FillsAlways);
            return Ok(order);
        }
        if self.bug != Bug::JoinsEveryLoad {
            return self.cache.load(order_id, source).await;
        }
        let flight = {
            let mut flights = self.flights.lock().unwrap();
            flights.retain(|_, flight| flight.peek().is_none());
            let (cache, id, source) = (self.cache.clone(), order_id.clone(), Arc::clone(source));
            let load = || async move { cache.load(&id, &source).await }.boxed().shared();
            flights.entry(order_id.clone()).or_insert_with(load).clone()
        };
        flight.await
    }

    fn statistics(&self) -> CacheStatistics {
        self.entries.lock().unwrap().retain(|order_id, _| order_id.as_str().starts_with("other"));
        self.cache.statistics()
    }
}

#[async_trait]
impl CacheUpdates for Buggy {
    fn begin(&self, order_ids: &SortedKeys<OrderId>) -> Fence {
        self.cache.begin(order_ids)
    }

    async fn put(&self, fence: &Fence, orders: &[Order]) {
        for order in orders {
            self.insert(&order.order_id, Some(Arc::new(order.clone())), false);
            if self.bug == Bug::IgnoresFences {
                let fence = self.cache.begin(&SortedKeys::from([order.order_id.clone()]));
                self.cache.put(&fence, std::slice::from_ref(order)).await;
            }
        }
        if self.bug != Bug::IgnoresFences {
            self.cache.put(fence, orders).await;
        }
    }

    async fn invalidate(&self, stale: &[StaleOrder]) {
        self.entries.lock().unwrap().retain(|held, _| stale.iter().all(|stale| stale.order_id != *held));
        self.cache.invalidate(stale).await;
    }

    async fn clear(&self, announcements: Announcements) {
        self.entries.lock().unwrap().clear();
        if self.bug != Bug::MissesClears {
            self.cache.clear(announcements).await;
        }
    }
}

#[test]
fn the_model_catches_planted_bugs() {
    for bug in
        [Bug::FillsAlways, Bug::FillsWhatIsNewer, Bug::MissesClears, Bug::JoinsEveryLoad, Bug::IgnoresFences]
    {
        let run = |steps: Vec<Step>| Model::run(Arc::new(Buggy::new(bug)), 0, &steps);
        let check =
            || property::check("cache::schedules::the_model_catches_planted_bugs", 10_000, &steps(), run);
        let caught = catch_unwind(AssertUnwindSafe(check));
        assert!(caught.is_err(), "the model does not catch {bug:?}");
    }
}
