//! Tests of the relay with a failing sink: no event is skipped, no event is reordered within an order,
//! and the cursor is never ahead of an acknowledgement.

mod archived;
mod canaries;
mod dead_letters;
pub mod doubles;
mod forks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use pvz::app::{CompareSink, RelayEvents, RelayOptions};
use pvz::domain::OrderId;
use pvz::ports::{EventLog, Outbox, Position};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::doubles::{CheckedOutbox, ScriptedSink, SinkAction};
use crate::contract::fixtures::{
    self, StoreFixture, accepted, accepting, id, issued, moving, returned, write,
};
use crate::support::property;
use crate::support::runtime::block_on;
use crate::support::time::TestClock;

/// Returns options with short delays, because the sink fails often.
fn options() -> RelayOptions {
    RelayOptions {
        batch: 7,
        poll: Duration::from_millis(5),
        stand_by: Duration::from_millis(1),
        save_after: Duration::from_millis(1),
        first_backoff: Duration::from_micros(50),
        last_backoff: Duration::from_millis(1),
        publish_timeout: Duration::from_millis(3),
        farewell: Duration::from_secs(5),
        allow_empty_store: false,
    }
}

/// Test fixture: a store with events, a sink, and relays between them.
struct RelayFixture {
    stores: StoreFixture,
    sink: Arc<ScriptedSink>,
    outbox: Arc<CheckedOutbox>,
    wake: watch::Sender<u64>,
    stop: CancellationToken,
}

impl RelayFixture {
    /// Writes the events of `orders` orders, up to three each, interleaved.
    async fn new(orders: usize, script: &[SinkAction], poison: &[(OrderId, i64)]) -> Self {
        let stores = fixtures::memory();
        let first: Vec<_> = (0..orders).map(|order| accepted(&format!("order-{order}"), 0)).collect();
        write(&*stores.orders, accepting(&first)).await.unwrap();
        for (index, order) in first.iter().enumerate().filter(|(index, _)| index % 3 > 0) {
            let second = issued(order, 1);
            let through =
                if index % 3 == 1 { vec![second] } else { vec![second.clone(), returned(&second, 2)] };
            write(&*stores.orders, moving(order, &through)).await.unwrap();
        }
        let sink = Arc::new(ScriptedSink::new(script, poison));
        let outbox = Arc::new(CheckedOutbox {
            inner: stores.outbox(),
            sink: sink.clone(),
            log: stores.events.feed(Position(0), 10_000).await.unwrap(),
            dropped: Mutex::default(),
            advanced: watch::Sender::default(),
        });
        Self { stores, sink, outbox, wake: watch::Sender::new(0), stop: CancellationToken::new() }
    }

    /// Starts a relay of the store's log with the checked outbox.
    fn relay(&self) -> JoinHandle<()> {
        self.relay_of(self.stores.events.clone(), self.outbox.clone())
    }

    /// Starts a relay with the given log and outbox.
    fn relay_of(&self, log: Arc<dyn EventLog>, outbox: Arc<dyn Outbox>) -> JoinHandle<()> {
        self.relay_with(self.compare(log, outbox), options())
    }

    fn relay_with(&self, compare: CompareSink, options: RelayOptions) -> JoinHandle<()> {
        let (clock, committed) = (Arc::new(TestClock::default()), self.wake.subscribe());
        let relay = RelayEvents::new(compare, clock, committed, "test".to_owned(), options);
        tokio::spawn(relay.run(self.stop.clone()))
    }

    fn compare(&self, log: Arc<dyn EventLog>, outbox: Arc<dyn Outbox>) -> CompareSink {
        CompareSink::new(self.stores.orders.clone(), log, outbox, self.sink.clone())
    }

    /// Returns the position of the last event.
    fn end(&self) -> Position {
        self.outbox.log.last().map_or(Position(0), |last| last.position)
    }

    /// Runs relays, one after another, until the cursor is at the end of the log. The last one is
    /// stopped.
    async fn run_to_the_end(&self) {
        let mut advanced = self.outbox.advanced.subscribe();
        let end = self.end();
        let mut relay = self.relay();
        loop {
            tokio::select! {
                reached = advanced.wait_for(|(cursor, _)| *cursor == end) => break drop(reached.unwrap()),
                () = self.sink.crash.notified() => {
                    relay.abort();
                    assert!(relay.await.unwrap_err().is_cancelled());
                    relay = self.relay();
                }
                ended = &mut relay => panic!("the relay ended unexpectedly: {ended:?}"),
            }
        }
        self.stop.cancel();
        relay.await.unwrap();
    }

    /// Returns the sequences of each order in the order of their first write.
    fn first_written(&self) -> BTreeMap<OrderId, Vec<i64>> {
        let mut first: BTreeMap<OrderId, Vec<i64>> = BTreeMap::new();
        for (order_id, sequence) in self.sink.written() {
            let sequences = first.entry(order_id).or_default();
            if !sequences.contains(&sequence) {
                sequences.push(sequence);
            }
        }
        first
    }

    /// Returns the expected sequences of each order: all before its first poisoned event.
    fn expected(&self, poison: &[(OrderId, i64)]) -> BTreeMap<OrderId, Vec<i64>> {
        let mut expected: BTreeMap<OrderId, Vec<i64>> = BTreeMap::new();
        for logged in &self.outbox.log {
            let (order_id, sequence) = (&logged.event.order.order_id, logged.event.sequence);
            if !poison.iter().any(|(poisoned, first)| poisoned == order_id && *first <= sequence) {
                expected.entry(order_id.clone()).or_default().push(sequence);
            }
        }
        expected
    }
}

