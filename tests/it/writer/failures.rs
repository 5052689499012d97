//! Tests of the pool when the store fails, hangs or panics, and when a decision panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pvz::app::Admission;
use pvz::domain::{BatchMode, Reason, StateName, Timestamp};
use pvz::ports::Clock;

use super::fixture::{LIMITS, StoreFault, WriterFixture, yield_until_idle};
use crate::support::commands::{accept, issue, parcel};
use crate::support::time::{START, at};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn store_errors_are_retried_with_doubling_delays() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.inject(&[StoreFault::Unavailable; 5]);
    let began = tokio::time::Instant::now();
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    let elapsed = began.elapsed();
    assert_eq!(fixture.store.batches().len(), 6);
    assert_eq!(elapsed, Duration::from_millis(10 + 20 + 40 + 80 + 160), "each delay doubles");
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn lasting_store_errors_are_reported_within_the_retry_budget() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.inject(&[StoreFault::Unavailable; 100]);
    let began = tokio::time::Instant::now();
    let refusal = fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Unavailable);
    assert!(refusal.retry_after.is_some_and(|delay| delay > Duration::ZERO));
    assert!(!format!("{refusal:?}").contains("secret"), "a refusal contains no inner text: {refusal:?}");
    let elapsed = began.elapsed();
    assert!(elapsed + 2 * SECOND > LIMITS.retry_budget && elapsed <= LIMITS.retry_budget, "{elapsed:?}");
    assert!(fixture.store.batches().len() < 30, "delays grow to one second");
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn retries_end_at_the_deadline_of_each_command() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.inject(&[StoreFault::Unavailable; 12]);
    fixture.store.pause();
    let busy = fixture.submit(accept(parcel("busy")));
    fixture.store.wait_for_batches(1).await;
    let short = fixture.submit_within(SECOND, Admission::Immediate, accept(parcel("short")));
    let long = fixture.submit_within(30 * SECOND, Admission::Immediate, accept(parcel("long")));
    yield_until_idle().await;
    fixture.store.resume();
    let began = tokio::time::Instant::now();
    let refusal = short.await.unwrap().unwrap_err();
    assert!(matches!(refusal.reason, Reason::Unavailable | Reason::DeadlineExceeded), "{refusal:?}");
    assert!(began.elapsed() <= SECOND);
    busy.await.unwrap().unwrap().answer.unwrap();
    long.await.unwrap().unwrap().answer.unwrap();
    assert_eq!(fixture.store.stored("short").await, None, "it was not executed after its deadline");
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn commit_with_a_lost_answer_is_replayed_by_its_key() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.inject(&[StoreFault::UnavailableAfterCommit]);
    let outcome = fixture.submit(accept(parcel("o1")).key("key-1")).await.unwrap().unwrap();
    assert!(outcome.answer.is_ok() && outcome.replayed, "{outcome:?}");
    assert_eq!(fixture.store.stored("o1").await.map(|(_, events)| events), Some(1));
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn permanent_error_fails_only_its_own_command() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.set_failing_order("faulty");
    fixture.store.pause();
    let busy = fixture.submit(accept(parcel("busy")));
    fixture.store.wait_for_batches(1).await;
    let ids = ["o1", "faulty", "o2", "o3"];
    let pending = ids.map(|id| fixture.submit(accept(parcel(id))));
    yield_until_idle().await;
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for (id, answer) in ids.into_iter().zip(pending) {
        match answer.await.unwrap() {
            Ok(outcome) => assert!(outcome.answer.is_ok() && id != "faulty"),
            Err(refusal) => {
                assert_eq!((refusal.reason, id), (Reason::Internal, "faulty"));
                assert!(!format!("{refusal:?}").contains("orders.state"), "a refusal contains no inner text");
            }
        }
    }
    assert_eq!(fixture.store.batches()[1].len(), 4, "the commands shared a batch");
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn panic_of_the_store_fails_only_its_own_batch() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.inject(&[StoreFault::Panic]);
    let refusal = fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Internal);
    assert!(!refusal.message.contains("bug in the store") && refusal.metadata.is_empty());

    fixture.store.pause();
    let busy = fixture.submit(accept(parcel("busy")));
    fixture.store.wait_for_batches(2).await;
    let pending = ["o1", "o2"].map(|id| fixture.submit(accept(parcel(id))));
    yield_until_idle().await;
    // The first fault is for `busy`, the second for the batch of two.
    fixture.store.inject(&[StoreFault::Inconsistent, StoreFault::Panic]);
    fixture.store.resume();
    assert_eq!(busy.await.unwrap().unwrap_err().reason, Reason::Internal);
    for answer in pending {
        answer.await.unwrap().unwrap().answer.expect("executed in a batch of its own");
    }
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn batch_in_doubt_is_not_retried() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.inject(&[StoreFault::ExecutedInDoubt]);
    // A retry would be refused with ORDER_ALREADY_EXISTS because of its own first attempt.
    let refusal = fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Unavailable);
    assert_eq!(fixture.store.batches().len(), 1);
    fixture.store.inject(&[StoreFault::ExecutedInDoubt]);
    let command = || accept(parcel("o2")).key("key");
    assert_eq!(fixture.submit(command()).await.unwrap().unwrap_err().reason, Reason::Unavailable);
    let again = fixture.submit(command()).await.unwrap().unwrap();
    assert!(again.replayed && again.answer.is_ok());
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn hanging_store_delays_no_caller_beyond_its_deadline() {
    let fixture = WriterFixture::new(2, LIMITS);
    fixture.store.inject(&[StoreFault::Hang]);
    let began = tokio::time::Instant::now();
    let refusal = fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!((refusal.reason, began.elapsed()), (Reason::DeadlineExceeded, 30 * SECOND));
    fixture.submit(accept(parcel("o2"))).await.unwrap().unwrap().answer.expect("the other worker continues");
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_decision_fails_only_its_own_command() {
    let fixture = WriterFixture::new(1, LIMITS);
    let ids = ["o1", "o2", "o3"];
    for id in ids {
        fixture.submit(accept(parcel(id))).await.unwrap().unwrap().answer.unwrap();
    }
    fixture.store.set_max_version("o2").await;
    fixture.store.pause();
    let busy = fixture.submit(accept(parcel("busy")));
    fixture.store.wait_for_batches(4).await;
    let pending = ids.map(|id| fixture.submit(issue(&[id], BatchMode::Atomic).key(&format!("key-{id}"))));
    yield_until_idle().await;
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for (id, answer) in ids.into_iter().zip(pending) {
        match answer.await.unwrap().unwrap().answer {
            Ok(_) => assert_ne!(id, "o2"),
            Err(refusal) => assert_eq!((refusal.reason, id), (Reason::Internal, "o2")),
        }
    }
    assert_eq!(fixture.store.batches()[4], ids, "the commands shared a batch, which was not retried");
    assert_eq!(fixture.store.batches().len(), 5);
    let (o2, events) = fixture.store.stored("o2").await.unwrap();
    assert_eq!((o2.state_name(), events), (StateName::Stored, 1), "nothing was written");
    fixture.close().await;
}

/// A clock that panics when it is first read: a panic in the call of the store, but outside a decision.
struct BrokenClock(AtomicU64);

impl Clock for BrokenClock {
    fn now(&self) -> Timestamp {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) != 0, "the clock has a bug");
        at(START)
    }
}

#[tokio::test(start_paused = true)]
async fn workers_survive_a_panic_in_a_batch() {
    let fixture = WriterFixture::with_clock(1, LIMITS, Arc::new(BrokenClock(AtomicU64::new(0))));
    let refusal = fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Internal);
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    fixture.submit(issue(&["o1"], BatchMode::Atomic)).await.unwrap().unwrap().answer.unwrap();
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn commits_notify_watchers_of_the_log_and_failures_do_not() {
    let fixture = WriterFixture::new(1, LIMITS);
    let mut committed = fixture.writer.committed();
    fixture.store.inject(&[StoreFault::Inconsistent]);
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert!(!committed.has_changed().unwrap());
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert!(committed.has_changed().unwrap());
    committed.mark_unchanged();
    fixture.close().await;
}
