//! What every source must do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use pvz::adapters::journal::{Journal, JournalSource};
use pvz::adapters::kafka::{KafkaSink, KafkaSource};
use pvz::adapters::metered::MeteredSource;
use pvz::adapters::system::SystemClock;
use pvz::domain::Event;
use pvz::ports::{
    EventSink, EventSource, Fetched, LoggedEvent, Offset, Position, RecordContent, SourceRecord, Start,
};

use super::fixtures::{accepted, at, event, issued, returned};
use crate::kafka::{self, topic};

/// Writes something that is no event.
type Spoil = Box<dyn Fn(&'static [u8]) -> BoxFuture<'static, ()>>;
/// Reads the values that were put aside.
type Aside = Box<dyn Fn() -> BoxFuture<'static, Vec<Vec<u8>>>>;

/// A source, and the sink that feeds it.
struct GivenSource {
    source: Arc<dyn EventSource>,
    sink: Arc<dyn EventSink>,
    spoil: Spoil,
    aside: Aside,
    _place: Option<tempfile::TempDir>,
}

fn journal() -> GivenSource {
    let folder = tempfile::tempdir().unwrap();
    // Small files, so that reading goes from one to the next.
    let sink = Arc::new(Journal::open(folder.path(), 3_000).unwrap());
    let source = Arc::new(MeteredSource::new(Arc::new(JournalSource::new(folder.path()))));
    let path = folder.path().to_owned();
    let spoil = move |bytes: &'static [u8]| {
        let last = crate::journal::files(&path).pop().unwrap();
        async move {
            use std::io::Write as _;
            let mut file = std::fs::File::options().append(true).open(last).unwrap();
            file.write_all(bytes).unwrap();
            file.write_all(b"\n").unwrap();
        }
        .boxed()
    };
    let aside = folder.path().join("dead-letters.jsonl");
    let aside = move || ready(values(&aside)).boxed();
    GivenSource { source, sink, spoil: Box::new(spoil), aside: Box::new(aside), _place: Some(folder) }
}

fn values(path: &Path) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(!line["cause"].as_str().unwrap().is_empty());
        base64::engine::general_purpose::STANDARD.decode(line["value"].as_str().unwrap()).unwrap()
    };
    text.lines().map(value).collect()
}

fn kafka() -> GivenSource {
    static TOPICS: AtomicUsize = AtomicUsize::new(0);
    let topic = format!("source-{}", TOPICS.fetch_add(1, Ordering::Relaxed));
    let options = kafka::options(&topic);
    let broker = options.connection.brokers[0].clone();
    let (to, name) = (broker.clone(), topic.clone());
    let spoil = move |bytes: &'static [u8]| topic::write(to.clone(), name.clone(), bytes.to_vec()).boxed();
    let aside = move || {
        let (broker, topic) = (broker.clone(), format!("{topic}.dlq"));
        async move {
            let records = topic::read(&broker, &topic).await;
            let value = |record: rskafka::record::Record| {
                assert!(!topic::header(&record, "pvz_cause").is_empty());
                record.value.unwrap()
            };
            records.into_iter().flatten().map(value).collect()
        }
        .boxed()
    };
    GivenSource {
        source: Arc::new(KafkaSource::new(options.clone(), Arc::new(SystemClock))),
        sink: Arc::new(KafkaSink::new(options)),
        spoil: Box::new(spoil),
        aside: Box::new(aside),
        _place: None,
    }
}

