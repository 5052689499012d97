//! A topic that is deleted and created again while a consumer has positions in it. Also the cases
//! in which the same topic has lost the last event of a consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::kafka::{KafkaOptions, KafkaSink, KafkaSource};
use pvz::adapters::memory::MemoryStore;
use pvz::app::{IngestError, IngestEvents, IngestOptions, Ingested};
use pvz::domain::assign_partitions;
use pvz::ports::{EventSink as _, Inbox as _, LoggedEvent, Offset};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::{logged, options};
use crate::contract::fixtures::accepted;
use crate::process::{TIMEOUT, eventually};
use crate::support::runtime::block_on;
use crate::support::time::TestClock;

/// Returns the accept event of an order.
fn event(order_id: &str) -> LoggedEvent {
    logged(&accepted(order_id, 0), 1)
}

async fn publish(options: &KafkaOptions, order_ids: &[&str]) {
    let events: Vec<LoggedEvent> = order_ids.iter().map(|order_id| event(order_id)).collect();
    let delivery = KafkaSink::new(options.clone()).publish(&events).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
}

fn ingest(options: &KafkaOptions, inbox: &Arc<MemoryStore>, ingest: IngestOptions) -> IngestEvents {
    let source = KafkaSource::new(options.clone(), Arc::new(TestClock::default()));
    IngestEvents::new(Arc::new(source), inbox.clone(), ingest)
}

fn ingest_options() -> IngestOptions {
    let (lease, missing_grace) = (Duration::from_millis(600), Duration::from_millis(300));
    IngestOptions { lease, missing_grace, ..IngestOptions::new("only".to_owned()) }
}

/// Reads the topic to its end.
async fn consume(
    options: &KafkaOptions,
    inbox: &Arc<MemoryStore>,
    rewind: bool,
) -> Result<Ingested, IngestError> {
    let once = IngestOptions { once: true, rewind, ..ingest_options() };
    let run = ingest(options, inbox, once).run(CancellationToken::new());
    tokio::time::timeout(TIMEOUT, run).await.expect("the end is reached")
}

fn applied(applied: u64) -> Ingested {
    Ingested { records: applied, applied, ..Ingested::default() }
}

fn inbox() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new([7; 32]))
}

async fn raw_client(topic: &str) -> PartitionClient {
    let client = ClientBuilder::new(vec![Broker::shared().address()]).build().await.unwrap();
    client.partition_client(topic, 0, UnknownTopicHandling::Retry).await.unwrap()
}

async fn exists(topic: &str) -> bool {
    let client = ClientBuilder::new(vec![Broker::shared().address()]).build().await.unwrap();
    client.list_topics().await.unwrap().iter().any(|found| found.name == topic)
}

#[test]
fn a_recreated_topic_is_not_read_from_the_offsets_of_the_old_one() {
    let options = KafkaOptions { partitions: 1, ..options("recreated") };
    let (stopped, running) = (inbox(), inbox());
    block_on(publish(&options, &["a", "b", "c"]));
    assert_eq!(block_on(consume(&options, &stopped, false)).unwrap(), applied(3));
    let consumer = ingest(&options, &running, ingest_options()).run(CancellationToken::new());
    let consumer = std::thread::spawn(|| block_on(async { tokio::time::timeout(TIMEOUT, consumer).await }));
    eventually("the running consumer has read the topic", || {
        let progress = block_on(running.progress("kafka:recreated")).unwrap();
        progress.iter().any(|progress| progress.position == Some(Offset(3)))
    });
    Broker::shared().delete_topic("recreated");
    eventually("the topic is deleted", || !block_on(exists("recreated")));
    block_on(publish(&options, &["d"]));

    let other = block_on(consume(&options, &stopped, false)).unwrap_err().to_string();
    let address = Broker::shared().address();
    let expected = format!(
        "kafka://{address}/recreated is not the log that was consumed before: it was created again \
         or replaced, or lost records. At offset 2 of partition 0, event {} was read, and now there is \
         no record. To consume this log from its beginning, start the consumer once with --rewind; \
         events that were counted are not counted again",
        event("c").event.event_id
    );
    assert_eq!(other, expected);
    block_on(publish(&options, &["e", "f", "g"]));
    let other = block_on(consume(&options, &stopped, false)).unwrap_err().to_string();
    let found = format!("and now there is event {}. To", event("f").event.event_id);
    assert_eq!(other, expected.replace("and now there is no record. To", &found));
    let ended = consumer.join().unwrap().expect("the running consumer ends");
    assert!(ended.unwrap_err().to_string().contains("At offset 2 of partition 0"));

    assert_eq!(block_on(consume(&options, &stopped, true)).unwrap(), applied(4));
    assert_eq!(block_on(consume(&options, &stopped, false)).unwrap(), applied(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_event_may_expire_and_other_records_may_follow_it() {
    const TOPIC: &str = "expired";
    let options = KafkaOptions { partitions: 1, ..options(TOPIC) };
    let inbox = inbox();
    publish(&options, &["a", "b"]).await;
    let client = raw_client(TOPIC).await;
    let record = |value: Option<&[u8]>| Record {
        key: Some(b"b".to_vec()),
        value: value.map(<[u8]>::to_vec),
        headers: BTreeMap::new(),
        timestamp: rskafka::chrono::DateTime::default(),
    };
    let tail = vec![record(Some(b"not an event")), record(None)];
    client.produce(tail, Compression::NoCompression).await.unwrap();
    // A position saved by a release that did not store the last event.
    inbox.rewind("kafka:expired", 0, Offset(1)).await.unwrap();
    let expected = Ingested { dead_letters: 2, records: 3, ..applied(1) };
    assert_eq!(consume(&options, &inbox, false).await.unwrap(), expected);
    let lease = Duration::from_mins(1);
    let assigned = inbox.assign("kafka:expired", &[0].into(), "a", lease, assign_partitions).await.unwrap();
    assert_eq!(assigned[0].position, Some(Offset(4)));
    let last_event = assigned[0].last_event.expect("the identity of the log");
    assert_eq!((last_event.offset, last_event.event_id), (Offset(1), event("b").event.event_id));
    inbox.release("kafka:expired", "a").await.unwrap();
    assert_eq!(consume(&options, &inbox, false).await.unwrap(), applied(0));
    // The last event has expired, and the position has not.
    publish(&options, &["c"]).await;
    client.delete_records(3, 5_000).await.unwrap();
    assert_eq!(consume(&options, &inbox, false).await.unwrap(), applied(1));
    // Neither is retained, so reading continues at the oldest record.
    publish(&options, &["d", "e"]).await;
    client.delete_records(6, 5_000).await.unwrap();
    assert_eq!(consume(&options, &inbox, false).await.unwrap(), applied(1));
    assert_eq!(consume(&options, &inbox, false).await.unwrap(), applied(0));
}
