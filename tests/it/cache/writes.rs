//! Tests of the writer and the cache: what a batch puts, when, and what no batch reads.

use std::sync::Arc;

use pvz::adapters::moka::{MokaCache, MokaOptions};
use pvz::app::{CachedOrders, PageTokens, ReadOrders};
use pvz::domain::{BatchMode, Order, OrderState, Reason, Refusal};
use pvz::ports::{CacheUpdates, OrderCache, OrderStore, SortedKeys};

use crate::contract::fixtures::{event, id};
use crate::support::commands::{accept, issue, parcel};
use crate::support::time::{START, TestClock, at};
use crate::writer::fixture::{LIMITS, StoreFault, WriterFixture};

/// A writer with a cache, and reads through it.
struct Fixture {
    cache: Arc<MokaCache>,
    writer: WriterFixture,
    reads: ReadOrders,
}

impl Fixture {
    fn new() -> Self {
        let cache = Arc::new(MokaCache::new(&MokaOptions::default()));
        let clock = Arc::new(TestClock::default());
        let writer = WriterFixture::with_cache(1, LIMITS, clock.clone(), cache.clone());
        let single = CachedOrders::new(cache.clone(), writer.store.clone());
        let reads = ReadOrders::new(single, writer.store.clone(), clock, PageTokens::new([7; 32]));
        Self { cache, writer, reads }
    }

    /// Accepts the order `o` and returns it.
    async fn accept(&self) -> Order {
        self.writer.submit(accept(parcel("o"))).await.unwrap().unwrap().answer.unwrap();
        self.reads.get(&id("o")).await.unwrap().order
    }

    async fn issue(&self) -> Result<(), Refusal> {
        let issued = self.writer.submit(issue(&["o"], BatchMode::Atomic)).await.unwrap();
        issued.and_then(|outcome| outcome.answer).map(|_| ())
    }

    /// Returns the version of `o` that a reader sees, 0 if it does not exist.
    async fn version(&self) -> i64 {
        self.reads.get(&id("o")).await.map_or(0, |view| view.order.version)
    }

    /// Returns the version of `o` in the cache.
    fn held(&self) -> Option<i64> {
        self.cache.cached(&id("o")).map(|order| order.map_or(0, |order| order.version))
    }

    /// Issues `o` on another replica.
    async fn issue_elsewhere(&self, order: &Order) {
        let issued =
            Order { state: OrderState::Issued { issued_at: at(START) }, version: 2, ..order.clone() };
        let writes = pvz::ports::Writes {
            updated: vec![(order.version, issued.clone())],
            events: vec![event(&issued)],
            ..pvz::ports::Writes::default()
        };
        crate::contract::fixtures::write(&self.writer.store.memory, writes).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answered_command_is_in_the_cache() {
    let fixture = Fixture::new();
    assert_eq!(fixture.version().await, 0);
    fixture.accept().await;
    assert_eq!(fixture.held(), Some(1), "the knowledge that it does not exist is replaced");
    fixture.issue().await.unwrap();
    assert_eq!(fixture.held(), Some(2));
    fixture.writer.close().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_in_the_cache_before_the_commit() {
    let fixture = Fixture::new();
    fixture.accept().await;
    fixture.writer.store.inject(&[StoreFault::DecidedNotCommitted]);
    assert_eq!(fixture.issue().await.unwrap_err().reason, Reason::Internal);
    assert_eq!(fixture.version().await, 1);
    fixture.writer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_put_inside_the_transaction_would_be_caught() {
    let fixture = Fixture::new();
    let order = fixture.accept().await;
    let cache: Arc<dyn CacheUpdates> = fixture.cache.clone();
    // The planted bug: the new version is put, and then the commit fails.
    let fence = cache.begin(&SortedKeys::from([id("o")]));
    cache.put(&fence, &[Order { version: 2, ..order }]).await;
    assert_ne!(fixture.version().await, 1, "the test above fails with this bug");
    fixture.writer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_failed_and_may_be_committed_leaves_nothing_old() {
    for fault in [StoreFault::ExecutedInDoubt, StoreFault::ExecutedPanic] {
        let fixture = Fixture::new();
        fixture.accept().await;
        assert_eq!(fixture.held(), Some(1));
        fixture.writer.store.inject(&[fault]);
        fixture.issue().await.unwrap_err();
        assert_eq!((fixture.held(), fixture.version().await), (None, 2), "{fault:?}");
        fixture.writer.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_retried_leaves_nothing_old() {
    let fixture = Fixture::new();
    fixture.accept().await;
    fixture.writer.store.inject(&[StoreFault::UnavailableAfterCommit]);
    // The retry sees its own effect.
    fixture.issue().await.unwrap_err();
    assert_eq!(fixture.version().await, 2);
    fixture.writer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_sees_the_state_by_which_a_command_was_refused() {
    let fixture = Fixture::new();
    let order = fixture.accept().await;
    fixture.issue_elsewhere(&order).await;
    assert_eq!(fixture.version().await, 1, "the change is not announced yet");
    assert_eq!(fixture.issue().await.unwrap_err().reason, Reason::OrderAlreadyIssued);
    assert_eq!(fixture.version().await, 2);
    fixture.writer.close().await;
}

/// Issues an order of which the cache says that it was issued, and the store that it was not.
async fn issue_despite_the_cache(decide_on_cache: bool) -> Result<(), Refusal> {
    let fixture = Fixture::new();
    let order = fixture.accept().await;
    let wrong = Order { state: OrderState::Issued { issued_at: at(START) }, version: 9, ..order };
    let fence = fixture.cache.begin(&SortedKeys::from([id("o")]));
    fixture.cache.put(&fence, &[wrong]).await;
    assert_eq!(fixture.held(), Some(9));
    if decide_on_cache {
        fixture.writer.store.decide_on(fixture.cache.clone());
    }
    let issued = fixture.issue().await;
    fixture.writer.close().await;
    issued
}

#[tokio::test(start_paused = true)]
async fn no_decision_reads_the_cache() {
    issue_despite_the_cache(false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_reads_the_cache_is_caught() {
    let refusal = issue_despite_the_cache(true).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::OrderAlreadyIssued, "the test above fails with this bug");
}

#[tokio::test]
async fn a_batch_puts_each_order_in_its_last_version() {
    let fixture = Fixture::new();
    fixture.writer.store.pause();
    let first = fixture.writer.submit(accept(parcel("busy")));
    fixture.writer.store.wait_for_batches(1).await;
    let accepted = fixture.writer.submit(accept(parcel("o")));
    let issued = fixture.writer.submit(issue(&["o"], BatchMode::Atomic));
    crate::writer::fixture::yield_until_idle().await;
    fixture.writer.store.resume();
    for command in [first, accepted, issued] {
        command.await.unwrap().unwrap().answer.unwrap();
    }
    assert_eq!(fixture.held(), Some(2));
    assert_eq!(
        *fixture.cache.cached(&id("o")).unwrap().unwrap(),
        fixture.writer.store.memory.order(&id("o")).await.unwrap().unwrap()
    );
    fixture.writer.close().await;
}
