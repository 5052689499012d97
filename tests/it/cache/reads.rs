//! Tests of GetOrder through a cache.

use std::sync::Arc;

use pvz::adapters::memory::MemoryStore;
use pvz::adapters::moka::{MokaCache, MokaOptions};
use pvz::app::{CachedOrders, PageTokens, ReadOrders};
use pvz::domain::Reason;
use pvz::ports::{OrderCache, OrderStore};

use crate::contract::fixtures::{accepted, accepting, id, write};
use crate::support::time::TestClock;

/// Returns reads of a memory store through a cache, with the clock that they use.
fn reads() -> (ReadOrders, Arc<dyn OrderStore>, Arc<MokaCache>, Arc<TestClock>) {
    let store: Arc<dyn OrderStore> = Arc::new(MemoryStore::new([7; 32]));
    let cache = Arc::new(MokaCache::new(&MokaOptions::default()));
    let clock = Arc::new(TestClock::default());
    let single = CachedOrders::new(cache.clone(), store.clone());
    let reads = ReadOrders::new(single, store.clone(), clock.clone(), PageTokens::new([7; 32]));
    (reads, store, cache, clock)
}

#[tokio::test]
async fn a_cached_order_expires_on_time() {
    let (reads, store, cache, clock) = reads();
    let order = accepted("o", 0);
    write(&*store, accepting(std::slice::from_ref(&order))).await.unwrap();
    for (now, expired) in [(-1, false), (0, true), (-1, false), (1, true)] {
        clock.set(order.storage_until.micros() + now);
        let view = reads.get(&id("o")).await.unwrap();
        assert_eq!((view.order, view.expired), (order.clone(), expired));
        assert!(cache.cached(&id("o")).is_some());
    }
}

#[tokio::test]
async fn an_absent_order_is_not_found_from_the_store_and_from_the_cache() {
    let (reads, _, cache, _) = reads();
    for _ in 0..2 {
        assert_eq!(reads.get(&id("o")).await.unwrap_err().reason, Reason::OrderNotFound);
        assert_eq!(cache.cached(&id("o")), Some(None));
    }
}
