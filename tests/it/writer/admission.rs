//! Who gets a place in the queue, and who is dropped from it unexecuted.

use std::time::Duration;

use pvz::app::{Admission, WriterLimits};
use pvz::domain::Reason;

use super::stage::{LIMITS, Stage, settle};
use crate::support::commands::{accept, parcel};

const SMALL: WriterLimits = WriterLimits { queue: 4, batch: 1, ..LIMITS };
const MINUTE: Duration = Duration::from_mins(1);

/// A stage whose only worker is held up with the order `busy`.
async fn held(limits: WriterLimits) -> (Stage, super::stage::Asked) {
    let stage = Stage::new(1, limits);
    stage.store.hold();
    let busy = stage.ask(accept(parcel("busy")));
    stage.store.begun(1).await;
    (stage, busy)
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_says_when_to_come_again() {
    let (stage, busy) = held(SMALL).await;
    let waiting: Vec<_> = ["o1", "o2", "o3", "o4"].map(|id| stage.ask(accept(parcel(id)))).into();
    settle().await;
    let began = tokio::time::Instant::now();
    let refusal = stage.ask(accept(parcel("o5"))).await.unwrap().unwrap_err();
    assert_eq!((refusal.reason, began.elapsed()), (Reason::Overloaded, Duration::ZERO));
    assert!(refusal.retry_after.is_some_and(|delay| delay > Duration::ZERO));
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for answer in waiting {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    assert_eq!(stage.store.stored("o5").await, None, "OVERLOADED means that nothing happened");
    stage.ask(accept(parcel("o5"))).await.unwrap().unwrap().answer.unwrap();
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_import_never_takes_more_than_half_of_the_places() {
    let (stage, _busy) = held(SMALL).await;
    let patient = |id: &str| stage.ask_within(MINUTE, Admission::Wait, accept(parcel(id)));
    let rows: Vec<_> = ["r1", "r2", "r3", "r4", "r5", "r6"].map(patient).into();
    settle().await;
    let counter = [stage.ask(accept(parcel("o1"))), stage.ask(accept(parcel("o2")))];
    settle().await;
    assert!(counter.iter().all(|answer| !answer.is_finished()), "two places were left for the counter");
    let third = stage.ask(accept(parcel("o3"))).await.unwrap();
    assert_eq!(third.unwrap_err().reason, Reason::Overloaded);
    stage.store.resume();
    for answer in rows.into_iter().chain(counter) {
        answer.await.unwrap().unwrap().answer.expect("rows wait, and are done");
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_finds_no_place_in_time_is_not_done() {
    let (stage, busy) = held(WriterLimits { queue: 1, ..SMALL }).await;
    let first = stage.ask_within(MINUTE, Admission::Wait, accept(parcel("r1")));
    settle().await;
    let second = stage.ask_within(Duration::from_secs(5), Admission::Wait, accept(parcel("r2")));
    assert_eq!(second.await.unwrap().unwrap_err().reason, Reason::DeadlineExceeded);
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    first.await.unwrap().unwrap().answer.unwrap();
    assert_eq!(stage.store.batches(), [["busy"], ["r1"]]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_caller_has_gone_is_not_executed() {
    let (stage, busy) = held(SMALL).await;
    let gone = stage.ask(accept(parcel("gone")));
    let stays = stage.ask(accept(parcel("stays")));
    settle().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    stays.await.unwrap().unwrap().answer.unwrap();
    assert_eq!(stage.store.batches(), [["busy"], ["stays"]]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_deadline_passed_in_the_queue_is_not_executed() {
    let (stage, busy) = held(SMALL).await;
    let late = stage.ask_within(Duration::from_secs(1), Admission::Immediate, accept(parcel("late")));
    let began = tokio::time::Instant::now();
    assert_eq!(late.await.unwrap().unwrap_err().reason, Reason::DeadlineExceeded);
    assert_eq!(began.elapsed(), Duration::from_secs(1), "it is told when its time is over");
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert_eq!(stage.store.batches(), [["busy"], ["o1"]]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_whoever_still_listens() {
    let (stage, busy) = held(SMALL).await;
    for round in 0..3 {
        let ids = [0, 1, 2, 3].map(|n| format!("r{round}-{n}"));
        let waiting =
            ids.map(|id| stage.ask_within(Duration::from_secs(1), Admission::Immediate, accept(parcel(&id))));
        for answer in waiting {
            let refusal = answer.await.unwrap().unwrap_err();
            let expected = if round == 0 { Reason::DeadlineExceeded } else { Reason::Overloaded };
            assert_eq!(refusal.reason, expected);
        }
    }
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert_eq!(stage.store.batches(), [["busy"], ["o1"]]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_does_what_waits_and_refuses_what_comes() {
    let (stage, busy) = held(SMALL).await;
    let waiting: Vec<_> = ["o1", "o2", "o3"].map(|id| stage.ask(accept(parcel(id)))).into();
    settle().await;
    stage.writer.close();
    let refusal = stage.ask(accept(parcel("o4"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Unavailable);
    assert!(refusal.retry_after.is_some());
    stage.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for answer in waiting {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    assert_eq!(stage.store.stored("o4").await, None);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn every_worker_ends_when_an_idle_pool_is_closed() {
    let stage = Stage::new(8, SMALL);
    settle().await;
    tokio::time::timeout(MINUTE, stage.close()).await.expect("no worker is left waiting");
}
