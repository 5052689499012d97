//! The end of a topic.

use pvz::adapters::kafka::{KafkaOptions, KafkaSink};
use pvz::ports::{EventSink as _, PublishedEvent};

use super::broker::Broker;
use super::{logged, options, topic};
use crate::contract::fixtures::accepted;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_not_events_are_passed_over() {
    const TOPIC: &str = "tail";
    let sink = KafkaSink::new(KafkaOptions { partitions: 1, ..options(TOPIC) });
    let last = logged(&accepted("a", 0), 1);
    let delivery = sink.publish(std::slice::from_ref(&last)).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    // A record and a commit marker, which the client cannot decode.
    tokio::task::spawn_blocking(|| Broker::shared().write_in_transaction(TOPIC)).await.unwrap();
    topic::write(Broker::shared().address(), TOPIC.to_owned(), b"{}".to_vec()).await;
    let tail = sink.tail().await.unwrap();
    assert_eq!((tail.partitions, tail.events), (1, vec![PublishedEvent::from(&last.event)]));
}
