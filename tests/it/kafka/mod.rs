//! The Kafka adapter on a real broker.

pub mod broker;
mod checks;
mod consumer;
mod dead_letters;
mod faults;
mod full_load;
mod golden;
pub mod outage;
mod outsider;
mod proxy;
mod recreated;
mod secured;
mod settings;
mod source;
mod tail;
pub mod topic;
mod topic_changes;
mod traces;
mod transactions;

use std::net::TcpListener;
use std::time::Duration;

use pvz::adapters::kafka::{Encoding, KafkaConnection, KafkaOptions, KafkaSink, Security, partition};
use pvz::domain::{Order, RequestId};
use pvz::ports::{EventSink as _, LoggedEvent, Position, Receipt};
use pvz::proto::v1;
use serde_json::Value;

use self::broker::Broker;
use crate::contract::fixtures::{accepted, customer, event, issued, point};
use crate::process::{Server, eventually};
use crate::support::runtime::block_on;

/// Returns the options of a topic on the shared broker, which the sink creates.
pub fn options(topic: &str) -> KafkaOptions {
    KafkaOptions {
        connection: connection(Broker::shared().address()),
        topic: topic.to_owned(),
        create: true,
        partitions: 4,
        replication: 1,
        encoding: Encoding::Json,
        lz4: false,
    }
}

/// Returns a connection to a broker, without TLS.
pub fn connection(broker: String) -> KafkaConnection {
    let (brokers, timeout) = (vec![broker], Duration::from_secs(30));
    KafkaConnection { brokers, timeout, security: Security::default() }
}

fn logged(order: &Order, position: i64) -> LoggedEvent {
    LoggedEvent { position: Position(position), event: event(order) }
}

/// Waits until the topic has `count` records, and returns them by partition.
fn records(server: &Server, topic: &str, count: usize) -> Vec<Vec<rskafka::record::Record>> {
    let mut partitions = Vec::new();
    eventually(&format!("{count} records of {} are in {topic}", server.grpc), || {
        partitions = block_on(topic::read(&Broker::shared().address(), topic));
        partitions.iter().map(Vec::len).sum::<usize>() >= count
    });
    partitions
}

#[test]
fn records_match_the_documentation() {
    let dir = tempfile::tempdir().unwrap();
    let flag = format!("--events=kafka://{}/documented", Broker::shared().address());
    let server = Server::start_with(dir.path(), &[&flag]);
    for order_id in ["anna-1", "boris-2"] {
        let args =
            ["accept", "--order-id", order_id, "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"];
        server.json(&[&args[..], &["--pickup-point=kazan-7", "--actor=courier:42"]].concat());
    }
    server.json(&["issue", "--order-ids=anna-1", "--pickup-point=kazan-7"]);
    server.json(&["accept-return", "--order-id=anna-1", "--customer-id=7", "--pickup-point=kazan-7"]);
    server.json(&["return-to-courier", "--order-ids=anna-1", "--pickup-point=kazan-7"]);

    let partitions = records(&server, "documented", 5);
    assert_eq!(partitions.len(), 8, "the topic was created with the configured partitions");
    let records = topic::deduplicated(&partitions);
    assert_eq!(records.len(), 5);
    let feed = server.json(&["events", "--page-size=100"]);
    let types = ["accepted", "issued", "returned", "handed_to_courier"];
    for stored in feed["events"].as_array().unwrap() {
        let mut stored = stored.clone();
        stored.as_object_mut().unwrap().remove("cursor").expect("a cursor in the feed");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (order_id, sequence) = (text(&stored["order"]["orderId"]), text(&stored["sequence"]));
        let record = &records[&(order_id.clone(), sequence.parse().unwrap())];
        assert_eq!(serde_json::from_slice::<Value>(record.value.as_ref().unwrap()).unwrap(), stored);
        let expected = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", text(&stored["eventId"])),
            ("ce_type", format!("pvz.order.{}.v1", types[sequence.parse::<usize>().unwrap() - 1])),
            ("ce_source", "/pvz/kazan-7".to_owned()),
            ("ce_subject", order_id),
            ("ce_time", text(&stored["occurredAt"])),
            ("ce_sequence", sequence),
            ("content-type", "application/json".to_owned()),
        ];
        for (name, value) in &expected {
            assert_eq!(topic::header(record, name), *value, "{name}");
        }
        assert_eq!(record.headers.len(), expected.len());
    }
    server.stop();

    // Kafka's own tool reads the same.
    let printed = Broker::shared().console_consumer("documented", 5);
    let line = printed.lines().find(|line| line.contains("\tboris-2\t")).expect("a line with that key");
    let prefix = format!("Partition:{}\t", partition(b"boris-2", 8));
    assert!(line.starts_with(&prefix) && line.contains("ce_type:pvz.order.accepted.v1"), "{printed}");
}

