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
use pvz::ports::{EventSink, LoggedEvent, Position, PublishedEvent, Receipt};

use super::fixtures::{accepted, event, handed_over, id, issued, returned};
use crate::kafka::topic;
use crate::relay::doubles::ScriptedSink;

/// Reads the order and the sequence of each event of a sink.
type Read = Box<dyn Fn() -> BoxFuture<'static, Vec<(OrderId, i64)>>>;

/// Test fixture: a sink, and a reader of its events.
struct SinkFixture {
    sink: Arc<dyn EventSink>,
    read: Read,
}

fn scripted() -> SinkFixture {
    let sink = Arc::new(ScriptedSink::default());
    SinkFixture { sink: sink.clone(), read: Box::new(move || ready(sink.written()).boxed()) }
}

fn journal() -> SinkFixture {
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
    SinkFixture { sink, read: Box::new(read) }
}

fn metered() -> SinkFixture {
    let SinkFixture { sink, read } = scripted();
    SinkFixture { sink: Arc::new(MeteredSink::new(sink)), read }
}

fn kafka() -> SinkFixture {
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
    SinkFixture { sink: Arc::new(KafkaSink::new(options)), read: Box::new(read) }
}

/// Runs each case on every adapter that does not discard events.
macro_rules! on_every_sink {
    ($($case:ident,)*) => {
        mod scripted {
            $(#[tokio::test]
            async fn $case() { super::$case(super::scripted()).await; })*
        }
        mod metered {
            $(#[tokio::test]
            async fn $case() { super::$case(super::metered()).await; })*
        }
        mod journal {
            $(#[tokio::test]
            async fn $case() { super::$case(super::journal()).await; })*
        }
        mod kafka {
            $(#[tokio::test]
            async fn $case() { super::$case(super::kafka()).await; })*
        }
    };
}

on_every_sink! {
    has_a_name_and_a_description,
    passes_the_check,
    accepts_an_empty_batch,
    keeps_the_events_of_an_order_in_sequence,
    accepts_an_event_again,
    continues_after_a_cancelled_call,
    has_the_last_event_of_each_partition_at_its_end,
}

/// Returns four events of each order, interleaved as in a log.
fn events(orders: usize) -> Vec<LoggedEvent> {
    let histories: Vec<_> = (0..orders)
        .map(|number| {
            let first = accepted(&format!("order-{number}"), 0);
            let second = issued(&first, 1);
            let third = returned(&second, 2);
            let fourth = handed_over(&third, 3);
            [first, second, third, fourth]
        })
        .collect();
    let events = (0..4).flat_map(|step| histories.iter().map(move |history| event(&history[step])));
    events.zip(1..).map(|(event, position)| LoggedEvent { position: Position(position), event }).collect()
}

async fn publish(fixture: &SinkFixture, events: &[LoggedEvent]) {
    let delivery = fixture.sink.publish(events).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    assert_eq!(delivery.receipts, vec![Receipt::Acknowledged; events.len()]);
}

/// Returns the sequences of each order without duplicates, in the order of their first appearance.
fn without_duplicates(read: Vec<(OrderId, i64)>) -> BTreeMap<OrderId, Vec<i64>> {
    let mut sequences: BTreeMap<OrderId, Vec<i64>> = BTreeMap::new();
    for (order_id, sequence) in read {
        let known = sequences.entry(order_id).or_default();
        if !known.contains(&sequence) {
            known.push(sequence);
        }
    }
    sequences
}

async fn has_a_name_and_a_description(fixture: SinkFixture) {
    assert!(!fixture.sink.discards());
    assert!(!fixture.sink.name().is_empty());
    assert!(!fixture.sink.describe().is_empty());
}

async fn passes_the_check(fixture: SinkFixture) {
    fixture.sink.ping().await.unwrap();
    publish(&fixture, &events(1)).await;
    fixture.sink.ping().await.unwrap();
}

async fn accepts_an_empty_batch(fixture: SinkFixture) {
    publish(&fixture, &[]).await;
    assert!((fixture.read)().await.is_empty());
}

async fn keeps_the_events_of_an_order_in_sequence(fixture: SinkFixture) {
    let events = events(25);
    for batch in events.chunks(7) {
        publish(&fixture, batch).await;
    }
    let read = (fixture.read)().await;
    assert_eq!(read.len(), events.len(), "each event once if no call failed");
    let orders = without_duplicates(read);
    assert_eq!(orders.len(), 25);
    assert!(orders.values().all(|sequences| *sequences == [1, 2, 3, 4]), "{orders:?}");
}

async fn accepts_an_event_again(fixture: SinkFixture) {
    let events = events(2);
    publish(&fixture, &events[..4]).await;
    publish(&fixture, &events[2..]).await;
    let orders = without_duplicates((fixture.read)().await);
    assert!(orders.values().all(|sequences| *sequences == [1, 2, 3, 4]), "{orders:?}");
}

async fn continues_after_a_cancelled_call(fixture: SinkFixture) {
    let events = events(10);
    for batch in events.chunks(10) {
        // Started and cancelled.
        let cancelled = fixture.sink.publish(batch).now_or_never();
        drop(cancelled);
        publish(&fixture, batch).await;
    }
    let orders = without_duplicates((fixture.read)().await);
    assert_eq!(orders.len(), 10);
    assert!(orders.values().all(|sequences| *sequences == [1, 2, 3, 4]), "{orders:?}");
}

async fn has_the_last_event_of_each_partition_at_its_end(fixture: SinkFixture) {
    let tail = fixture.sink.tail().await.unwrap();
    assert!(tail.partitions >= 1 && tail.events.is_empty(), "{tail:?}");
    let events = events(25);
    let mut published: Vec<PublishedEvent> = Vec::new();
    for batch in events.chunks(7) {
        publish(&fixture, batch).await;
        published.extend(batch.iter().map(|logged| PublishedEvent::from(&logged.event)));
        let tail = fixture.sink.tail().await.unwrap();
        assert!((1..=tail.partitions).contains(&tail.events.len()), "{tail:?}");
        assert_eq!(published.iter().filter(|event| tail.events.contains(event)).count(), tail.events.len());
        assert!(tail.events.contains(published.last().unwrap()), "{tail:?}");
        for last in &tail.events {
            let later =
                |event: &&PublishedEvent| event.order_id == last.order_id && event.sequence > last.sequence;
            assert_eq!(published.iter().find(later), None, "an order is in one partition");
        }
    }
}

#[tokio::test]
async fn null_sink_acknowledges_and_discards_every_event() {
    let metered = MeteredSink::new(Arc::new(NullSink));
    for sink in [&NullSink as &dyn EventSink, &metered] {
        assert!(sink.discards());
        assert_eq!(sink.name(), "none:");
        assert!(!sink.describe().is_empty());
        assert_eq!(sink.tail().await.unwrap().events, []);
        let events = events(2);
        let delivery = sink.publish(&events).await;
        assert!(delivery.failure.is_none());
        assert_eq!(delivery.receipts, vec![Receipt::Acknowledged; events.len()]);
    }
}
