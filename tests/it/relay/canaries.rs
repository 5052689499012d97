//! Relays as they must not be are noticed by what the other tests look with.

use pvz::ports::{Outbox as _, Resolution};

use super::Scene;
use crate::contract::given::id;

#[tokio::test]
async fn a_cursor_ahead_of_the_acknowledgement_is_noticed() {
    let scene = Scene::new(3, &[], &[]).await;
    let lease = scene.outbox.lead("scripted").await.unwrap().unwrap();
    let (outbox, end) = (scene.outbox.clone(), scene.end());
    let hasty = tokio::spawn(async move { outbox.advance(&lease.ticket, end, &[]).await });
    assert!(hasty.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_letter_that_is_taken_away_before_its_events_arrived_is_noticed() {
    let sick = (id("order-2"), 2);
    let scene = Scene::new(6, &[], &[sick]).await;
    scene.run_to_the_end().await;
    let lease = scene.outbox.lead("scripted").await.unwrap().unwrap();
    assert!(scene.outbox.resolve("scripted", &id("order-2"), Resolution::Drop).await.unwrap());
    let letter = scene.outbox.resolved("scripted", 1).await.unwrap().remove(0);
    scene.outbox.dropped.lock().unwrap().insert((id("order-2"), 2));
    // What was given up is excused, but not what was held back behind it.
    let outbox = scene.outbox.clone();
    let hasty = tokio::spawn(async move { outbox.unbury(&lease.ticket, &letter).await });
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
