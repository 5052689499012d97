//! Tests of batches: which commands share a commit, and in which order they run.

use std::time::Duration;

use pvz::app::{Admission, WriterLimits};
use pvz::domain::{Answer, BatchMode, Reason, StateName};

use super::fixture::{LIMITS, StoreFault, WriterFixture, yield_until_idle};
use crate::support::commands::{accept, accept_return, issue, parcel};

fn numbered(prefix: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{prefix}{n:03}")).collect()
}

#[tokio::test(start_paused = true)]
async fn single_command_commits_at_once() {
    let fixture = WriterFixture::new(1, LIMITS);
    let began = tokio::time::Instant::now();
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "a batch does not wait to be filled");
    assert_eq!(fixture.store.batches(), [["o1"]]);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_commands_share_a_commit_up_to_the_limit_in_order_of_arrival() {
    let fixture = WriterFixture::new(1, LIMITS);
    fixture.store.pause();
    let mut pending = vec![fixture.submit(accept(parcel("first")))];
    fixture.store.wait_for_batches(1).await;
    for id in numbered("o", 0..40) {
        pending.push(fixture.submit(accept(parcel(&id))));
        yield_until_idle().await;
    }
    fixture.store.resume();
    for answer in pending {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    let expected =
        [vec!["first".to_owned()], numbered("o", 0..16), numbered("o", 16..32), numbered("o", 32..40)];
    assert_eq!(fixture.store.batches(), expected);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn concurrent_batch_starts_at_three_quarters_of_the_running_batch() {
    let fixture = WriterFixture::new(2, LIMITS);
    fixture.store.pause();
    let mut pending = Vec::new();
    for id in numbered("a", 0..8) {
        pending.push(fixture.submit(accept(parcel(&id))));
    }
    fixture.store.wait_for_batches(1).await;
    for id in numbered("b", 0..5) {
        pending.push(fixture.submit(accept(parcel(&id))));
    }
    yield_until_idle().await;
    assert_eq!(fixture.store.batches(), [numbered("a", 0..8)], "five is less than three quarters of eight");
    pending.push(fixture.submit(accept(parcel("b005"))));
    yield_until_idle().await;
    assert_eq!(fixture.store.batches(), [numbered("a", 0..8), numbered("b", 0..6)]);
    fixture.store.resume();
    for answer in pending {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn remaining_commands_run_when_the_running_batch_ends() {
    let fixture = WriterFixture::new(2, LIMITS);
    fixture.store.pause();
    let mut pending: Vec<_> =
        numbered("a", 0..8).iter().map(|id| fixture.submit(accept(parcel(id)))).collect();
    fixture.store.wait_for_batches(1).await;
    pending.push(fixture.submit(accept(parcel("b"))));
    yield_until_idle().await;
    let began = tokio::time::Instant::now();
    fixture.store.resume();
    for answer in pending {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(fixture.store.batches(), [numbered("a", 0..8), vec!["b".to_owned()]]);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn stuck_batch_does_not_delay_other_orders() {
    let fixture = WriterFixture::new(2, LIMITS);
    fixture.store.inject(&[StoreFault::Hang]);
    let stuck: Vec<_> = numbered("a", 0..8).iter().map(|id| fixture.submit(accept(parcel(id)))).collect();
    fixture.store.wait_for_batches(1).await;
    for id in ["b", "c"] {
        let began = tokio::time::Instant::now();
        fixture.submit(accept(parcel(id))).await.unwrap().unwrap().answer.unwrap();
        assert!(began.elapsed() <= Duration::from_millis(3), "{id}: {:?}", began.elapsed());
    }
    // A command on a stuck order waits, and does not delay the next command.
    let blocked = fixture.submit(issue(&["a000"], BatchMode::Atomic));
    yield_until_idle().await;
    fixture.submit(accept(parcel("d"))).await.unwrap().unwrap().answer.unwrap();
    assert!(!blocked.is_finished());
    for answer in stuck {
        assert_eq!(answer.await.unwrap().unwrap_err().reason, Reason::DeadlineExceeded);
    }
}

#[tokio::test(start_paused = true)]
async fn commands_on_one_order_run_in_order_of_arrival() {
    let fixture = WriterFixture::new(4, WriterLimits { batch: 1, ..LIMITS });
    let mut pending = Vec::new();
    for id in numbered("o", 0..8) {
        for ask in [accept(parcel(&id)), issue(&[&id], BatchMode::Atomic), accept_return(&id, "c1", None)] {
            pending.push(fixture.submit(ask));
        }
    }
    for answer in pending {
        answer.await.unwrap().unwrap().answer.expect("earlier commands were executed first");
    }
    for id in numbered("o", 0..8) {
        let (order, events) = fixture.store.stored(&id).await.unwrap();
        assert_eq!((order.state_name(), events), (StateName::Returned, 3));
    }
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn workers_run_different_orders_concurrently_and_one_order_serially() {
    let fixture = WriterFixture::new(2, WriterLimits { batch: 1, ..LIMITS });
    fixture.store.pause();
    let pending = [
        fixture.submit(accept(parcel("o1"))),
        fixture.submit(issue(&["o1"], BatchMode::Atomic)),
        fixture.submit(accept(parcel("o2"))),
    ];
    fixture.store.wait_for_batches(2).await;
    yield_until_idle().await;
    assert_eq!(fixture.store.batches(), [["o1"], ["o2"]], "the issue waits for the accept");
    fixture.store.resume();
    for answer in pending {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn commands_with_one_key_run_serially() {
    let fixture = WriterFixture::new(2, WriterLimits { batch: 1, ..LIMITS });
    fixture.store.pause();
    let first = fixture.submit(accept(parcel("o1")).key("key-1"));
    fixture.store.wait_for_batches(1).await;
    let second = fixture.submit(accept(parcel("o2")).key("key-1"));
    yield_until_idle().await;
    assert_eq!(fixture.store.batches().len(), 1, "the second waits for the first");
    fixture.store.resume();
    first.await.unwrap().unwrap().answer.unwrap();
    let reused = second.await.unwrap().unwrap().answer.unwrap_err();
    assert_eq!(reused.reason, Reason::IdempotencyKeyReused);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn fifty_concurrent_accepts_of_one_order_create_one_order() {
    let fixture = WriterFixture::new(2, LIMITS);
    let pending: Vec<_> = (0..50).map(|_| fixture.submit(accept(parcel("o1")))).collect();
    let mut done = 0;
    for answer in pending {
        match answer.await.unwrap().unwrap().answer {
            Ok(_) => done += 1,
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::OrderAlreadyExists);
                assert_eq!(refusal.metadata["identical"], "true");
            }
        }
    }
    assert_eq!(done, 1);
    assert_eq!(fixture.store.stored("o1").await.map(|(order, events)| (order.version, events)), Some((1, 1)));
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn fifty_concurrent_issues_of_one_order_create_one_event() {
    let fixture = WriterFixture::new(2, LIMITS);
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    let pending: Vec<_> = (0..50).map(|_| fixture.submit(issue(&["o1"], BatchMode::Atomic))).collect();
    let mut done = 0;
    for answer in pending {
        match answer.await.unwrap().unwrap().answer {
            Ok(_) => done += 1,
            Err(refusal) => assert_eq!(refusal.reason, Reason::OrderAlreadyIssued),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(fixture.store.stored("o1").await.map(|(order, events)| (order.version, events)), Some((2, 2)));
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn sixty_four_concurrent_repeats_have_one_effect_and_equal_answers() {
    let fixture = WriterFixture::new(2, LIMITS);
    let pending: Vec<_> = (0..64).map(|_| fixture.submit(accept(parcel("o1")).key("key-1"))).collect();
    let mut outcomes = Vec::new();
    for answer in pending {
        outcomes.push(answer.await.unwrap().unwrap());
    }
    assert!(matches!(outcomes[0].answer, Ok(Answer::Order(_))));
    assert!(outcomes.iter().all(|outcome| outcome.answer == outcomes[0].answer));
    assert_eq!(outcomes.iter().filter(|outcome| !outcome.replayed).count(), 1, "one command was decided");
    assert_eq!(fixture.store.stored("o1").await.map(|(_, events)| events), Some(1));
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_calls_than_queue_slots_are_all_answered() {
    let fixture = WriterFixture::new(4, WriterLimits { queue: 8, batch: 4, ..LIMITS });
    let hour = Duration::from_hours(1);
    let ids = numbered("o", 0..600);
    let pending: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let admission = if n % 2 == 0 { Admission::Wait } else { Admission::Immediate };
            (n, id, fixture.submit_within(hour, admission, accept(parcel(id))))
        })
        .collect();
    for (n, id, answer) in pending {
        let stored = match answer.await.unwrap() {
            Ok(outcome) => outcome.answer.is_ok(),
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::Overloaded);
                assert!(refusal.retry_after.is_some() && n % 2 == 1, "a waiting caller is never refused");
                false
            }
        };
        assert_eq!(fixture.store.stored(id).await.is_some(), stored, "an OVERLOADED command is not executed");
    }
    fixture.close().await;
}
