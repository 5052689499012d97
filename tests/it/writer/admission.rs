//! Tests of admission to the queue, and of commands that leave it without being executed.

use std::time::Duration;

use pvz::app::{Admission, WriterLimits};
use pvz::domain::Reason;

use super::fixture::{LIMITS, WriterFixture, yield_until_idle};
use crate::support::commands::{accept, parcel};

const SMALL_LIMITS: WriterLimits = WriterLimits { queue: 4, batch: 1, ..LIMITS };
const MINUTE: Duration = Duration::from_mins(1);

/// Returns a fixture whose only worker is paused on the order `busy`.
async fn paused_fixture(limits: WriterLimits) -> (WriterFixture, super::fixture::PendingOutcome) {
    let fixture = WriterFixture::new(1, limits);
    fixture.store.pause();
    let busy = fixture.submit(accept(parcel("busy")));
    fixture.store.wait_for_batches(1).await;
    (fixture, busy)
}

#[tokio::test(start_paused = true)]
async fn full_queue_refuses_at_once_with_a_retry_delay() {
    let (fixture, busy) = paused_fixture(SMALL_LIMITS).await;
    let waiting: Vec<_> = ["o1", "o2", "o3", "o4"].map(|id| fixture.submit(accept(parcel(id)))).into();
    yield_until_idle().await;
    let began = tokio::time::Instant::now();
    let refusal = fixture.submit(accept(parcel("o5"))).await.unwrap().unwrap_err();
    assert_eq!((refusal.reason, began.elapsed()), (Reason::Overloaded, Duration::ZERO));
    assert!(refusal.retry_after.is_some_and(|delay| delay > Duration::ZERO));
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for answer in waiting {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    assert_eq!(fixture.store.stored("o5").await, None, "an OVERLOADED command is not executed");
    fixture.submit(accept(parcel("o5"))).await.unwrap().unwrap().answer.unwrap();
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn import_takes_the_slots_of_one_batch_and_at_most_half_of_the_queue() {
    for (batch, free) in [(1, 3), (2, 2), (4, 2)] {
        import_leaves_slots(WriterLimits { batch, ..SMALL_LIMITS }, free).await;
    }
}

/// Checks that an import leaves `free` slots of the queue to interactive commands.
async fn import_leaves_slots(limits: WriterLimits, free: usize) {
    let (fixture, _busy) = paused_fixture(limits).await;
    let import_row = |id: &str| fixture.submit_within(MINUTE, Admission::Wait, accept(parcel(id)));
    let rows: Vec<_> = ["r1", "r2", "r3", "r4", "r5", "r6"].map(import_row).into();
    yield_until_idle().await;
    let interactive: Vec<_> = (0..free).map(|n| fixture.submit(accept(parcel(&format!("o{n}"))))).collect();
    yield_until_idle().await;
    assert!(interactive.iter().all(|answer| !answer.is_finished()), "{limits:?}");
    let surplus = fixture.submit(accept(parcel("surplus"))).await.unwrap();
    assert_eq!(surplus.unwrap_err().reason, Reason::Overloaded, "{limits:?}");
    fixture.store.resume();
    for answer in rows.into_iter().chain(interactive) {
        answer.await.unwrap().unwrap().answer.expect("waiting rows are executed");
    }
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn row_that_gets_no_slot_in_time_is_not_executed() {
    let (fixture, busy) = paused_fixture(WriterLimits { queue: 1, ..SMALL_LIMITS }).await;
    let first = fixture.submit_within(MINUTE, Admission::Wait, accept(parcel("r1")));
    yield_until_idle().await;
    let second = fixture.submit_within(Duration::from_secs(5), Admission::Wait, accept(parcel("r2")));
    assert_eq!(second.await.unwrap().unwrap_err().reason, Reason::DeadlineExceeded);
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    first.await.unwrap().unwrap().answer.unwrap();
    assert_eq!(fixture.store.batches(), [["busy"], ["r1"]]);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn cancelled_command_is_not_executed() {
    let (fixture, busy) = paused_fixture(SMALL_LIMITS).await;
    let cancelled = fixture.submit(accept(parcel("cancelled")));
    let waiting = fixture.submit(accept(parcel("waiting")));
    yield_until_idle().await;
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    waiting.await.unwrap().unwrap().answer.unwrap();
    assert_eq!(fixture.store.batches(), [["busy"], ["waiting"]]);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn command_that_expires_in_the_queue_is_not_executed() {
    let (fixture, busy) = paused_fixture(SMALL_LIMITS).await;
    let late = fixture.submit_within(Duration::from_secs(1), Admission::Immediate, accept(parcel("late")));
    let began = tokio::time::Instant::now();
    assert_eq!(late.await.unwrap().unwrap_err().reason, Reason::DeadlineExceeded);
    assert_eq!(began.elapsed(), Duration::from_secs(1), "the caller is answered at the deadline");
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert_eq!(fixture.store.batches(), [["busy"], ["o1"]]);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn expired_commands_count_towards_the_queue_limit() {
    let (fixture, busy) = paused_fixture(SMALL_LIMITS).await;
    for round in 0..3 {
        let ids = [0, 1, 2, 3].map(|n| format!("r{round}-{n}"));
        let waiting = ids.map(|id| {
            fixture.submit_within(Duration::from_secs(1), Admission::Immediate, accept(parcel(&id)))
        });
        for answer in waiting {
            let refusal = answer.await.unwrap().unwrap_err();
            let expected = if round == 0 { Reason::DeadlineExceeded } else { Reason::Overloaded };
            assert_eq!(refusal.reason, expected);
        }
    }
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    fixture.submit(accept(parcel("o1"))).await.unwrap().unwrap().answer.unwrap();
    assert_eq!(fixture.store.batches(), [["busy"], ["o1"]]);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn closed_pool_executes_waiting_commands_and_refuses_new_ones() {
    let (fixture, busy) = paused_fixture(SMALL_LIMITS).await;
    let waiting: Vec<_> = ["o1", "o2", "o3"].map(|id| fixture.submit(accept(parcel(id)))).into();
    yield_until_idle().await;
    fixture.writer.close();
    let refusal = fixture.submit(accept(parcel("o4"))).await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::Unavailable);
    assert!(refusal.retry_after.is_some());
    fixture.store.resume();
    busy.await.unwrap().unwrap().answer.unwrap();
    for answer in waiting {
        answer.await.unwrap().unwrap().answer.unwrap();
    }
    assert_eq!(fixture.store.stored("o4").await, None);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn workers_of_an_idle_pool_end_when_it_is_closed() {
    let fixture = WriterFixture::new(8, SMALL_LIMITS);
    yield_until_idle().await;
    tokio::time::timeout(MINUTE, fixture.close()).await.expect("every worker ends");
}
