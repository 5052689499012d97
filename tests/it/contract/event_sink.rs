//! The contract suite of `EventSink`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use pvz::adapters::journal::Journal;
use pvz::adapters::kafka::KafkaSink;
use pvz::adapters::metered::MeteredSink;
use pvz::adapters::null::NullSink;
use pvz::domain::OrderId;
use pvz::ports::{EventSink, LoggedEvent, Position, Receipt};

use super::given::{accepted, event, handed_over, id, issued, returned};
use crate::kafka::topic;
use crate::relay::doubles::ScriptedSink;

/// Reads order and sequence of each event of a sink.
type Read = Box<dyn Fn() -> BoxFuture<'static, Vec<(OrderId, i64)>>>;

/// A sink, and how to read what it was given: order and sequence of each event.
struct GivenSink {
    sink: Arc<dyn EventSink>,
    read: Read,
}

fn scripted() -> GivenSink {
    let sink = Arc::new(ScriptedSink::default());
    GivenSink { sink: sink.clone(), read: Box::new(move || ready(sink.written()).boxed()) }
}

fn journal() -> GivenSink {
    let folder = tempfile::tempdir().unwrap();
    let sink = Arc::new(Journal::open(folder.path(), 4_000).unwrap());
    let read = move || {
        let events = crate::journal::read(folder.path());
        let parts = |event: &serde_json::Value| {
            let order_id = event["order"]["orderId"].as_str().unwrap();
            (id(order_id), event["sequence"].as_str().unwrap().parse().unwrap())
        };
        ready(events.iter().map(parts).collect()).boxed()
    };
    GivenSink { sink, read: Box::new(read) }
}

fn metered() -> GivenSink {
    let GivenSink { sink, read } = scripted();
    GivenSink { sink: Arc::new(MeteredSink::new(sink)), read }
}

fn kafka() -> GivenSink {
    static TOPICS: AtomicUsize = AtomicUsize::new(0);
    let topic = format!("contract-{}", TOPICS.fetch_add(1, Ordering::Relaxed));
    let options = crate::kafka::options(&topic);
    let broker = options.connection.brokers[0].clone();
    let read = move || {
        let (broker, topic) = (broker.clone(), topic.clone());
        let read = async move {
            let ids = topic::ids(&topic::read(&broker, &topic).await);
            ids.into_iter().map(|(order_id, sequence)| (id(&order_id), sequence)).collect()
        };
        read.boxed()
    };
    GivenSink { sink: Arc::new(KafkaSink::new(options)), read: Box::new(read) }
}

/// Runs each case on every adapter that keeps events.
macro_rules! on_every_sink {
    ($($case:ident,)*) => {
        mod of_a_script {
            $(#[tokio::test]
            async fn $case() { super::$case(super::scripted()).await; })*
        }
        mod measured {
            $(#[tokio::test]
            async fn $case() { super::$case(super::metered()).await; })*
        }
        mod of_a_journal {
            $(#[tokio::test]
            async fn $case() { super::$case(super::journal()).await; })*
        }
        mod of_kafka {
            $(#[tokio::test]
            async fn $case() { super::$case(super::kafka()).await; })*
        }
    };
}

on_every_sink! {
    has_a_name_and_a_description,
    takes_nothing_as_well,
    keeps_the_events_of_an_order_in_sequence,
    takes_an_event_again,
    goes_on_when_a_call_was_dropped,
}

/// Four events of each of so many orders, interleaved as a log has them.
fn events(orders: usize) -> Vec<LoggedEvent> {
    let lives: Vec<_> = (0..orders)
        .map(|number| {
            let first = accepted(&format!("order-{number}"), 0);
            let second = issued(&first, 1);
            let third = returned(&second, 2);
            let fourth = handed_over(&third, 3);
            [first, second, third, fourth]
        })
        .collect();
    let events = (0..4).flat_map(|step| lives.iter().map(move |life| event(&life[step])));
    events.zip(1..).map(|(event, position)| LoggedEvent { position: Position(position), event }).collect()
}

async fn publish(given: &GivenSink, events: &[LoggedEvent]) {
    let delivery = given.sink.publish(events).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    assert_eq!(delivery.receipts, vec![Receipt::Acknowledged; events.len()]);
}

/// Of each order, what came first.
fn firsts(read: Vec<(OrderId, i64)>) -> BTreeMap<OrderId, Vec<i64>> {
    let mut firsts: BTreeMap<OrderId, Vec<i64>> = BTreeMap::new();
    for (order_id, sequence) in read {
        let known = firsts.entry(order_id).or_default();
        if !known.contains(&sequence) {
            known.push(sequence);
        }
    }
    firsts
}

async fn has_a_name_and_a_description(given: GivenSink) {
    assert!(!given.sink.discards());
    assert!(!given.sink.name().is_empty());
    assert!(!given.sink.describe().is_empty());
}

async fn takes_nothing_as_well(given: GivenSink) {
    publish(&given, &[]).await;
    assert!((given.read)().await.is_empty());
}

async fn keeps_the_events_of_an_order_in_sequence(given: GivenSink) {
    let events = events(25);
    for batch in events.chunks(7) {
        publish(&given, batch).await;
    }
    let read = (given.read)().await;
    assert_eq!(read.len(), events.len(), "each event once, if nothing failed");
    let firsts = firsts(read);
    assert_eq!(firsts.len(), 25);
    assert!(firsts.values().all(|sequences| *sequences == [1, 2, 3, 4]), "{firsts:?}");
}

async fn takes_an_event_again(given: GivenSink) {
    let events = events(2);
    publish(&given, &events[..4]).await;
    publish(&given, &events[2..]).await;
    let firsts = firsts((given.read)().await);
    assert!(firsts.values().all(|sequences| *sequences == [1, 2, 3, 4]), "{firsts:?}");
}

async fn goes_on_when_a_call_was_dropped(given: GivenSink) {
    let events = events(10);
    for batch in events.chunks(10) {
        // Begun, and given up.
        let begun = given.sink.publish(batch).now_or_never();
        drop(begun);
        publish(&given, batch).await;
    }
    let firsts = firsts((given.read)().await);
    assert_eq!(firsts.len(), 10);
    assert!(firsts.values().all(|sequences| *sequences == [1, 2, 3, 4]), "{firsts:?}");
}

#[tokio::test]
async fn the_null_sink_acknowledges_every_event_and_says_that_it_discards_them() {
    let measured = MeteredSink::new(Arc::new(NullSink));
    for sink in [&NullSink as &dyn EventSink, &measured] {
        assert!(sink.discards());
        assert_eq!(sink.name(), "none:");
        assert!(!sink.describe().is_empty());
        let events = events(2);
        let delivery = sink.publish(&events).await;
        assert!(delivery.failure.is_none());
        assert_eq!(delivery.receipts, vec![Receipt::Acknowledged; events.len()]);
    }
}
