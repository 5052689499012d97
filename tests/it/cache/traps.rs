//! Interleavings that bring back an old version in caches that are careless. Each test holds a load
//! that has read the old version.

use std::time::Duration;

use pvz::adapters::moka::{Eviction, MokaCache, MokaOptions};
use pvz::ports::Announcements;

use super::source::{Cached, order};
use crate::faults::test_service::wait_until;

/// Returns a cache that has room for a few orders, and whose entries live long.
fn small() -> Cached {
    let options = MokaOptions {
        size: 4_096,
        eviction: Eviction::Lru,
        time_to_live: Duration::from_hours(1),
        negative_time_to_live: Duration::from_hours(1),
        ..MokaOptions::default()
    };
    Cached::new(MokaCache::new(&options))
}

/// Returns a cache that is told of all changes.
async fn announced() -> Cached {
    let cached = small();
    cached.cache.clear(Announcements::Received).await;
    cached
}

/// The ways in which a newer entry leaves the cache before a late fill.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Evicted,
    Expired,
    Cleared,
    Invalidated,
}

#[tokio::test]
async fn a_late_fill_does_not_bring_back_the_old_version() {
    for loss in [Loss::Evicted, Loss::Expired, Loss::Cleared, Loss::Invalidated] {
        let cached = if let Loss::Expired = loss {
            let time_to_live = Duration::from_millis(1);
            Cached::new(MokaCache::new(&MokaOptions { time_to_live, ..MokaOptions::default() }))
        } else {
            small()
        };
        cached.source.commit(&order("o", 1));
        cached.source.hold();
        let late = cached.spawn_read("o");
        cached.source.wait_for_loads(1).await;
        cached.write(&order("o", 2)).await;
        match loss {
            Loss::Evicted => cached.evict("o").await,
            Loss::Expired => {
                wait_until("the entry expires", async || cached.held("o").is_none()).await;
            }
            Loss::Cleared => cached.cache.clear(Announcements::Received).await,
            Loss::Invalidated => cached.announce("o", None).await,
        }
        cached.source.release();
        assert_eq!(late.await.unwrap(), 1, "{loss:?}: this read began before the change");
        assert_ne!(cached.held("o"), Some(1), "{loss:?}");
        assert_eq!(cached.version("o").await, 2, "{loss:?}");
    }
}

#[tokio::test]
async fn a_refused_fill_is_counted() {
    let cached = small();
    cached.source.hold();
    let late = cached.spawn_read("o");
    cached.source.wait_for_loads(1).await;
    cached.write(&order("o", 1)).await;
    cached.source.release();
    late.await.unwrap();
    assert_eq!(cached.cache.statistics().refused_fills, 1);
}

#[tokio::test]
async fn a_read_does_not_join_a_load_that_began_before_a_change_or_a_clear() {
    for is_cleared in [false, true] {
        let cached = small();
        cached.source.commit(&order("o", 1));
        cached.source.hold();
        let before = cached.spawn_read("o");
        cached.source.wait_for_loads(1).await;
        cached.source.commit(&order("o", 2));
        if is_cleared {
            cached.cache.clear(Announcements::Received).await;
        } else {
            cached.announce("o", Some(2)).await;
        }
        let after = cached.spawn_read("o");
        cached.source.wait_for_loads(2).await;
        cached.source.release();
        assert_eq!((before.await.unwrap(), after.await.unwrap()), (1, 2), "cleared: {is_cleared}");
        assert_eq!(cached.version("o").await, 2, "cleared: {is_cleared}");
    }
}

#[tokio::test]
async fn a_put_does_not_replace_what_another_replica_wrote_after_it() {
    for evicted in [false, true] {
        let cached = small();
        let fence = cached.begin("o");
        let own = order("o", 2);
        cached.source.commit(&own);
        // Another replica is faster, and its announcement overtakes the put.
        cached.source.commit(&order("o", 3));
        cached.announce("o", Some(3)).await;
        if evicted {
            assert_eq!(cached.version("o").await, 3);
            cached.evict("o").await;
        }
        cached.cache.put(&fence, &[own]).await;
        assert_eq!(cached.version("o").await, 3);
    }
}

#[tokio::test]
async fn a_put_does_not_replace_what_a_reader_has_seen() {
    let cached = small();
    let fence = cached.begin("o");
    let own = order("o", 2);
    cached.source.commit(&own);
    cached.source.commit(&order("o", 3));
    // Not announced yet, but read from the store.
    assert_eq!(cached.version("o").await, 3);
    cached.evict("o").await;
    cached.cache.put(&fence, &[own]).await;
    assert_eq!(cached.version("o").await, 3, "no version goes backwards");
}

