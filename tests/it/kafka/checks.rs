//! What is not as it should be with the topic is said at the start, before any
//! event, and keeps nothing from working.

use std::path::Path;

use super::broker::Broker;
use super::topic;
use crate::process::{Server, eventually, file};
use crate::support::runtime::block_on;

fn serve(dir: &Path, topic: &str, more: &str) -> Server {
    let url = format!("kafka://{}/{topic}", Broker::shared().address());
    let config = file(dir, "pvz.toml", &format!("[events]\nurl = '{url}'\n{more}\n"));
    Server::start_with(dir, &[&format!("--config={config}")])
}

/// Waits until it is connected, and expects that it has said that by then.
fn says(server: &Server, what: &str) {
    eventually("it is connected", || server.log().iter().any(|line| line.contains("connected to Kafka")));
    let warned = server.log().iter().any(|line| line.contains("\"WARN\"") && line.contains(what));
    assert!(warned, "{what:?} is not in {:?}", server.log());
}

#[test]
fn a_topic_that_is_not_as_it_should_be_is_reported_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    Broker::shared().create_topic("narrow", 2, "max.message.bytes=100000");
    let server = serve(dir.path(), "narrow", "");
    says(&server, "it has 2 partitions, and events.kafka_partitions is 8");
    server.stop();
    // That can be found out by a record only.
    Broker::shared().create_topic("squeezed", 8, "compression.type=zstd");
    let server = serve(dir.path(), "squeezed", "");
    server.json(&["accept", "--order-id=1", "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"]);
    let squeezed = "its compression.type cannot be read";
    eventually("it is found out", || server.log().iter().any(|line| line.contains(squeezed)));
    server.stop();
    let server = serve(dir.path(), "squeezed", "");
    says(&server, squeezed);
    server.stop();
    Broker::shared().create_topic("sound", 8, "compression.type=lz4");
    let server = serve(dir.path(), "sound", "");
    eventually("it is connected", || server.log().iter().any(|line| line.contains("connected to Kafka")));
    assert!(!server.log().iter().any(|line| line.contains("\"WARN\"")), "{:?}", server.log());
    server.stop();
}

#[test]
fn a_topic_that_may_not_be_created_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "reserved", "kafka_create_topic = false");
    let missing = "there is no topic \\\"reserved\\\", and events.kafka_create_topic forbids to create it";
    eventually("the log says so", || server.log().iter().any(|line| line.contains(missing)));
    server.json(&["accept", "--order-id=1", "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"]);
    Broker::shared().create_topic("reserved", 8, "compression.type=producer");
    eventually("the event arrives", || {
        let read = block_on(topic::read(&Broker::shared().address(), "reserved"));
        topic::ids(&read) == [("1".to_owned(), 1)]
    });
    server.stop();
}
