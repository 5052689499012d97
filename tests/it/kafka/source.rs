//! The Kafka source: events, foreign records, offsets and broker outages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::kafka::{Encoding, KafkaConnection, KafkaOptions, KafkaSink, KafkaSource};
use pvz::domain::{Event, Order};
use pvz::ports::{
    EventSink as _, EventSource, Fetched, LoggedEvent, Offset, RecordContent, Start, UndecodedRecord,
};
use rskafka::chrono::DateTime;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;
use serde_json::json;

use super::broker::Broker;
use super::{connection, logged, options, topic};
use crate::contract::fixtures::{accepted, event, handed_over, issued, returned};
use crate::support::time::TestClock;

fn source(options: KafkaOptions) -> KafkaSource {
    KafkaSource::new(options, Arc::new(TestClock::default()))
}

/// A whole life of an order.
fn life(order_id: &str) -> Vec<Order> {
    let accepted = accepted(order_id, 0);
    let issued = issued(&accepted, 1);
    let returned = returned(&issued, 2);
    let handed_over = handed_over(&returned, 3);
    vec![accepted, issued, returned, handed_over]
}

fn lives(orders: usize) -> Vec<LoggedEvent> {
    let orders = (0..orders).flat_map(|number| life(&format!("order-{number}")));
    (1..).zip(orders).map(|(position, order)| logged(&order, position)).collect()
}

async fn publish(options: &KafkaOptions, events: &[LoggedEvent]) {
    let delivery = KafkaSink::new(options.clone()).publish(events).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
}

/// Returns a client that writes raw records.
async fn raw_client(topic: &str) -> PartitionClient {
    let client = ClientBuilder::new(vec![Broker::shared().address()]).build().await.unwrap();
    client.partition_client(topic, 0, UnknownTopicHandling::Retry).await.unwrap()
}

/// Reads a partition to its end, in fetches of `limit`.
async fn drain(source: &dyn EventSource, partition: u32, limit: usize) -> Vec<RecordContent> {
    let mut next = source.begin(partition, Start::Earliest).await.unwrap();
    let mut contents = Vec::new();
    loop {
        let Fetched { first, records, next: after, end } =
            source.fetch(partition, next, limit).await.unwrap();
        assert!(first == next && records.len() <= limit && after <= end, "{first:?} {after:?} {end:?}");
        for record in records {
            assert_eq!(record.offset, next, "offsets are consecutive");
            next = Offset(record.offset.0 + 1);
            contents.push(record.content);
        }
        assert_eq!(after, next);
        if next == end {
            return contents;
        }
    }
}

fn events(contents: Vec<RecordContent>) -> Vec<Event> {
    let event = |content| match content {
        RecordContent::Event(event) => *event,
        other => panic!("{other:?}"),
    };
    contents.into_iter().map(event).collect()
}

#[tokio::test]
async fn published_events_are_read_back() {
    for (topic, encoding) in [("source-json", Encoding::Json), ("source-protobuf", Encoding::Protobuf)] {
        let options = KafkaOptions { encoding, ..options(topic) };
        let written = lives(300);
        publish(&options, &written).await;
        let source = source(options);
        assert_eq!(source.partitions().await.unwrap(), [0, 1, 2, 3]);
        let mut read = BTreeMap::new();
        for partition in 0..4 {
            let mut last = BTreeMap::new();
            for event in events(drain(&source, partition, 17).await) {
                let key = event.order.order_id.clone();
                let sequence = last.entry(key.clone()).or_insert(0);
                assert_eq!(event.sequence, *sequence + 1, "{key}");
                *sequence += 1;
                assert!(read.insert((key, event.sequence), event).is_none());
            }
        }
        let written = written.into_iter().map(|logged| logged.event);
        let written: BTreeMap<_, _> =
            written.map(|event| ((event.order.order_id.clone(), event.sequence), event)).collect();
        assert!(read == written, "{} of {} read", read.len(), written.len());
    }
}