#[tokio::test]
async fn a_put_from_before_a_clear_is_not_shown() {
    let cached = small();
    let fence = cached.begin("o");
    let own = order("o", 2);
    cached.source.commit(&own);
    cached.source.commit(&order("o", 3));
    // The announcement of version 3 was lost with the connection.
    cached.cache.clear(Announcements::Received).await;
    cached.cache.put(&fence, &[own]).await;
    assert_eq!(cached.version("o").await, 3);
}

#[tokio::test]
async fn a_refused_fill_removes_what_is_older() {
    let cached = small();
    cached.source.commit(&order("o", 1));
    let newer = order("o", 2);
    cached.source.commit(&newer);
    cached.source.hold();
    let slow = cached.version("o");
    tokio::pin!(slow);
    assert!(futures::poll!(&mut slow).is_pending());
    // A change with an unknown outcome, after which a load reads a store that is behind.
    cached.announce("o", None).await;
    cached.source.commit(&order("o", 1));
    let other = cached.spawn_read("o");
    cached.source.wait_for_loads(2).await;
    cached.source.commit(&newer);
    cached.source.release();
    assert_eq!((other.await.unwrap(), slow.await), (1, 2));
    assert_eq!(cached.version("o").await, 2, "version 2 was shown");
}

#[tokio::test]
async fn an_accept_replaces_the_knowledge_that_an_order_does_not_exist() {
    let cached = small();
    assert_eq!(cached.version("o").await, 0);
    assert_eq!(cached.held("o"), Some(0));
    cached.write(&order("o", 1)).await;
    assert_eq!(cached.held("o"), Some(1));
    // A load that did not find the order, and answers late.
    cached.announce("p", None).await;
    cached.source.hold();
    let late = cached.spawn_read("p");
    cached.source.wait_for_loads(2).await;
    cached.write(&order("p", 1)).await;
    cached.source.release();
    assert_eq!((late.await.unwrap(), cached.held("p")), (0, Some(1)));
}

#[tokio::test]
async fn an_announcement_of_a_version_that_is_held_removes_nothing() {
    let cached = small();
    cached.write(&order("o", 2)).await;
    cached.announce("o", Some(1)).await;
    cached.announce("o", Some(2)).await;
    assert_eq!(cached.held("o"), Some(2));
    cached.announce("o", Some(3)).await;
    assert_eq!(cached.held("o"), None);
}

#[tokio::test]
async fn a_thousand_readers_of_a_cold_order_cause_one_load() {
    let cached = small();
    cached.source.commit(&order("o", 1));
    cached.source.hold();
    let readers: Vec<_> = (0..1_000).map(|_| cached.spawn_read("o")).collect();
    cached.source.wait_for_loads(1).await;
    cached.source.release();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 1);
    }
    assert_eq!(cached.source.loads(), 1);
}

#[tokio::test]
async fn a_load_goes_on_for_those_who_still_wait_for_it() {
    let cached = small();
    cached.source.commit(&order("o", 1));
    cached.source.hold();
    let first = cached.spawn_read("o");
    cached.source.wait_for_loads(1).await;
    let second = cached.spawn_read("o");
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.is_err());
    cached.source.release();
    assert_eq!(second.await.unwrap(), 1);
    assert_eq!(cached.source.loads(), 1);
}

#[tokio::test]
async fn a_load_for_which_nobody_waits_is_cancelled() {
    let cached = small();
    cached.source.hold();
    let gone = cached.spawn_read("o");
    cached.source.wait_for_loads(1).await;
    gone.abort();
    assert!(gone.await.is_err());
    cached.source.release();
    cached.source.commit(&order("o", 1));
    assert_eq!(cached.version("o").await, 1);
    assert_eq!(cached.source.loads(), 2);
}

#[tokio::test]
async fn entries_live_for_a_second_while_changes_may_be_missed() {
    let cached = announced().await;
    cached.source.commit(&order("o", 1));
    assert_eq!(cached.version("o").await, 1);
    cached.cache.clear(Announcements::Missed).await;
    assert_eq!((cached.held("o"), cached.version("o").await), (None, 1));
    // Changed by another replica that cannot be heard.
    cached.source.commit(&order("o", 2));
    wait_until("the new version is shown", async || cached.version("o").await == 2).await;
}