#[tokio::test]
async fn protobuf_encoding_is_configurable() {
    let sink = KafkaSink::new(KafkaOptions { encoding: Encoding::Protobuf, ..options("protobuf") });
    let events = [logged(&accepted("1", 0), 1)];
    assert_eq!(sink.publish(&events).await.receipts, [Receipt::Acknowledged]);
    let partitions = topic::read(&Broker::shared().address(), "protobuf").await;
    let record = partitions.iter().flatten().next().unwrap();
    assert_eq!(topic::header(record, "content-type"), "application/protobuf");
    let message: v1::Event = prost::Message::decode(record.value.as_deref().unwrap()).unwrap();
    assert_eq!(message.order.unwrap().order_id, "1");
}

#[tokio::test]
async fn large_batch_is_written_with_and_without_compression() {
    for (topic, lz4) in [("large", false), ("large-lz4", true)] {
        let sink = KafkaSink::new(KafkaOptions { partitions: 2, lz4, ..options(topic) });
        let events: Vec<LoggedEvent> =
            (1..=4_000).map(|number| logged(&accepted(&format!("order-{number}"), 0), number)).collect();
        let delivery = sink.publish(&events).await;
        assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
        let read = topic::read(&Broker::shared().address(), topic).await;
        let written: Vec<String> = read.iter().flatten().map(topic::key).collect();
        assert_eq!(written.len(), 4_000);
        // The records of a partition are in the order of the log.
        for (number, records) in read.iter().enumerate() {
            let keys = events.iter().map(|logged| logged.event.order.order_id.to_string());
            let expected: Vec<String> = keys.filter(|key| partition(key.as_bytes(), 2) == number).collect();
            assert_eq!(records.iter().map(topic::key).collect::<Vec<_>>(), expected);
        }
    }
}

#[tokio::test]
async fn refused_record_does_not_affect_others() {
    let broker = Broker::shared();
    tokio::task::spawn_blocking(|| broker.create_topic("strict", 1, "max.message.bytes=1200")).await.unwrap();
    let sink = KafkaSink::new(options("strict"));
    let long = "x".repeat(64);
    let small = [accepted("a", 0), accepted("b", 0)];
    let order = Order { customer_id: customer(&long), pickup_point_id: point(&long), ..accepted(&long, 0) };
    let mut large = logged(&order, 2);
    large.event.request_id = RequestId::parse(&"r".repeat(128)).ok();
    let after = logged(&issued(&small[0], 1), 4);
    let events = [logged(&small[0], 1), large, logged(&small[1], 3), after];
    let delivery = sink.publish(&events).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    let [Receipt::Acknowledged, Receipt::Refused(cause), rest @ ..] = delivery.receipts.as_slice() else {
        panic!("{:?}", delivery.receipts);
    };
    assert!(cause.contains("too large"), "{cause}");
    assert_eq!(rest, [Receipt::Pending, Receipt::Pending]);
    let delivery = sink.publish(&events[2..]).await;
    assert_eq!(delivery.receipts, [Receipt::Acknowledged, Receipt::Acknowledged]);
    let read = topic::read(&broker.address(), "strict").await;
    assert_eq!(topic::ids(&read), [("a".to_owned(), 1), ("b".to_owned(), 1), ("a".to_owned(), 2)]);
}

#[tokio::test]
async fn publishing_to_a_silent_broker_times_out() {
    // It accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(200);
    let connection = KafkaConnection { timeout, ..connection(silent.local_addr().unwrap().to_string()) };
    let sink = KafkaSink::new(KafkaOptions { connection, ..options("silent") });
    for _ in 0..3 {
        let delivery = sink.publish(&[logged(&accepted("1", 0), 1)]).await;
        assert_eq!(delivery.receipts, [Receipt::Pending]);
        assert!(delivery.failure.unwrap().retryable());
    }
}