#[tokio::test]
async fn records_are_classified_and_dead_letters_are_complete() {
    let options = KafkaOptions { partitions: 1, ..options("source-poison") };
    let good = logged(&accepted("good", 0), 1);
    publish(&options, std::slice::from_ref(&good)).await;
    let [written] =
        topic::read(&Broker::shared().address(), "source-poison").await[0].clone().try_into().unwrap();
    let value = written.value.clone().unwrap();
    let with_header = |name: &str, header: &[u8]| {
        let mut record = written.clone();
        record.headers.insert(name.to_owned(), header.to_vec());
        record
    };
    let with_value = |value: Option<Vec<u8>>| Record { value, ..written.clone() };
    let mut newer: serde_json::Value = serde_json::from_slice(&value).unwrap();
    newer["channel"] = json!({"of": ["a", "newer", "release"]});
    let mut lost: serde_json::Value = serde_json::from_slice(&value).unwrap();
    lost["type"] = json!("EVENT_TYPE_ORDER_LOST");
    let bare_lost =
        Record { headers: BTreeMap::new(), ..with_value(Some(serde_json::to_vec(&lost).unwrap())) };
    let bare = Record { headers: BTreeMap::new(), ..written.clone() };
    let poison = [
        (with_value(Some(b"\xff\x00 no JSON".to_vec())), "undecodable: it is not an event in JSON"),
        (with_value(Some(value[..value.len() / 2].to_vec())), "undecodable: it is not an event in JSON"),
        (with_value(None), "undecodable: it has no value"),
        (with_value(Some(Vec::new())), "undecodable: it is not an event in JSON"),
        (with_header("content-type", b"text/plain"), "undecodable: its content-type"),
        (with_header("content-type", b"application/protobuf"), "undecodable: it is not a Protobuf message"),
        (with_header("ce_type", b"\xff"), "undecodable: its header ce_type is not UTF-8"),
        (with_header("ce_type", b"pvz.order.issued.v1"), "undecodable: its ce_type is"),
        (Record { key: Some(b"other".to_vec()), ..written.clone() }, "undecodable: its key is not"),
        (with_header("ce_type", b"pvz.order.accepted.v2"), "unknown: its ce_type \"pvz.order.accepted.v2\""),
        (with_header("ce_type", b"pvz.order.lost.v1"), "unknown: its ce_type \"pvz.order.lost.v1\""),
        (with_header("ce_specversion", b"2.0"), "unknown: its CloudEvents version"),
        (bare_lost, "unknown: its type, order state or actor kind is not known"),
        (with_value(Some(serde_json::to_vec(&newer).unwrap())), "event"),
        (with_header("content-type", b"Application/JSON; charset=utf-8"), "event"),
        (bare, "bare event"),
    ];
    let records: Vec<Record> = poison.iter().map(|(record, _)| record.clone()).collect();
    raw_client("source-poison").await.produce(records, Compression::NoCompression).await.unwrap();

    let source = source(options);
    let contents = drain(&source, 0, 100).await;
    assert_eq!(contents.len(), poison.len() + 1);
    let mut undecoded: Vec<UndecodedRecord> = Vec::new();
    for (offset, (content, (record, expected))) in (1..).zip(contents[1..].iter().zip(&poison)) {
        let (kind, found) = match content {
            RecordContent::Event(event) => {
                let expected_event = match *expected {
                    "bare event" => Event { traceparent: None, ..good.event.clone() },
                    _ => good.event.clone(),
                };
                assert_eq!(**event, expected_event, "{expected}");
                assert!(expected.ends_with("event"), "{expected}");
                continue;
            }
            RecordContent::Unknown(found) => ("unknown", found),
            RecordContent::Undecodable(found) => ("undecodable", found),
            RecordContent::Unreadable(cause) => panic!("{cause}"),
        };
        let actual = format!("{kind}: {}", found.cause);
        assert!(actual.starts_with(expected), "{actual}, not {expected}");
        assert_eq!(source.decode(found.clone()), *content, "{expected}: decoded again");
        let UndecodedRecord { offset: at, key, value, headers, .. } = found;
        assert_eq!((at.0, key, value, headers), (offset, &record.key, &record.value, &record.headers));
        undecoded.push(found.clone());
    }

    source.write_dead_letters(0, &undecoded).await.unwrap();
    assert_dead_letters(&undecoded).await;
}

