//! Canaries: incorrect relays, logs and sinks that the checks of the other tests must detect.
//!
//! Test T25 of `docs/reliability.md`.

use std::sync::Arc;

use pvz::ports::{Outbox as _, Position, Resolution};

use super::RelayFixture;
use super::doubles::{EditedLog, SinkAction};
use crate::contract::fixtures::id;

#[tokio::test]
async fn cursor_ahead_of_the_acknowledgement_is_detected() {
    let fixture =
        RelayFixture::new(9, &[SinkAction::Write, SinkAction::AcknowledgeWithoutWriting], &[]).await;
    let relay = fixture.relay();
    assert!(relay.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn dead_letter_removed_before_its_events_were_published_is_detected() {
    let poisoned = (id("order-2"), 2);
    let fixture = RelayFixture::new(6, &[], &[poisoned]).await;
    fixture.run_to_the_end().await;
    let lease = fixture.outbox.acquire_lease("scripted").await.unwrap().unwrap();
    assert!(fixture.outbox.resolve("scripted", &id("order-2"), Resolution::Drop).await.unwrap());
    let letter = fixture.outbox.resolved_dead_letters("scripted", 1).await.unwrap().remove(0);
    fixture.outbox.dropped.lock().unwrap().insert((id("order-2"), 2));
    // The dropped event may be missing, but not the events held back behind it.
    let outbox = fixture.outbox.clone();
    let removal = tokio::spawn(async move { outbox.remove_dead_letter(&lease.token, &letter).await });
    assert!(removal.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn published_event_that_was_never_committed_is_detected() {
    let fixture = RelayFixture::new(6, &[], &[]).await;
    fixture.run_to_the_end().await;
    assert_eq!(fixture.first_written(), fixture.expected(&[]));
    // As if the relay had read the event before its transaction was rolled back.
    let mut stray = fixture.outbox.log.last().unwrap().clone();
    stray.event.sequence += 1;
    let delivery = pvz::ports::EventSink::publish(&*fixture.sink, &[stray]).await;
    assert!(delivery.failure.is_none());
    assert_ne!(fixture.first_written(), fixture.expected(&[]));
}

#[tokio::test]
async fn skipped_event_is_detected() {
    let fixture = RelayFixture::new(6, &[], &[]).await;
    let log = EditedLog::new(
        &fixture,
        |after, events| if after == Position(0) { events[2..].to_vec() } else { events },
    );
    let relay = fixture.relay_of(Arc::new(log), fixture.outbox.clone());
    assert!(relay.await.unwrap_err().is_panic());
}