/// Runs each case on every adapter.
macro_rules! on_every_source {
    ($($case:ident,)*) => {
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

on_every_source! {
    reads_back_what_was_written,
    goes_on_where_it_was,
    begins_where_it_is_told,
    puts_aside_what_is_no_event,
}

/// Events of some orders, interleaved, in sequence.
fn events(orders: usize) -> Vec<Event> {
    let first: Vec<_> = (0..orders).map(|order| accepted(&format!("order-{order}"), 0)).collect();
    let second: Vec<_> = first.iter().map(|order| issued(order, 1_000_000)).collect();
    let third: Vec<_> = second.iter().map(|order| returned(order, 2_000_000)).collect();
    let events = first.iter().chain(&second).chain(&third).map(event);
    // A trace is not part of the contract's message, so a journal has none.
    events.map(|event| Event { traceparent: None, ..event }).collect()
}

async fn publish(given: &GivenSource, events: &[Event]) {
    let logged: Vec<LoggedEvent> = (1..)
        .zip(events)
        .map(|(at, event)| LoggedEvent { position: Position(at), event: event.clone() })
        .collect();
    // In small batches, as a relay does that is quick.
    for batch in logged.chunks(7) {
        let delivery = given.sink.publish(batch).await;
        assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    }
}

/// Everything from an offset of a partition on, in fetches of that many.
async fn read(source: &dyn EventSource, partition: u32, from: Offset, limit: usize) -> Vec<SourceRecord> {
    let mut next = from;
    let mut records: Vec<SourceRecord> = Vec::new();
    loop {
        let Fetched { first, records: found, next: then, end } =
            source.fetch(partition, next, limit).await.unwrap();
        assert_eq!(first, next, "nothing is gone");
        assert!(found.len() <= limit && then >= next && end >= then, "{next:?} {then:?} {end:?}");
        let ascending = records.iter().chain(&found).map(|record| record.offset);
        assert!(ascending.is_sorted(), "offsets ascend");
        records.extend(found);
        next = then;
        if next >= end {
            return records;
        }
    }
}

fn event_of(record: &SourceRecord) -> Event {
    match &record.content {
        RecordContent::Event(event) => Event::clone(event),
        other => panic!("no event: {other:?}"),
    }
}

/// Every event of every partition.
async fn all(source: &dyn EventSource, limit: usize) -> Vec<Event> {
    let mut found = Vec::new();
    for partition in source.partitions().await.unwrap() {
        let begin = source.begin(partition, Start::Earliest).await.unwrap();
        found.extend(read(source, partition, begin, limit).await.iter().map(event_of));
    }
    found
}

fn by_order(events: &[Event]) -> BTreeMap<String, Vec<Event>> {
    let mut orders: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        orders.entry(event.order.order_id.to_string()).or_default().push(event.clone());
    }
    orders
}

async fn reads_back_what_was_written(given: GivenSource) {
    let events = events(20);
    publish(&given, &events).await;
    for limit in [3, 1_000] {
        let found = all(&*given.source, limit).await;
        assert_eq!(by_order(&found), by_order(&events), "of each order, in sequence");
    }
    assert!(!given.source.name().is_empty() && !given.source.describe().is_empty());
}

async fn goes_on_where_it_was(given: GivenSource) {
    let events = events(10);
    publish(&given, &events[..15]).await;
    let mut places = BTreeMap::new();
    for partition in given.source.partitions().await.unwrap() {
        let begin = given.source.begin(partition, Start::Earliest).await.unwrap();
        let mut next = begin;
        loop {
            let fetched = given.source.fetch(partition, next, 4).await.unwrap();
            next = fetched.next;
            if next >= fetched.end {
                break;
            }
        }
        places.insert(partition, next);
    }
    publish(&given, &events[15..]).await;
    let mut later = Vec::new();
    for (partition, place) in places {
        later.extend(read(&*given.source, partition, place, 100).await.iter().map(event_of));
    }
    assert_eq!(by_order(&later), by_order(&events[15..]));
}

async fn begins_where_it_is_told(given: GivenSource) {
    let events = events(5);
    publish(&given, &events).await;
    let (mut since, mut latest) = (Vec::new(), 0);
    for partition in given.source.partitions().await.unwrap() {
        let begin = given.source.begin(partition, Start::At(at(2_000_000))).await.unwrap();
        since.extend(read(&*given.source, partition, begin, 100).await.iter().map(event_of));
        let end = given.source.begin(partition, Start::Latest).await.unwrap();
        latest += read(&*given.source, partition, end, 100).await.len();
        let never = given.source.begin(partition, Start::At(at(9_000_000_000))).await.unwrap();
        assert_eq!(never, end, "nothing happened so late");
    }
    assert_eq!(by_order(&since), by_order(&events[10..]));
    assert_eq!(latest, 0);
}

/// An event as another program may write it, without anything around it.
const GOOD: &[u8] = br#"{"eventId":"0193a5b0-7c1e-7000-8000-000000000001","type":"EVENT_TYPE_ORDER_ACCEPTED","sequence":"1","occurredAt":"2026-12-01T09:15:00Z","actor":{"kind":"system","id":"a"},"order":{"orderId":"late","customerId":"2","pickupPointId":"main","state":"ORDER_STATE_STORED","expired":false,"storageUntil":"2026-12-31T10:00:00Z","acceptedAt":"2026-12-01T09:15:00Z","priceMinor":"0","surchargeMinor":"0","totalPriceMinor":"0","currency":"RUB","packaging":[],"version":"1"}}"#;

async fn puts_aside_what_is_no_event(given: GivenSource) {
    let events = events(2);
    publish(&given, &events).await;
    let poison: [&[u8]; 3] = [b"{\"eventId\":", b"[1]", b"\xff\xfe\0"];
    for bytes in poison {
        (given.spoil)(bytes).await;
    }
    let future = b"{\"eventId\":\"x\",\"type\":\"EVENT_TYPE_ORDER_MOVED\"}";
    (given.spoil)(future).await;
    (given.spoil)(GOOD).await;
    let (mut good, mut bad, mut unknown) = (0, Vec::new(), Vec::new());
    for partition in given.source.partitions().await.unwrap() {
        let begin = given.source.begin(partition, Start::Earliest).await.unwrap();
        for record in read(&*given.source, partition, begin, 100).await {
            match record.content {
                RecordContent::Event(_) => good += 1,
                RecordContent::Unknown(record) => unknown.push(record.value.unwrap()),
                RecordContent::Unreadable(cause) => panic!("{cause}"),
                RecordContent::Undecodable(record) => {
                    assert!(!record.cause.is_empty());
                    given.source.write_dead_letters(partition, std::slice::from_ref(&record)).await.unwrap();
                    bad.push(record.value.unwrap());
                }
            }
        }
    }
    assert_eq!((good, unknown), (7, vec![future.to_vec()]), "nothing blocks the others");
    assert_eq!(bad, poison);
    assert_eq!((given.aside)().await, poison);
}
