//! What the pool does when the store fails, hangs or panics, and when a
//! decision does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pvz::app::Admission;
use pvz::domain::{BatchMode, Reason, StateName, Timestamp};
use pvz::ports::Clock;

use super::stage::{LIMITS, Stage, Trick, settle};
use crate::support::commands::{accept, issue, parcel};
use crate::support::time::{START, at};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_in_time_is_never_noticed() {
    let stage = Stage::new(1, LIMITS);
    stage.store.plays(&[Trick::Unavailable; 5]);
    let began = tokio::time::Instant::now();
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    let waited = began.elapsed();
    assert_eq!(stage.store.batches().len(), 6);
    assert_eq!(waited, Duration::from_millis(10 + 20 + 40 + 80 + 160), "each pause doubles");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_unavailable_within_the_budget() {
    let stage = Stage::new(1, LIMITS);
    stage.store.plays(&[Trick::Unavailable; 100]);
    let began = tokio::time::Instant::now();
    let refusal = stage.ask(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Unavailable);
    assert!(refusal.retry_after.is_some_and(|delay| delay > Duration::ZERO));
    assert!(!format!("{refusal:?}").contains("secret"), "no inner text leaks: {refusal:?}");
    let waited = began.elapsed();
    assert!(waited + 2 * SECOND > LIMITS.retry_budget && waited <= LIMITS.retry_budget, "{waited:?}");
    assert!(stage.store.batches().len() < 30, "pauses grow to a second");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn retries_end_with_each_commands_own_deadline() {
    let stage = Stage::new(1, LIMITS);
    stage.store.plays(&[Trick::Unavailable; 12]);
    stage.store.hold();
    let busy = stage.ask(accept(parcel("busy")));
    stage.store.begun(1).await;
    let hurried = stage.ask_within(SECOND, Admission::Immediate, accept(parcel("hurried")));
    let calm = stage.ask_within(30 * SECOND, Admission::Immediate, accept(parcel("calm")));
    settle().await;
    stage.store.resume();
    let began = tokio::time::Instant::now();
    let refusal = hurried.await.unwrap().unwrap_err();
    assert!(matches!(refusal.reason, Reason::Unavailable | Reason::DeadlineExceeded), "{refusal:?}");
    assert!(began.elapsed() <= SECOND);
    busy.await.unwrap().unwrap().answer.unwrap();
    calm.await.unwrap().unwrap().answer.unwrap();
    assert_eq!(stage.store.stored("hurried").await, None, "it was not executed after its deadline");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_news_was_lost_is_found_again_under_its_key() {
    let stage = Stage::new(1, LIMITS);
    stage.store.plays(&[Trick::UnavailableAfterwards]);
    let outcome = stage.ask(accept(parcel("o1")).key("key-1")).await.unwrap().unwrap();
    assert!(outcome.answer.is_ok() && outcome.replayed, "{outcome:?}");
    assert_eq!(stage.store.stored("o1").await.map(|(_, events)| events), Some(1));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_repeating_does_not_mend_costs_its_own_command_only() {
    let stage = Stage::new(1, LIMITS);
    stage.store.curse("cursed");
    stage.store.hold();
    let busy = stage.ask(accept(parcel("busy")));
    stage.store.begun(1).await;
    let ids = ["o1", "cursed", "o2", "o3"];
    let asked = ids.map(|id| stage.ask(accept(parcel(id))));
    settle().await;
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for (id, answer) in ids.into_iter().zip(asked) {
        match answer.await.unwrap() {
            Ok(outcome) => assert!(outcome.answer.is_ok() && id != "cursed"),
            Err(refusal) => {
                assert_eq!((refusal.reason, id), (Reason::Internal, "cursed"));
                assert!(!format!("{refusal:?}").contains("orders.state"), "no inner text leaks");
            }
        }
    }
    assert_eq!(stage.store.batches()[1].len(), 4, "they were a batch");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_costs_nobody_but_whom_it_panics_on() {
    let stage = Stage::new(1, LIMITS);
    stage.store.plays(&[Trick::Panic]);
    let refusal = stage.ask(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Internal);
    assert!(!refusal.message.contains("bug in the store") && refusal.metadata.is_empty());

    stage.store.hold();
    let busy = stage.ask(accept(parcel("busy")));
    stage.store.begun(2).await;
    let asked = ["o1", "o2"].map(|id| stage.ask(accept(parcel(id))));
    settle().await;
    // The first for `busy`, the second for the two.
    stage.store.plays(&[Trick::Inconsistent, Trick::Panic]);
    stage.store.resume();
    assert_eq!(busy.await.unwrap().unwrap_err().reason, Reason::Internal);
    for answer in asked {
        answer.await.unwrap().unwrap().answer.expect("each alone");
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_doubt_is_not_run_again() {
    let stage = Stage::new(1, LIMITS);
    stage.store.plays(&[Trick::DoneInDoubt]);
    // Run again, it would be told that the order exists: by itself.
    let refusal = stage.ask(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Unavailable);
    assert_eq!(stage.store.batches().len(), 1);
    stage.store.plays(&[Trick::DoneInDoubt]);
    let ask = || accept(parcel("o2")).key("key");
    assert_eq!(stage.ask(ask()).await.unwrap().unwrap_err().reason, Reason::Unavailable);
    let again = stage.ask(ask()).await.unwrap().unwrap();
    assert!(again.replayed && again.answer.is_ok());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_nobody_beyond_the_deadline() {
    let stage = Stage::new(2, LIMITS);
    stage.store.plays(&[Trick::Hang]);
    let began = tokio::time::Instant::now();
    let refusal = stage.ask(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!((refusal.reason, began.elapsed()), (Reason::DeadlineExceeded, 30 * SECOND));
    stage.ask(accept(parcel("o2"))).await.unwrap().unwrap().answer.expect("the other worker goes on");
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_panics_costs_its_own_command_only() {
    let stage = Stage::new(1, LIMITS);
    let ids = ["o1", "o2", "o3"];
    for id in ids {
        stage.ask(accept(parcel(id))).await.unwrap().unwrap().answer.unwrap();
    }
    stage.store.exhaust("o2").await;
    stage.store.hold();
    let busy = stage.ask(accept(parcel("busy")));
    stage.store.begun(4).await;
    let asked = ids.map(|id| stage.ask(issue(&[id], BatchMode::Atomic).key(&format!("key-{id}"))));
    settle().await;
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for (id, answer) in ids.into_iter().zip(asked) {
        match answer.await.unwrap().unwrap().answer {
            Ok(_) => assert_ne!(id, "o2"),
            Err(refusal) => assert_eq!((refusal.reason, id), (Reason::Internal, "o2")),
        }
    }
    assert_eq!(stage.store.batches()[4], ids, "they were one batch, and it was not run again");
    assert_eq!(stage.store.batches().len(), 5);
    let (o2, events) = stage.store.stored("o2").await.unwrap();
    assert_eq!((o2.state_name(), events), (StateName::Stored, 1), "nothing was half done");
    stage.close().await;
}

/// A clock that panics when it is first read: a panic outside of a decision,
/// within the store's own call.
struct BrokenClock(AtomicU64);

impl Clock for BrokenClock {
    fn now(&self) -> Timestamp {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) != 0, "the clock has a bug");
        at(START)
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_within_a_batch_ends_no_worker() {
    let stage = Stage::with_clock(1, LIMITS, Arc::new(BrokenClock(AtomicU64::new(0))));
    let refusal = stage.ask(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Internal);
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    stage.ask(issue(&["o1"], BatchMode::Atomic)).await.unwrap().unwrap().answer.unwrap();
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn commits_wake_who_watches_the_log_and_failures_do_not() {
    let stage = Stage::new(1, LIMITS);
    let mut committed = stage.writer.committed();
    stage.store.plays(&[Trick::Inconsistent]);
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap_err();
    assert!(!committed.has_changed().unwrap());
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert!(committed.has_changed().unwrap());
    committed.mark_unchanged();
    stage.close().await;
}
