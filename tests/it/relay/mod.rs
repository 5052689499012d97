//! The relay against a sink that fails in every way there is: nothing is
//! skipped, nothing is reordered within an order, and the cursor is never ahead
//! of an acknowledgement.

mod archived;
mod canaries;
mod dead_letters;
pub mod script;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use pvz::app::{RelayEvents, RelayOptions};
use pvz::domain::OrderId;
use pvz::ports::{EventLog, Outbox, Position};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::script::{CheckedOutbox, ScriptedSink, Step};
use crate::contract::given::{self, Given, accepted, accepting, id, issued, moving, returned, write};
use crate::support::property;
use crate::support::runtime::block_on;
use crate::support::time::TestClock;

/// Quick, because here everything fails all the time.
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
    }
}

/// A store with events, a sink, and relays between them.
struct Scene {
    given: Given,
    sink: Arc<ScriptedSink>,
    outbox: Arc<CheckedOutbox>,
    wake: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Scene {
    /// Events of `orders` orders, up to three each, interleaved.
    async fn new(orders: usize, script: &[Step], poison: &[(OrderId, i64)]) -> Self {
        let given = given::memory();
        let first: Vec<_> = (0..orders).map(|order| accepted(&format!("order-{order}"), 0)).collect();
        write(&*given.orders, accepting(&first)).await.unwrap();
        for (index, order) in first.iter().enumerate().filter(|(index, _)| index % 3 > 0) {
            let second = issued(order, 1);
            let through =
                if index % 3 == 1 { vec![second] } else { vec![second.clone(), returned(&second, 2)] };
            write(&*given.orders, moving(order, &through)).await.unwrap();
        }
        let sink = Arc::new(ScriptedSink::new(script, poison));
        let outbox = Arc::new(CheckedOutbox {
            inner: given.outbox(),
            sink: sink.clone(),
            log: given.events.feed(Position(0), 10_000).await.unwrap(),
            dropped: Mutex::default(),
            advanced: watch::Sender::default(),
        });
        Self { given, sink, outbox, wake: watch::Sender::new(0), stop: CancellationToken::new() }
    }

    fn relay(&self) -> JoinHandle<()> {
        self.relay_of(self.given.events.clone(), self.outbox.clone())
    }

    /// A relay of that log, with its cursor there.
    fn relay_of(&self, log: Arc<dyn EventLog>, outbox: Arc<dyn Outbox>) -> JoinHandle<()> {
        let relay = RelayEvents::new(
            log,
            outbox,
            self.sink.clone(),
            Arc::new(TestClock::default()),
            self.wake.subscribe(),
            "test".to_owned(),
            options(),
        );
        tokio::spawn(relay.run(self.stop.clone()))
    }

    fn end(&self) -> Position {
        self.outbox.log.last().map_or(Position(0), |last| last.position)
    }

    /// Runs relays, one after another, until the cursor is at the end of the
    /// log; the last one ends cleanly.
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
                ended = &mut relay => panic!("the relay ended by itself: {ended:?}"),
            }
        }
        self.stop.cancel();
        relay.await.unwrap();
    }

    /// What of each order was written first, in the order of writing.
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

    /// What should be: every event in sequence, up to what is poison.
    fn expected(&self, poison: &[(OrderId, i64)]) -> BTreeMap<OrderId, Vec<i64>> {
        let mut expected: BTreeMap<OrderId, Vec<i64>> = BTreeMap::new();
        for logged in &self.outbox.log {
            let (order_id, sequence) = (&logged.event.order.order_id, logged.event.sequence);
            if !poison.iter().any(|(sick, first)| sick == order_id && *first <= sequence) {
                expected.entry(order_id.clone()).or_default().push(sequence);
            }
        }
        expected
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Write),
        Just(Step::FailBeforeWriting),
        Just(Step::FailAfterWriting),
        (0_usize..8).prop_map(Step::WriteSome),
        Just(Step::Hang),
        Just(Step::WriteThenHang),
        Just(Step::Crash),
        Just(Step::WriteThenCrash),
    ];
    prop::collection::vec(step, 0..14)
}

