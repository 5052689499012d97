//! Transactions of other producers in the topic.

use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::kafka::{KafkaOptions, KafkaSink, KafkaSource};
use pvz::adapters::memory::MemoryStore;
use pvz::app::{IngestEvents, IngestOptions, Ingested};
use pvz::ports::{EventSink as _, EventSource as _, Offset};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::UnknownTopicHandling;
use tokio_util::sync::CancellationToken;

use super::broker::{Broker, OpenTransaction};
use super::{logged, options};
use crate::contract::fixtures::accepted;
use crate::faults::test_service::wait_until;
use crate::support::time::TestClock;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_markers_are_stepped_over_even_at_the_end_of_a_partition() {
    const TOPIC: &str = "transactions";
    let options = KafkaOptions { partitions: 1, ..options(TOPIC) };
    let sink = KafkaSink::new(options.clone());
    for (order_id, position) in [("a", 1), ("b", 2)] {
        let delivery = sink.publish(&[logged(&accepted(order_id, 0), position)]).await;
        assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
        tokio::task::spawn_blocking(|| Broker::shared().write_in_transaction(TOPIC)).await.unwrap();
    }
    let source = KafkaSource::new(options, Arc::new(TestClock::default()));
    let once = IngestOptions { once: true, ..IngestOptions::new("only".to_owned()) };
    let ingest = IngestEvents::new(Arc::new(source), Arc::new(MemoryStore::new([7; 32])), once);
    let ingested = tokio::time::timeout(Duration::from_mins(1), ingest.run(CancellationToken::new())).await;
    let expected = Ingested { records: 4, applied: 2, dead_letters: 2, unreadable: 2, ..Ingested::default() };
    assert_eq!(ingested.expect("the end is reached").unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_behind_an_open_transaction_are_not_stepped_over() {
    const TOPIC: &str = "open-transaction";
    let options = KafkaOptions { partitions: 1, ..options(TOPIC) };
    let sink = KafkaSink::new(options.clone());
    let delivery = sink.publish(&[logged(&accepted("before", 0), 1)]).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    let transaction = OpenTransaction::begin(Broker::shared(), TOPIC);
    let client = ClientBuilder::new(vec![Broker::shared().address()]).build().await.unwrap();
    let partition = client.partition_client(TOPIC, 0, UnknownTopicHandling::Retry).await.unwrap();
    wait_until("the transaction has written a record", async || {
        let (_, high_watermark) = partition.fetch_records(0, 1..1_000, 100).await.unwrap();
        high_watermark > 1
    })
    .await;
    let delivery = sink.publish(&[logged(&accepted("behind", 0), 2)]).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    let source = KafkaSource::new(options, Arc::new(TestClock::default()));
    let fetched = source.fetch(0, Offset(0), 100).await.unwrap();
    assert_eq!((fetched.records.len(), fetched.next), (1, Offset(1)), "{fetched:?}");
    for _ in 0..2 {
        let fetched = source.fetch(0, Offset(1), 100).await.unwrap();
        assert_eq!((fetched.records, fetched.next, fetched.end), (Vec::new(), Offset(1), Offset(1)));
    }
    drop(transaction);
}
