//! Transactions of other producers in the topic.

use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::kafka::{KafkaOptions, KafkaSink, KafkaSource};
use pvz::adapters::memory::MemoryStore;
use pvz::app::{IngestEvents, IngestOptions, Ingested};
use pvz::ports::EventSink as _;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::{logged, options};
use crate::contract::fixtures::accepted;
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