/// Asserts that the dead letters are the records, with headers for cause and origin.
async fn assert_dead_letters(records: &[UndecodedRecord]) {
    let dead_letters = topic::read(&Broker::shared().address(), "source-poison.dlq").await;
    assert_eq!(dead_letters.len(), 1, "as many partitions as the topic");
    assert_eq!(dead_letters[0].len(), records.len());
    for (letter, found) in dead_letters[0].iter().zip(records) {
        assert_eq!((&letter.key, &letter.value), (&found.key, &found.value));
        assert_eq!(topic::header(letter, "pvz_cause"), found.cause);
        assert_eq!(topic::header(letter, "pvz_topic"), "source-poison");
        assert!(letter.timestamp.timestamp() > 1_700_000_000, "retention would remove an older record");
        assert_eq!(topic::header(letter, "pvz_partition"), "0");
        assert_eq!(topic::header(letter, "pvz_offset"), found.offset.0.to_string());
        let kept: BTreeMap<_, _> =
            letter.headers.clone().into_iter().filter(|(name, _)| !name.starts_with("pvz_")).collect();
        assert_eq!(kept, found.headers);
    }
}

#[tokio::test]
async fn dead_letter_that_is_too_large_is_written_without_its_value() {
    let broker = Broker::shared();
    for (name, setting) in
        [("source-big", "max.message.bytes=900000"), ("source-big.dlq", "max.message.bytes=2000")]
    {
        tokio::task::spawn_blocking(move || broker.create_topic(name, 1, setting)).await.unwrap();
    }
    let undecodable = |offset, size| UndecodedRecord {
        offset: Offset(offset),
        cause: "is not an event".to_owned(),
        key: None,
        value: Some(vec![b'x'; size]),
        headers: BTreeMap::new(),
    };
    let source = source(options("source-big"));
    source
        .write_dead_letters(0, &[undecodable(0, 10), undecodable(1, 50_000), undecodable(2, 10)])
        .await
        .unwrap();
    let letters = topic::read(&broker.address(), "source-big.dlq").await;
    let offsets: Vec<String> = letters[0].iter().map(|letter| topic::header(letter, "pvz_offset")).collect();
    assert_eq!(offsets.iter().collect::<BTreeSet<_>>().len(), 3, "{offsets:?}");
    let large = letters[0].iter().find(|letter| topic::header(letter, "pvz_offset") == "1").unwrap();
    assert!(large.value.is_none() && topic::header(large, "pvz_omitted").contains("too large"));
}

#[tokio::test]
async fn fetch_of_a_removed_offset_continues_at_the_oldest() {
    let options = KafkaOptions { partitions: 1, ..options("source-gone") };
    publish(&options, &lives(5)).await;
    raw_client("source-gone").await.delete_records(7, 5_000).await.unwrap();
    let source = source(options);
    for removed in [0, 6, 10_000] {
        let fetched = source.fetch(0, Offset(removed), 3).await.unwrap();
        assert_eq!(
            (fetched.first, fetched.next, fetched.end),
            (Offset(7), Offset(10), Offset(20)),
            "{removed}"
        );
        assert_eq!(fetched.records.len(), 3);
    }
    // A fetch of an earlier offset ignores prefetched records.
    let fetched = source.fetch(0, Offset(8), 1).await.unwrap();
    assert_eq!((fetched.first, fetched.next), (Offset(8), Offset(9)));
}

