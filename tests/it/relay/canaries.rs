//! Relays as they must not be are noticed by what the other tests look with.
//!
//! Test T25 of `docs/reliability.md`.

use std::sync::Arc;

use pvz::ports::{Outbox as _, Position, Resolution};

use super::Scene;
use super::script::{OtherLog, Step};
use crate::contract::given::id;

/// The cursor of a relay that moves before the sink has the events.
#[tokio::test]
async fn a_cursor_ahead_of_the_acknowledgement_is_noticed() {
    let scene = Scene::new(9, &[Step::Write, Step::Claim], &[]).await;
    let hasty = scene.relay();
    assert!(hasty.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_letter_that_is_taken_away_before_its_events_arrived_is_noticed() {
    let sick = (id("order-2"), 2);
    let scene = Scene::new(6, &[], &[sick]).await;
    scene.run_to_the_end().await;
    let lease = scene.outbox.acquire_lease("scripted").await.unwrap().unwrap();
    assert!(scene.outbox.resolve("scripted", &id("order-2"), Resolution::Drop).await.unwrap());
    let letter = scene.outbox.resolved_dead_letters("scripted", 1).await.unwrap().remove(0);
    scene.outbox.dropped.lock().unwrap().insert((id("order-2"), 2));
    // What was given up is excused, but not what was held back behind it.
    let outbox = scene.outbox.clone();
    let hasty = tokio::spawn(async move { outbox.remove_dead_letter(&lease.token, &letter).await });
    assert!(hasty.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn an_event_that_was_published_and_never_committed_is_noticed() {
    let scene = Scene::new(6, &[], &[]).await;
    scene.run_to_the_end().await;
    assert_eq!(scene.first_written(), scene.expected(&[]));
    // As if it had been read before its commit, and that had not come.
    let mut stray = scene.outbox.log.last().unwrap().clone();
    stray.event.sequence += 1;
    let delivery = pvz::ports::EventSink::publish(&*scene.sink, &[stray]).await;
    assert!(delivery.failure.is_none());
    assert_ne!(scene.first_written(), scene.expected(&[]));
}

/// A relay that goes on behind what it has not seen.
#[tokio::test]
async fn an_event_that_was_skipped_is_noticed() {
    let scene = Scene::new(6, &[], &[]).await;
    let log = OtherLog::new(
        &scene,
        |after, events| if after == Position(0) { events[2..].to_vec() } else { events },
    );
    let hasty = scene.relay_of(Arc::new(log), scene.outbox.clone());
    assert!(hasty.await.unwrap_err().is_panic());
}