fn sink_actions() -> impl Strategy<Value = Vec<SinkAction>> {
    let step = prop_oneof![
        Just(SinkAction::Write),
        Just(SinkAction::FailBeforeWriting),
        Just(SinkAction::FailAfterWriting),
        (0_usize..8).prop_map(SinkAction::WritePartially),
        Just(SinkAction::Hang),
        Just(SinkAction::WriteThenHang),
        Just(SinkAction::Crash),
        Just(SinkAction::WriteThenCrash),
    ];
    prop::collection::vec(step, 0..14)
}

#[test]
fn no_event_is_skipped_or_reordered() {
    let poison = prop::collection::vec((0_usize..20, 1_i64..4), 0..3);
    let test = "relay::no_event_is_skipped_or_reordered";
    property::check(test, 300, &(1_usize..20, sink_actions(), poison), |(orders, script, poison)| {
        let poison: Vec<_> =
            poison.into_iter().map(|(order, sequence)| (id(&format!("order-{order}")), sequence)).collect();
        block_on(async {
            let fixture = RelayFixture::new(orders, &script, &poison).await;
            fixture.run_to_the_end().await;
            assert_eq!(fixture.first_written(), fixture.expected(&poison));
            let dead_letters = fixture.stores.outbox().dead_letters("scripted", None, 100).await.unwrap();
            let first_poisoned = |order_id: &OrderId| {
                let poisoned =
                    poison.iter().filter(|(poisoned, _)| poisoned == order_id).map(|(_, sequence)| *sequence);
                poisoned
                    .filter(|poisoned| {
                        fixture.outbox.log.iter().any(|logged| {
                            logged.event.order.order_id == *order_id && logged.event.sequence == *poisoned
                        })
                    })
                    .min()
            };
            for letter in &dead_letters {
                assert_eq!(
                    Some(letter.sequence),
                    first_poisoned(&letter.order_id),
                    "the first poisoned event is the dead letter"
                );
            }
            let poisoned =
                (0..orders).filter(|order| first_poisoned(&id(&format!("order-{order}"))).is_some());
            assert_eq!(
                dead_letters.len(),
                poisoned.count(),
                "every order with a poisoned event has a dead letter"
            );
        });
    });
}

#[tokio::test]
async fn commit_wakes_the_relay() {
    let fixture = RelayFixture::new(1, &[], &[]).await;
    let compare = fixture.compare(fixture.stores.events.clone(), fixture.stores.outbox());
    // A long interval, so that only a commit can wake the relay.
    let relay = fixture.relay_with(compare, RelayOptions { poll: Duration::from_hours(1), ..options() });
    for number in 0..20 {
        write(&*fixture.stores.orders, accepting(&[accepted(&format!("later-{number}"), 0)])).await.unwrap();
        fixture.wake.send_modify(|batches| *batches += 1);
        while !fixture.sink.written().contains(&(id(&format!("later-{number}")), 1)) {
            tokio::task::yield_now().await;
        }
    }
    fixture.stop.cancel();
    relay.await.unwrap();
    assert_eq!(fixture.stores.outbox().cursor("scripted").await.unwrap(), Some(Position(21)));
}

#[tokio::test]
async fn fenced_relay_leaves_the_cursor_and_waits_for_the_lease() {
    let fixture = RelayFixture::new(6, &[SinkAction::Hang; 3], &[]).await;
    let mut advanced = fixture.outbox.advanced.subscribe();
    let relay = fixture.relay();
    // Another relay acquires the lease while this one publishes.
    while fixture.stores.outbox().cursor("scripted").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let lease = fixture
        .stores
        .outbox()
        .acquire_lease("scripted")
        .await
        .unwrap()
        .expect("a lease of the checked outbox is not exclusive");
    advanced.wait_for(|(_, fenced)| *fenced >= 1).await.unwrap();
    assert_eq!(fixture.stores.outbox().cursor("scripted").await.unwrap(), Some(Position(0)));
    drop(lease);
    let end = fixture.end();
    advanced.wait_for(|(cursor, _)| *cursor == end).await.unwrap();
    fixture.stop.cancel();
    relay.await.unwrap();
    assert_eq!(fixture.first_written(), fixture.expected(&[]));
}

#[tokio::test]
async fn stopped_relay_publishes_the_remaining_events() {
    let fixture = RelayFixture::new(50, &[], &[]).await;
    fixture.stop.cancel();
    let relay = fixture.relay();
    relay.await.unwrap();
    assert_eq!(fixture.sink.written(), [], "a relay without a lease publishes nothing");
    let fixture = RelayFixture { stop: CancellationToken::new(), ..fixture };
    let relay = fixture.relay();
    while fixture.sink.written().is_empty() {
        tokio::task::yield_now().await;
    }
    fixture.stop.cancel();
    relay.await.unwrap();
    assert_eq!(fixture.first_written(), fixture.expected(&[]));
    assert_eq!(fixture.stores.outbox().cursor("scripted").await.unwrap(), Some(fixture.end()));
}

#[tokio::test]
async fn stopped_relay_does_not_wait_for_a_hanging_sink() {
    let fixture = RelayFixture::new(9, &[SinkAction::Hang], &[]).await;
    let compare = fixture.compare(fixture.stores.events.clone(), fixture.outbox.clone());
    let patient = RelayOptions { publish_timeout: Duration::from_hours(1), ..options() };
    let relay = fixture.relay_with(compare, patient);
    fixture.sink.begun.notified().await;
    fixture.stop.cancel();
    relay.await.unwrap();
    assert_eq!(fixture.first_written(), fixture.expected(&[]), "the second call publishes the events");
}