#[tokio::test]
async fn start_positions_are_resolved() {
    let options = KafkaOptions { partitions: 1, ..options("source-starts") };
    publish(&options, &[logged(&accepted("1", 0), 1)]).await;
    let record_at = |micros: i64| Record {
        key: Some(b"2".to_vec()),
        value: Some(serde_json::to_vec(&"x").unwrap()),
        headers: BTreeMap::new(),
        timestamp: DateTime::from_timestamp_micros(event(&accepted("1", micros)).occurred_at.micros())
            .unwrap(),
    };
    let client = raw_client("source-starts").await;
    for hours in [1, 2, 3] {
        client.produce(vec![record_at(hours * 3_600_000_000)], Compression::NoCompression).await.unwrap();
    }
    let source = source(options);
    let after = |micros: i64| Start::At(event(&accepted("1", micros)).occurred_at);
    for (start, offset) in [
        (Start::Earliest, 0),
        (Start::Latest, 4),
        (after(-1_000_000), 0),
        (after(3_600_000_000), 1),
        (after(3_601_000_000), 2),
        (after(10_800_000_001), 3),
        (after(20_000_000_000), 4),
    ] {
        assert_eq!(source.begin(0, start).await.unwrap(), Offset(offset), "{start:?}");
    }
    let fetched = source.fetch(0, Offset(4), 10).await.unwrap();
    assert_eq!((fetched.records.len(), fetched.next, fetched.end), (0, Offset(4), Offset(4)));
}

#[tokio::test]
async fn missing_topic_has_no_partitions_and_is_not_created() {
    let source = source(options("source-nowhere"));
    assert_eq!(source.partitions().await.unwrap(), [] as [u32; 0]);
    assert!(topic::read(&Broker::shared().address(), "source-nowhere").await.is_empty());
}

#[tokio::test]
async fn calls_to_a_silent_broker_time_out() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(200);
    let connection = KafkaConnection { timeout, ..connection(silent.local_addr().unwrap().to_string()) };
    let source = source(KafkaOptions { connection, ..options("silent") });
    assert!(source.partitions().await.unwrap_err().retryable());
    assert!(source.begin(0, Start::Earliest).await.unwrap_err().retryable());
    for _ in 0..3 {
        assert!(source.fetch(0, Offset(0), 10).await.unwrap_err().retryable());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_continues_after_a_broker_restart() {
    let mut broker = tokio::task::spawn_blocking(|| {
        let mut broker = Broker::new();
        broker.start();
        broker
    })
    .await
    .unwrap();
    let timeout = Duration::from_secs(5);
    let connection = KafkaConnection { timeout, ..connection(broker.address()) };
    let options = KafkaOptions { connection, partitions: 1, ..options("restarted") };
    publish(&options, &lives(10)).await;
    let source = source(options);
    assert_eq!(source.fetch(0, Offset(0), 15).await.unwrap().next, Offset(15));
    broker = tokio::task::spawn_blocking(move || {
        broker.kill();
        broker
    })
    .await
    .unwrap();
    // Prefetched records are returned; further fetches fail.
    assert_eq!(source.fetch(0, Offset(15), 15).await.unwrap().next, Offset(30));
    assert_eq!(source.fetch(0, Offset(30), 15).await.unwrap().next, Offset(40));
    for _ in 0..3 {
        assert!(source.fetch(0, Offset(40), 15).await.unwrap_err().retryable());
    }
    let _broker = tokio::task::spawn_blocking(move || {
        broker.start();
        broker
    })
    .await
    .unwrap();
    let limit = Duration::from_mins(1);
    let read = tokio::time::timeout(limit, async {
        loop {
            // The broker listens before it is the leader.
            if let Ok(fetched) = source.fetch(0, Offset(20), 100).await {
                return fetched;
            }
        }
    });
    let read = read.await.unwrap();
    assert_eq!((read.first, read.records.len(), read.next), (Offset(20), 20, Offset(40)));
}
