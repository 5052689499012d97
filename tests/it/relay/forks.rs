//! Tests of the relay when the sink has events that the log does not have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pvz::app::RelayOptions;
use pvz::domain::{EventId, OrderId};
use pvz::ports::{KnownSink, LeaseWrite, Position, PublishedEvent};

use super::doubles::EditedLog;
use super::{RelayFixture, options};
use crate::contract::fixtures::{accepted, accepting, id, write};
use crate::process::TIMEOUT;

/// The id of an event that is in no log of these tests.
const FOREIGN: EventId = EventId(77);

fn foreign(order_id: &str) -> PublishedEvent {
    PublishedEvent { event_id: FOREIGN, order_id: id(order_id), sequence: 1 }
}

impl RelayFixture {
    /// Waits until publishing has stopped or resumed, and returns the reason.
    async fn stopped(&self, is_stopped: bool) -> String {
        let wait = async {
            loop {
                let status = self.stores.outbox().status("scripted").await.unwrap();
                let leader = status.and_then(|status| status.leader);
                if leader.as_ref().is_some_and(|leader| leader.stopped.is_some() == is_stopped) {
                    return leader.and_then(|leader| leader.stopped).unwrap_or_default();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, wait).await.expect("publishing stops or continues")
    }

    async fn accept(&self) -> usize {
        self.compare(self.stores.events.clone(), self.stores.outbox()).accept_fork().await.unwrap()
    }

    async fn written(&self, count: usize) -> Vec<(OrderId, i64)> {
        let wait = async {
            while self.sink.written().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, wait).await.expect("events are written");
        self.sink.written()
    }

    async fn end_relay(&self, relay: tokio::task::JoinHandle<()>) {
        self.stop.cancel();
        relay.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_published_to_a_sink_that_is_ahead() {
    let fixture = RelayFixture::new(3, &[], &[]).await;
    *fixture.sink.last.lock().unwrap() = Some(foreign("order-0-later"));
    let relay = fixture.relay();
    let reason = fixture.stopped(true).await;
    for part in [&FOREIGN.to_string(), "order-0-later", "accept-fork", "republish --from=CURSOR"] {
        assert!(reason.contains(part), "{reason}");
    }
    fixture.end_relay(relay).await;
    assert_eq!(fixture.sink.written(), [], "also nothing at the end");
}

#[tokio::test]
async fn another_event_in_the_same_place_is_named_with_both_ids() {
    let fixture = RelayFixture::new(3, &[], &[]).await;
    let logged = fixture.outbox.log[0].event.clone();
    let other = PublishedEvent { event_id: FOREIGN, ..PublishedEvent::from(&logged) };
    *fixture.sink.last.lock().unwrap() = Some(other);
    let relay = fixture.relay();
    let reason = fixture.stopped(true).await;
    assert!(
        reason.contains(&FOREIGN.to_string()) && reason.contains(&logged.event_id.to_string()),
        "{reason}"
    );
    fixture.end_relay(relay).await;
    assert_eq!(fixture.sink.written(), []);
}

#[tokio::test]
async fn event_that_was_published_and_not_marked_is_no_fork() {
    let fixture = RelayFixture::new(6, &[], &[]).await;
    *fixture.sink.last.lock().unwrap() = Some(PublishedEvent::from(&fixture.outbox.log[7].event));
    fixture.run_to_the_end().await;
    assert_eq!(fixture.first_written(), fixture.expected(&[]));
}

#[tokio::test]
async fn archived_event_is_no_fork_and_an_unknown_one_is() {
    // The events of the first orders were archived; the orders remain.
    for (order_id, is_fork) in [("order-1", false), ("elsewhere", true)] {
        let fixture = RelayFixture::new(6, &[], &[]).await;
        let log = Arc::new(EditedLog::new(&fixture, |_, events| events));
        *log.oldest.lock().unwrap() = Position(6);
        *fixture.sink.last.lock().unwrap() = Some(foreign(order_id));
        let relay = fixture.relay_of(log, fixture.stores.outbox());
        if is_fork {
            fixture.stopped(true).await;
        } else {
            fixture.written(fixture.outbox.log.len() - 6).await;
        }
        fixture.end_relay(relay).await;
    }
}

#[tokio::test]
async fn accepted_sink_is_published_to_also_by_later_leaders() {
    let fixture = RelayFixture::new(0, &[], &[]).await;
    *fixture.sink.last.lock().unwrap() = Some(foreign("elsewhere"));
    let relay = fixture.relay();
    let reason = fixture.stopped(true).await;
    assert!(
        reason.contains("this store has no events") && reason.contains("--allow-empty-store"),
        "{reason}"
    );
    assert_eq!(fixture.accept().await, 1);
    fixture.stopped(false).await;
    assert_eq!(fixture.accept().await, 0, "nothing is left to accept");
    relay.abort();
    assert!(relay.await.unwrap_err().is_cancelled());
    let relay = fixture.relay_of(fixture.stores.events.clone(), fixture.stores.outbox());
    write(&*fixture.stores.orders, accepting(&[accepted("1", 0)])).await.unwrap();
    assert_eq!(fixture.written(1).await, [(id("1"), 1)]);
    fixture.end_relay(relay).await;
}

#[tokio::test]
async fn another_event_than_the_accepted_one_is_a_fork() {
    let fixture = RelayFixture::new(1, &[], &[]).await;
    *fixture.sink.last.lock().unwrap() = Some(foreign("elsewhere"));
    assert_eq!(fixture.accept().await, 1);
    let later = PublishedEvent { event_id: EventId(78), sequence: 2, ..foreign("elsewhere") };
    *fixture.sink.last.lock().unwrap() = Some(later);
    let relay = fixture.relay();
    assert!(fixture.stopped(true).await.contains(&EventId(78).to_string()));
    fixture.end_relay(relay).await;
}

#[tokio::test]
async fn events_are_published_again_from_a_position() {
    let fixture = RelayFixture::new(6, &[], &[]).await;
    let (log, end) = (&fixture.outbox.log, fixture.end());
    let relay = fixture.relay_of(fixture.stores.events.clone(), fixture.stores.outbox());
    fixture.written(log.len()).await;
    let saved = async {
        while fixture.stores.outbox().cursor("scripted").await.unwrap() != Some(end) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, saved).await.expect("the cursor is saved");
    // The relay is idle, so it finds out only by reading the cursor.
    assert!(fixture.stores.outbox().republish("scripted", Position(4)).await.unwrap());
    let written = fixture.written(2 * log.len() - 4).await;
    let again = log[4..].iter().map(|logged| (logged.event.order.order_id.clone(), logged.event.sequence));
    assert_eq!(written[log.len()..], again.collect::<Vec<_>>());
    fixture.end_relay(relay).await;
    assert_eq!(fixture.stores.outbox().cursor("scripted").await.unwrap(), Some(end));
}

#[tokio::test]
async fn sink_that_cannot_be_read_is_asked_again() {
    let fixture = RelayFixture::new(6, &[], &[]).await;
    fixture.sink.tail_failures.store(3, Ordering::Relaxed);
    fixture.run_to_the_end().await;
    assert_eq!(fixture.sink.tail_failures.load(Ordering::Relaxed), 0);
    assert_eq!(fixture.first_written(), fixture.expected(&[]));
    let leader = fixture.stores.outbox().status("scripted").await.unwrap().unwrap().leader.unwrap();
    assert_eq!(leader.failure.map(|(cause, _)| cause).as_deref(), Some("the sink fails"));
}

#[tokio::test]
async fn changed_number_of_partitions_stops_publishing_until_it_is_accepted() {
    let fixture = RelayFixture::new(3, &[], &[]).await;
    let known = KnownSink { partitions: 4, accepted: Vec::new() };
    fixture.stores.outbox().record_sink("scripted", &known).await.unwrap();
    let relay = fixture.relay();
    let reason = fixture.stopped(true).await;
    assert!(reason.contains("had 4 partitions and has 1"), "{reason}");
    assert_eq!(fixture.sink.written(), []);
    assert_eq!(fixture.accept().await, 1);
    fixture.written(fixture.outbox.log.len()).await;
    fixture.end_relay(relay).await;
    assert_eq!(fixture.first_written(), fixture.expected(&[]));
}

#[tokio::test]
async fn store_that_has_published_nothing_accepts_the_sink_if_that_is_allowed() {
    let allowed = || RelayOptions { allow_empty_store: true, ..options() };
    let fixture = RelayFixture::new(3, &[], &[]).await;
    *fixture.sink.last.lock().unwrap() = Some(foreign("elsewhere"));
    let compare = || fixture.compare(fixture.stores.events.clone(), fixture.stores.outbox());
    let relay = fixture.relay_with(compare(), allowed());
    fixture.written(fixture.outbox.log.len()).await;
    fixture.end_relay(relay).await;
    // Once the store has published, a foreign event is a fork.
    let fixture = RelayFixture { stop: tokio_util::sync::CancellationToken::new(), ..fixture };
    let another = PublishedEvent { event_id: EventId(78), ..foreign("elsewhere") };
    *fixture.sink.last.lock().unwrap() = Some(another);
    let compare = fixture.compare(fixture.stores.events.clone(), fixture.stores.outbox());
    let relay = fixture.relay_with(compare, allowed());
    fixture.stopped(true).await;
    fixture.end_relay(relay).await;
}

#[tokio::test]
async fn leader_that_was_fenced_off_while_stopped_leaves_the_decision_to_the_next() {
    let fixture = RelayFixture::new(3, &[], &[]).await;
    let lease = fixture.stores.outbox().acquire_lease("scripted").await.unwrap().unwrap();
    let advanced = fixture.stores.outbox().advance(&lease.token, Position(2), &[]).await.unwrap();
    assert_eq!(advanced, LeaseWrite::Done);
    drop(lease);
    *fixture.sink.last.lock().unwrap() = Some(foreign("elsewhere"));
    let relay = fixture.relay_of(fixture.stores.events.clone(), fixture.stores.outbox());
    fixture.stopped(true).await;
    assert_eq!(fixture.accept().await, 1);
    assert!(fixture.stores.outbox().republish("scripted", Position(0)).await.unwrap());
    fixture.written(fixture.outbox.log.len()).await;
    fixture.end_relay(relay).await;
    assert_eq!(fixture.first_written(), fixture.expected(&[]));
}
