//! The contract of [`EventSource`].

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
    UndecodedRecord,
};

use super::fixtures::{accepted, at, event, issued, returned};
use crate::kafka::{self, topic};

/// Appends raw bytes as a record.
type WriteRaw = Box<dyn Fn(&'static [u8]) -> BoxFuture<'static, ()>>;
/// Reads the values of the dead letters.
type ReadDeadLetters = Box<dyn Fn() -> BoxFuture<'static, Vec<Vec<u8>>>>;

/// A source under test, and the sink that writes to it.
struct SourceFixture {
    source: Arc<dyn EventSource>,
    sink: Arc<dyn EventSink>,
    write_raw: WriteRaw,
    dead_letters: ReadDeadLetters,
    _folder: Option<tempfile::TempDir>,
}

fn journal() -> SourceFixture {
    let folder = tempfile::tempdir().unwrap();
    // Files are small, so that reads cross from one to the next.
    let sink = Arc::new(Journal::open(folder.path(), 3_000).unwrap());
    let source = Arc::new(MeteredSource::new(Arc::new(JournalSource::new(folder.path()))));
    let path = folder.path().to_owned();
    let write_raw = move |bytes: &'static [u8]| {
        let last = crate::journal::files(&path).pop().unwrap();
        async move {
            use std::io::Write as _;
            let mut file = std::fs::File::options().append(true).open(last).unwrap();
            file.write_all(bytes).unwrap();
            file.write_all(b"\n").unwrap();
        }
        .boxed()
    };
    let path = folder.path().join("dead-letters.jsonl");
    let dead_letters = move || ready(values(&path)).boxed();
    SourceFixture {
        source,
        sink,
        write_raw: Box::new(write_raw),
        dead_letters: Box::new(dead_letters),
        _folder: Some(folder),
    }
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

fn kafka() -> SourceFixture {
    static TOPICS: AtomicUsize = AtomicUsize::new(0);
    let topic = format!("source-{}", TOPICS.fetch_add(1, Ordering::Relaxed));
    let options = kafka::options(&topic);
    let broker = options.connection.brokers[0].clone();
    let (to, name) = (broker.clone(), topic.clone());
    let write_raw =
        move |bytes: &'static [u8]| topic::write(to.clone(), name.clone(), bytes.to_vec()).boxed();
    let dead_letters = move || {
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
    SourceFixture {
        source: Arc::new(KafkaSource::new(options.clone(), Arc::new(SystemClock))),
        sink: Arc::new(KafkaSink::new(options)),
        write_raw: Box::new(write_raw),
        dead_letters: Box::new(dead_letters),
        _folder: None,
    }
}

/// Runs each case on every adapter.
macro_rules! on_every_source {
    ($($case:ident,)*) => {
        mod on_journal {
            $(#[tokio::test]
            async fn $case() { super::$case(super::journal()).await; })*
        }
        mod on_kafka {
            $(#[tokio::test]
            async fn $case() { super::$case(super::kafka()).await; })*
        }
    };
}

on_every_source! {
    published_events_are_read_back,
    reading_continues_at_the_next_offset,
    start_position_is_resolved_to_an_offset,
    undecodable_records_become_dead_letters_and_do_not_block,
    kept_record_is_decoded_again,
}

/// Returns the events of some orders, interleaved.
fn events(orders: usize) -> Vec<Event> {
    let first: Vec<_> = (0..orders).map(|order| accepted(&format!("order-{order}"), 0)).collect();
    let second: Vec<_> = first.iter().map(|order| issued(order, 1_000_000)).collect();
    let third: Vec<_> = second.iter().map(|order| returned(order, 2_000_000)).collect();
    let events = first.iter().chain(&second).chain(&third).map(event);
    // The message of the contract has no traceparent, so a journal has none.
    events.map(|event| Event { traceparent: None, ..event }).collect()
}

async fn publish(fixture: &SourceFixture, events: &[Event]) {
    let logged: Vec<LoggedEvent> = (1..)
        .zip(events)
        .map(|(at, event)| LoggedEvent { position: Position(at), event: event.clone() })
        .collect();
    // In small batches, as a relay does under low load.
    for batch in logged.chunks(7) {
        let delivery = fixture.sink.publish(batch).await;
        assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    }
}

/// Reads all records of a partition from an offset on, in fetches of `limit`.
async fn read(source: &dyn EventSource, partition: u32, from: Offset, limit: usize) -> Vec<SourceRecord> {
    let mut next = from;
    let mut records: Vec<SourceRecord> = Vec::new();
    loop {
        let Fetched { first, records: found, next: then, end } =
            source.fetch(partition, next, limit).await.unwrap();
        assert_eq!(first, next, "every offset is retained");
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
        other => panic!("not an event: {other:?}"),
    }
}

/// Reads every event of every partition.
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

async fn published_events_are_read_back(fixture: SourceFixture) {
    let events = events(20);
    publish(&fixture, &events).await;
    for limit in [3, 1_000] {
        let found = all(&*fixture.source, limit).await;
        assert_eq!(by_order(&found), by_order(&events), "the events of each order are in sequence");
    }
    assert!(!fixture.source.name().is_empty() && !fixture.source.describe().is_empty());
}

async fn reading_continues_at_the_next_offset(fixture: SourceFixture) {
    let events = events(10);
    publish(&fixture, &events[..15]).await;
    let mut offsets = BTreeMap::new();
    for partition in fixture.source.partitions().await.unwrap() {
        let begin = fixture.source.begin(partition, Start::Earliest).await.unwrap();
        let mut next = begin;
        loop {
            let fetched = fixture.source.fetch(partition, next, 4).await.unwrap();
            next = fetched.next;
            if next >= fetched.end {
                break;
            }
        }
        offsets.insert(partition, next);
    }
    publish(&fixture, &events[15..]).await;
    let mut later = Vec::new();
    for (partition, next) in offsets {
        later.extend(read(&*fixture.source, partition, next, 100).await.iter().map(event_of));
    }
    assert_eq!(by_order(&later), by_order(&events[15..]));
}

async fn start_position_is_resolved_to_an_offset(fixture: SourceFixture) {
    let events = events(5);
    publish(&fixture, &events).await;
    let (mut since, mut latest) = (Vec::new(), 0);
    for partition in fixture.source.partitions().await.unwrap() {
        let begin = fixture.source.begin(partition, Start::At(at(2_000_000))).await.unwrap();
        since.extend(read(&*fixture.source, partition, begin, 100).await.iter().map(event_of));
        let end = fixture.source.begin(partition, Start::Latest).await.unwrap();
        latest += read(&*fixture.source, partition, end, 100).await.len();
        let never = fixture.source.begin(partition, Start::At(at(9_000_000_000))).await.unwrap();
        assert_eq!(never, end, "no event is this late");
    }
    assert_eq!(by_order(&since), by_order(&events[10..]));
    assert_eq!(latest, 0);
}

/// An event of a type that only a later release knows.
const LATER_EVENT: &[u8] = b"{\"eventId\":\"x\",\"type\":\"EVENT_TYPE_ORDER_MOVED\"}";

/// An event as another program may write it, without key and headers.
const BARE_EVENT: &[u8] = br#"{"eventId":"0193a5b0-7c1e-7000-8000-000000000001","type":"EVENT_TYPE_ORDER_ACCEPTED","sequence":"1","occurredAt":"2026-12-01T09:15:00Z","actor":{"kind":"system","id":"a"},"order":{"orderId":"late","customerId":"2","pickupPointId":"main","state":"ORDER_STATE_STORED","expired":false,"storageUntil":"2026-12-31T10:00:00Z","acceptedAt":"2026-12-01T09:15:00Z","priceMinor":"0","surchargeMinor":"0","totalPriceMinor":"0","currency":"RUB","packaging":[],"version":"1"}}"#;

async fn undecodable_records_become_dead_letters_and_do_not_block(fixture: SourceFixture) {
    let events = events(2);
    publish(&fixture, &events).await;
    let poison: [&[u8]; 3] = [b"{\"eventId\":", b"[1]", b"\xff\xfe\0"];
    for bytes in poison {
        (fixture.write_raw)(bytes).await;
    }
    (fixture.write_raw)(LATER_EVENT).await;
    (fixture.write_raw)(BARE_EVENT).await;
    let (mut decoded, mut undecodable, mut unknown) = (0, Vec::new(), Vec::new());
    for partition in fixture.source.partitions().await.unwrap() {
        let begin = fixture.source.begin(partition, Start::Earliest).await.unwrap();
        for record in read(&*fixture.source, partition, begin, 100).await {
            match record.content {
                RecordContent::Event(_) => decoded += 1,
                RecordContent::Unknown(record) => unknown.push(record.value.unwrap()),
                RecordContent::Unreadable(cause) => panic!("{cause}"),
                RecordContent::Undecodable(record) => {
                    assert!(!record.cause.is_empty());
                    fixture
                        .source
                        .write_dead_letters(partition, std::slice::from_ref(&record))
                        .await
                        .unwrap();
                    undecodable.push(record.value.unwrap());
                }
            }
        }
    }
    assert_eq!((decoded, unknown), (7, vec![LATER_EVENT.to_vec()]));
    assert_eq!(undecodable, poison);
    assert_eq!((fixture.dead_letters)().await, poison);
}

async fn kept_record_is_decoded_again(fixture: SourceFixture) {
    publish(&fixture, &events(1)).await;
    (fixture.write_raw)(LATER_EVENT).await;
    let mut kept = Vec::new();
    for partition in fixture.source.partitions().await.unwrap() {
        let begin = fixture.source.begin(partition, Start::Earliest).await.unwrap();
        for record in read(&*fixture.source, partition, begin, 100).await {
            if let RecordContent::Unknown(record) = record.content {
                kept.push(record);
            }
        }
    }
    let [kept] = kept.try_into().unwrap();
    assert_eq!(fixture.source.decode(kept.clone()), RecordContent::Unknown(kept.clone()));
    // As if this release were one that knows the event.
    let readable = UndecodedRecord { value: Some(BARE_EVENT.to_vec()), ..kept.clone() };
    let RecordContent::Event(event) = fixture.source.decode(readable) else { panic!("not an event") };
    assert_eq!(event.order.order_id.as_str(), "late");
    let broken = UndecodedRecord { value: Some(b"[1]".to_vec()), ..kept.clone() };
    let RecordContent::Undecodable(broken) = fixture.source.decode(broken) else { panic!("decodable") };
    assert_eq!((broken.offset, broken.value.as_deref()), (kept.offset, Some(&b"[1]"[..])));
    assert!(!broken.cause.is_empty() && broken.cause != kept.cause);
}