#[test]
fn nothing_is_skipped_or_reordered_whatever_the_sink_does() {
    let poison = prop::collection::vec((0_usize..20, 1_i64..4), 0..3);
    let test = "relay::nothing_is_skipped_or_reordered_whatever_the_sink_does";
    property::check(test, 300, &(1_usize..20, steps(), poison), |(orders, script, poison)| {
        let poison: Vec<_> =
            poison.into_iter().map(|(order, sequence)| (id(&format!("order-{order}")), sequence)).collect();
        block_on(async {
            let scene = Scene::new(orders, &script, &poison).await;
            scene.run_to_the_end().await;
            assert_eq!(scene.first_written(), scene.expected(&poison));
            let buried = scene.given.outbox().dead_letters("scripted", None, 100).await.unwrap();
            let first_sick = |order_id: &OrderId| {
                let sick = poison.iter().filter(|(sick, _)| sick == order_id).map(|(_, sequence)| *sequence);
                sick.filter(|sick| {
                    scene.outbox.log.iter().any(|logged| {
                        logged.event.order.order_id == *order_id && logged.event.sequence == *sick
                    })
                })
                .min()
            };
            for letter in &buried {
                assert_eq!(
                    Some(letter.sequence),
                    first_sick(&letter.order_id),
                    "the first one is the letter"
                );
            }
            let sick = (0..orders).filter(|order| first_sick(&id(&format!("order-{order}"))).is_some());
            assert_eq!(buried.len(), sick.count(), "every order with poison has its letter");
        });
    });
}

#[tokio::test]
async fn a_commit_wakes_it() {
    let scene = Scene::new(1, &[], &[]).await;
    let relay = RelayEvents::new(
        scene.given.events.clone(),
        scene.given.outbox(),
        scene.sink.clone(),
        Arc::new(TestClock::default()),
        scene.wake.subscribe(),
        // Nothing but a commit can be why.
        "test".to_owned(),
        RelayOptions { poll: Duration::from_hours(1), ..options() },
    );
    let relay = tokio::spawn(relay.run(scene.stop.clone()));
    for number in 0..20 {
        write(&*scene.given.orders, accepting(&[accepted(&format!("later-{number}"), 0)])).await.unwrap();
        scene.wake.send_modify(|batches| *batches += 1);
        while !scene.sink.written().contains(&(id(&format!("later-{number}")), 1)) {
            tokio::task::yield_now().await;
        }
    }
    scene.stop.cancel();
    relay.await.unwrap();
    assert_eq!(scene.given.outbox().cursor("scripted").await.unwrap(), Some(Position(21)));
}

#[tokio::test]
async fn one_that_was_fenced_moves_no_cursor_and_stands_by() {
    let scene = Scene::new(6, &[Step::Hang; 3], &[]).await;
    let mut advanced = scene.outbox.advanced.subscribe();
    let relay = scene.relay();
    // Somebody else takes the lead while the relay publishes.
    while scene.given.outbox().cursor("scripted").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let lease =
        scene.given.outbox().acquire_lease("scripted").await.unwrap().expect("its lease keeps nobody away");
    advanced.wait_for(|(_, fenced)| *fenced >= 1).await.unwrap();
    assert_eq!(scene.given.outbox().cursor("scripted").await.unwrap(), Some(Position(0)));
    drop(lease);
    let end = scene.end();
    advanced.wait_for(|(cursor, _)| *cursor == end).await.unwrap();
    scene.stop.cancel();
    relay.await.unwrap();
    assert_eq!(scene.first_written(), scene.expected(&[]));
}

#[tokio::test]
async fn asked_to_stop_it_publishes_what_is_there() {
    let scene = Scene::new(50, &[], &[]).await;
    scene.stop.cancel();
    let relay = scene.relay();
    relay.await.unwrap();
    assert_eq!(scene.sink.written(), [], "who never led publishes nothing");
    let scene = Scene { stop: CancellationToken::new(), ..scene };
    let relay = scene.relay();
    while scene.sink.written().is_empty() {
        tokio::task::yield_now().await;
    }
    scene.stop.cancel();
    relay.await.unwrap();
    assert_eq!(scene.first_written(), scene.expected(&[]));
    assert_eq!(scene.given.outbox().cursor("scripted").await.unwrap(), Some(scene.end()));
}

#[tokio::test]
async fn asked_to_stop_it_waits_for_no_answer() {
    let scene = Scene::new(9, &[Step::Hang], &[]).await;
    let relay = RelayEvents::new(
        scene.given.events.clone(),
        scene.outbox.clone(),
        scene.sink.clone(),
        Arc::new(TestClock::default()),
        scene.wake.subscribe(),
        "test".to_owned(),
        RelayOptions { publish_timeout: Duration::from_hours(1), ..options() },
    );
    let relay = tokio::spawn(relay.run(scene.stop.clone()));
    scene.sink.begun.notified().await;
    scene.stop.cancel();
    relay.await.unwrap();
    assert_eq!(scene.first_written(), scene.expected(&[]), "the sink took them when it was asked again");
}
