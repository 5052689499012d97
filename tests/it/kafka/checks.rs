//! Problems with the topic are logged at the start, before the first event, and do not
//! stop the service.

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

/// Waits until the sink is connected, and asserts that a warning was logged by then.
fn assert_warned(server: &Server, text: &str) {
    eventually("the sink is connected", || {
        server.log().iter().any(|line| line.contains("connected to Kafka"))
    });
    let warned = server.log().iter().any(|line| line.contains("\"WARN\"") && line.contains(text));
    assert!(warned, "{text:?} is not in {:?}", server.log());
}

#[test]
fn problems_with_the_topic_are_logged_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    Broker::shared().create_topic("narrow", 2, "max.message.bytes=100000");
    let server = serve(dir.path(), "narrow", "");
    assert_warned(&server, "it has 2 partitions, and events.kafka_partitions is 8");
    server.stop();
    // The compression is checked by reading a record.
    Broker::shared().create_topic("compressed", 8, "compression.type=zstd");
    let server = serve(dir.path(), "compressed", "");
    server.json(&["accept", "--order-id=1", "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"]);
    let unreadable = "its compression.type cannot be read";
    eventually("the problem is logged", || server.log().iter().any(|line| line.contains(unreadable)));
    server.stop();
    let server = serve(dir.path(), "compressed", "");
    assert_warned(&server, unreadable);
    server.stop();
    Broker::shared().create_topic("valid", 8, "compression.type=lz4");
    let server = serve(dir.path(), "valid", "");
    eventually("the sink is connected", || {
        server.log().iter().any(|line| line.contains("connected to Kafka"))
    });
    assert!(!server.log().iter().any(|line| line.contains("\"WARN\"")), "{:?}", server.log());
    server.stop();
}

#[test]
fn events_wait_for_a_topic_that_must_not_be_created() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), "reserved", "kafka_create_topic = false");
    let missing = "there is no topic \\\"reserved\\\", and events.kafka_create_topic forbids to create it";
    eventually("the missing topic is logged", || server.log().iter().any(|line| line.contains(missing)));
    server.json(&["accept", "--order-id=1", "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"]);
    Broker::shared().create_topic("reserved", 8, "compression.type=producer");
    eventually("the event arrives", || {
        let read = block_on(topic::read(&Broker::shared().address(), "reserved"));
        topic::ids(&read) == [("1".to_owned(), 1)]
    });
    server.stop();
}
