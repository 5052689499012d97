//! How commands share commits, and in which order they go.

use std::time::Duration;

use pvz::app::{Admission, WriterLimits};
use pvz::domain::{Answer, BatchMode, Reason, StateName};

use super::stage::{LIMITS, Stage, Trick, settle};
use crate::support::commands::{accept, accept_return, issue, parcel};

fn numbered(prefix: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{prefix}{n:03}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lone_command_commits_at_once() {
    let stage = Stage::new(1, LIMITS);
    let began = tokio::time::Instant::now();
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing waited for a batch to fill");
    assert_eq!(stage.store.batches(), [["o1"]]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_shares_a_commit_up_to_the_limit_in_order_of_arrival() {
    let stage = Stage::new(1, LIMITS);
    stage.store.hold();
    let mut asked = vec![stage.ask(accept(parcel("first")))];
    stage.store.begun(1).await;
    for id in numbered("o", 0..40) {
        asked.push(stage.ask(accept(parcel(&id))));
        settle().await;
    }
    stage.store.resume();
    for answer in asked {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    let expected =
        [vec!["first".to_owned()], numbered("o", 0..16), numbered("o", 16..32), numbered("o", 32..40)];
    assert_eq!(stage.store.batches(), expected);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn beside_a_batch_the_next_is_closed_when_it_is_nearly_as_large() {
    let stage = Stage::new(2, LIMITS);
    stage.store.hold();
    let mut asked = Vec::new();
    for id in numbered("a", 0..8) {
        asked.push(stage.ask(accept(parcel(&id))));
    }
    stage.store.begun(1).await;
    for id in numbered("b", 0..5) {
        asked.push(stage.ask(accept(parcel(&id))));
    }
    settle().await;
    assert_eq!(stage.store.batches(), [numbered("a", 0..8)], "five are less than three quarters of eight");
    asked.push(stage.ask(accept(parcel("b005"))));
    settle().await;
    assert_eq!(stage.store.batches(), [numbered("a", 0..8), numbered("b", 0..6)]);
    stage.store.resume();
    for answer in asked {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_when_a_batch_is_done_goes_at_once() {
    let stage = Stage::new(2, LIMITS);
    stage.store.hold();
    let mut asked: Vec<_> = numbered("a", 0..8).iter().map(|id| stage.ask(accept(parcel(id)))).collect();
    stage.store.begun(1).await;
    asked.push(stage.ask(accept(parcel("b"))));
    settle().await;
    let began = tokio::time::Instant::now();
    stage.store.resume();
    for answer in asked {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(stage.store.batches(), [numbered("a", 0..8), vec!["b".to_owned()]]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_stuck_keeps_nobody() {
    let stage = Stage::new(2, LIMITS);
    stage.store.plays(&[Trick::Hang]);
    let stuck: Vec<_> = numbered("a", 0..8).iter().map(|id| stage.ask(accept(parcel(id)))).collect();
    stage.store.begun(1).await;
    for id in ["b", "c"] {
        let began = tokio::time::Instant::now();
        stage.ask(accept(parcel(id))).await.unwrap().unwrap().answer.unwrap();
        assert!(began.elapsed() <= Duration::from_millis(3), "{id}: {:?}", began.elapsed());
    }
    // Behind the one that is stuck, and not kept from what stands beside it.
    let behind = stage.ask(issue(&["a000"], BatchMode::Atomic));
    settle().await;
    stage.ask(accept(parcel("d"))).await.unwrap().unwrap().answer.unwrap();
    assert!(!behind.is_finished());
    for answer in stuck {
        assert_eq!(answer.await.unwrap().unwrap_err().reason, Reason::DeadlineExceeded);
    }
}

#[tokio::test(start_paused = true)]
async fn commands_on_one_order_go_in_order_of_arrival_whatever_the_workers() {
    let stage = Stage::new(4, WriterLimits { batch: 1, ..LIMITS });
    let mut asked = Vec::new();
    for id in numbered("o", 0..8) {
        for ask in [accept(parcel(&id)), issue(&[&id], BatchMode::Atomic), accept_return(&id, "c1", None)] {
            asked.push(stage.ask(ask));
        }
    }
    for answer in asked {
        answer.await.unwrap().unwrap().answer.expect("what came before it was done before it");
    }
    for id in numbered("o", 0..8) {
        let (order, events) = stage.store.stored(&id).await.unwrap();
        assert_eq!((order.state_name(), events), (StateName::Returned, 3));
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn workers_do_different_orders_at_the_same_time_and_one_order_never() {
    let stage = Stage::new(2, WriterLimits { batch: 1, ..LIMITS });
    stage.store.hold();
    let asked = [
        stage.ask(accept(parcel("o1"))),
        stage.ask(issue(&["o1"], BatchMode::Atomic)),
        stage.ask(accept(parcel("o2"))),
    ];
    stage.store.begun(2).await;
    settle().await;
    assert_eq!(stage.store.batches(), [["o1"], ["o2"]], "the issue waits for the accept");
    stage.store.resume();
    for answer in asked {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn commands_with_one_key_never_run_beside_each_other() {
    let stage = Stage::new(2, WriterLimits { batch: 1, ..LIMITS });
    stage.store.hold();
    let first = stage.ask(accept(parcel("o1")).key("key-1"));
    stage.store.begun(1).await;
    let second = stage.ask(accept(parcel("o2")).key("key-1"));
    settle().await;
    assert_eq!(stage.store.batches().len(), 1, "the second waits for the first");
    stage.store.resume();
    first.await.unwrap().unwrap().answer.unwrap();
    let reused = second.await.unwrap().unwrap().answer.unwrap_err();
    assert_eq!(reused.reason, Reason::IdempotencyKeyReused);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn fifty_accepts_of_one_order_at_once_are_one_order() {
    let stage = Stage::new(2, LIMITS);
    let asked: Vec<_> = (0..50).map(|_| stage.ask(accept(parcel("o1")))).collect();
    let mut done = 0;
    for answer in asked {
        match answer.await.unwrap().unwrap().answer {
            Ok(_) => done += 1,
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::OrderAlreadyExists);
                assert_eq!(refusal.metadata["identical"], "true");
            }
        }
    }
    assert_eq!(done, 1);
    assert_eq!(stage.store.stored("o1").await.map(|(order, events)| (order.version, events)), Some((1, 1)));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn fifty_issues_of_one_order_at_once_are_one_event() {
    let stage = Stage::new(2, LIMITS);
    stage.ask(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    let asked: Vec<_> = (0..50).map(|_| stage.ask(issue(&["o1"], BatchMode::Atomic))).collect();
    let mut done = 0;
    for answer in asked {
        match answer.await.unwrap().unwrap().answer {
            Ok(_) => done += 1,
            Err(refusal) => assert_eq!(refusal.reason, Reason::OrderAlreadyIssued),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(stage.store.stored("o1").await.map(|(order, events)| (order.version, events)), Some((2, 2)));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_request_64_times_at_once_is_one_effect_and_64_equal_answers() {
    let stage = Stage::new(2, LIMITS);
    let asked: Vec<_> = (0..64).map(|_| stage.ask(accept(parcel("o1")).key("key-1"))).collect();
    let mut outcomes = Vec::new();
    for answer in asked {
        outcomes.push(answer.await.unwrap().unwrap());
    }
    assert!(matches!(outcomes[0].answer, Ok(Answer::Order(_))));
    assert!(outcomes.iter().all(|outcome| outcome.answer == outcomes[0].answer));
    assert_eq!(outcomes.iter().filter(|outcome| !outcome.replayed).count(), 1, "one was decided");
    assert_eq!(stage.store.stored("o1").await.map(|(_, events)| events), Some(1));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_calls_than_places_are_all_answered() {
    let stage = Stage::new(4, WriterLimits { queue: 8, batch: 4, ..LIMITS });
    let hour = Duration::from_hours(1);
    let ids = numbered("o", 0..600);
    let asked: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let admission = if n % 2 == 0 { Admission::Wait } else { Admission::Immediate };
            (n, id, stage.ask_within(hour, admission, accept(parcel(id))))
        })
        .collect();
    for (n, id, answer) in asked {
        let stored = match answer.await.unwrap() {
            Ok(outcome) => outcome.answer.is_ok(),
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::Overloaded);
                assert!(refusal.retry_after.is_some() && n % 2 == 1, "who waits is never turned away");
                false
            }
        };
        assert_eq!(stage.store.stored(id).await.is_some(), stored, "OVERLOADED means that nothing happened");
    }
    stage.close().await;
}
