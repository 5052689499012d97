//! The contract suite of `OrderCache` and `CacheUpdates`.

use pvz::adapters::metered::MeteredCache;
use pvz::adapters::moka::{Eviction, MokaCache, MokaOptions};
use pvz::adapters::null::NullCache;
use pvz::ports::Announcements;

use crate::cache::source::{Cached, order};

fn lru() -> MokaCache {
    MokaCache::new(&MokaOptions { eviction: Eviction::Lru, size: 1 << 20, ..MokaOptions::default() })
}

/// Runs each case of the suite on every adapter of the port.
macro_rules! on_every_cache {
    ($($case:ident,)*) => {
        on_every_cache!(@ null, super::NullCache, $($case,)*);
        on_every_cache!(@ moka, super::MokaCache::new(&super::MokaOptions::default()), $($case,)*);
        on_every_cache!(@ moka_lru, super::lru(), $($case,)*);
        on_every_cache!(@ metered, super::MeteredCache::new(std::sync::Arc::new(super::lru())), $($case,)*);
    };
    (@ $adapter:ident, $new:expr, $($case:ident,)*) => {
        mod $adapter {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(super::Cached::new($new)).await; })*
        }
    };
}

on_every_cache! {
    reads_return_the_order_or_that_it_does_not_exist,
    later_reads_see_a_put,
    later_reads_see_what_was_announced,
    later_reads_see_everything_after_a_clear,
    errors_are_returned_and_not_kept,
    concurrent_reads_and_writes_never_go_backwards,
    statistics_stay_within_the_size,
}

async fn reads_return_the_order_or_that_it_does_not_exist(cached: Cached) {
    cached.source.commit(&order("o", 1));
    for _ in 0..2 {
        let read = cached.read("o").await.unwrap().expect("the order");
        assert_eq!(*read, order("o", 1));
        assert_eq!(cached.read("absent").await.unwrap(), None);
    }
}

async fn later_reads_see_a_put(cached: Cached) {
    assert_eq!(cached.version("o").await, 0);
    for version in 1..50 {
        cached.write(&order("o", version)).await;
        assert_eq!(cached.version("o").await, version);
    }
}

async fn later_reads_see_what_was_announced(cached: Cached) {
    assert_eq!(cached.version("o").await, 0);
    for version in 1..50 {
        cached.source.commit(&order("o", version));
        cached.announce("o", (version % 3 != 0).then_some(version)).await;
        assert_eq!(cached.version("o").await, version);
    }
}

async fn later_reads_see_everything_after_a_clear(cached: Cached) {
    assert_eq!(cached.version("o").await, 0);
    for version in 1..50 {
        cached.source.commit(&order("o", version));
        let announcements = if version % 2 == 0 { Announcements::Received } else { Announcements::Missed };
        cached.cache.clear(announcements).await;
        assert_eq!(cached.version("o").await, version);
    }
}

async fn errors_are_returned_and_not_kept(cached: Cached) {
    cached.source.commit(&order("o", 1));
    cached.source.set_failing(true);
    let error = cached.read("o").await.unwrap_err();
    assert!(error.retryable(), "{error:?}");
    assert_eq!(cached.held("o"), None);
    cached.source.set_failing(false);
    assert_eq!(cached.version("o").await, 1);
}

/// One task writes, others read: no reader sees less than what was written before its read.
async fn concurrent_reads_and_writes_never_go_backwards(cached: Cached) {
    let written = tokio::sync::watch::Sender::new(0);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (cached, written) = (cached.clone(), written.subscribe());
            tokio::spawn(async move {
                let mut seen = 0;
                while seen < 500 {
                    let before = *written.borrow();
                    let read = cached.version("o").await;
                    assert!(read >= before && read >= seen, "{read} after {before} and {seen}");
                    seen = read;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for version in 1..=500 {
        if version % 3 == 0 {
            cached.source.commit(&order("o", version));
            cached.announce("o", Some(version)).await;
        } else {
            cached.write(&order("o", version)).await;
        }
        written.send_replace(version);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn statistics_stay_within_the_size(cached: Cached) {
    for number in 0..4_000 {
        cached.write(&order(&format!("o-{number}"), 1)).await;
    }
    let statistics = cached.cache.statistics();
    assert!(statistics.bytes <= 64 << 20, "{statistics:?}");
    assert!(statistics.entries <= 4_000 && statistics.entries + statistics.evictions <= 4_000);
    if statistics.evictions > 0 {
        assert!(statistics.bytes <= 1 << 20, "{statistics:?}");
    }
}
