//! The end of a topic, and a store that was restored next to a newer topic.

use std::fs;

use pvz::adapters::kafka::{KafkaOptions, KafkaSink};
use pvz::ports::{EventSink as _, PublishedEvent};

use super::broker::Broker;
use super::{logged, options, records, topic};
use crate::contract::fixtures::accepted;
use crate::process::{Server, eventually};
use crate::restored_store::{accept, stopped, wait_until_published};

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

#[test]
fn restored_store_next_to_a_newer_topic_stops_publishing_until_an_operator_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup.db"));
    let flag = format!("--events=kafka://{}/restored", Broker::shared().address());
    let server = Server::start_with(&data, &[&flag]);
    accept(&server, "before");
    wait_until_published(&server);
    server.stop();
    fs::copy(data.join("pvz.db"), &backup).unwrap();
    let server = Server::start_with(&data, &[&flag]);
    accept(&server, "lost");
    wait_until_published(&server);
    server.stop();

    fs::copy(&backup, data.join("pvz.db")).unwrap();
    let server = Server::start_with(&data, &[&flag]);
    accept(&server, "after");
    eventually("publishing stops", || stopped(&server).is_some());
    let reason = stopped(&server).unwrap();
    assert!(reason.contains("(order lost, sequence 1), which this store does not have"), "{reason}");
    assert_eq!(records(&server, "restored", 2).concat().len(), 2);
    // The effect of the decision: the relay publishes all events from the first on, including the
    // new one.
    server.json(&["outbox", "republish", "--from=1"]);
    let keys: Vec<String> = records(&server, "restored", 4).concat().iter().map(topic::key).collect();
    assert_eq!(keys.iter().filter(|key| *key == "after").count(), 1, "{keys:?}");
    assert_eq!(keys.iter().filter(|key| *key == "before").count(), 2, "{keys:?}");
    assert_eq!(stopped(&server), None);
    server.stop();
}
