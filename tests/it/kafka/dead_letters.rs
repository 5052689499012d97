//! Events that a real broker refuses because of their size, and the operator's
//! commands for them.

use std::process::Output;

use serde_json::json;

use super::broker::Broker;
use super::topic;
use crate::process::{Server, eventually};
use crate::support::runtime::block_on;

const TOPIC: &str = "dead-letters";

/// Runs a command, and asserts its exit code.
fn run(server: &Server, args: &[&str], code: i32) -> Output {
    let output = server.cli(args).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the sequences of an order in the order of the topic, without duplicates.
fn sequences(order_id: &str) -> Vec<i64> {
    let read = block_on(topic::read(&Broker::shared().address(), TOPIC));
    let mut sequences = Vec::new();
    for (found, sequence) in topic::ids(&read) {
        if found == order_id && !sequences.contains(&sequence) {
            sequences.push(sequence);
        }
    }
    sequences
}

#[test]
fn refused_event_is_retried_or_dropped_and_later_events_follow() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::shared();
    broker.create_topic(TOPIC, 1, "max.message.bytes=1200");
    let events = format!("--events=kafka://{}/{TOPIC}", broker.address());
    let server = Server::start_with(dir.path(), &[&events]);
    let none = server.json(&["dlq", "list"]);
    assert_eq!(none["letters"], json!([]), "{none}");

    // Long ids and request ids make the records too large.
    let (long, key) = ("x".repeat(64), "k".repeat(127));
    let (retried, dropped) = (format!("{}1", "y".repeat(63)), format!("{}2", "y".repeat(63)));
    let until = "--storage-until=2027-10-01T10:00:00Z";
    let accept = |order_id: &str, key: &str| {
        let [order, customer, point, key] = [
            format!("--order-id={order_id}"),
            format!("--customer-id={long}"),
            format!("--pickup-point={long}"),
            format!("--request-id={key}"),
        ];
        server.json(&["accept", &order, &customer, until, &point, &key]);
        server.json(&["issue", &format!("--order-ids={order_id}"), &format!("--pickup-point={long}")]);
    };
    accept(&retried, &format!("{key}1"));
    accept(&dropped, &format!("{key}2"));
    server.json(&["accept", "--order-id=a", "--customer-id=c", until]);
    eventually("other orders are not blocked", || sequences("a") == [1]);
    let status = server.json(&["outbox", "status"]);
    assert_eq!(status["deadLetters"], "2", "{status}");
    let letters = server.json(&["dlq", "list"]);
    let listed: Vec<(&str, &str)> = letters["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (letter["orderId"].as_str().unwrap(), letter["sequence"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, [(retried.as_str(), "1"), (dropped.as_str(), "1")]);
    let shown = text(&run(&server, &["dlq", "show", &retried], 0));
    assert!(shown.contains("too large") && shown.contains(&retried), "{shown}");
    let table = text(&run(&server, &["dlq", "list"], 0));
    assert!(table.starts_with("ORDER ") && table.lines().count() == 3, "{table}");
    for unknown in [["dlq", "show", "a"], ["dlq", "retry", "a"], ["dlq", "drop", "nobody"]] {
        let refused = run(&server, &unknown, 3);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.starts_with("error: ORDER_NOT_FOUND: order "), "{error}");
        assert!(error.contains("has no dead letter"), "{error}");
    }

    // The broker refuses the retry until the topic is changed.
    server.json(&["dlq", "retry", &retried]);
    eventually("the retry is refused", || server.json(&["dlq", "show", &retried])["resolution"].is_null());
    assert_eq!(sequences(&retried), [] as [i64; 0]);

    broker.alter_topic(TOPIC, "max.message.bytes=100000");
    server.json(&["dlq", "drop", &dropped]);
    eventually("the later event is published", || sequences(&dropped) == [2]);
    server.json(&["dlq", "retry", &retried]);
    eventually("the event and the later one are published", || sequences(&retried) == [1, 2]);
    eventually("no dead letter is left", || {
        let status = server.json(&["outbox", "status"]);
        status["deadLetters"] == "0"
            && status["lagEvents"] == "0"
            && status["headCursor"] == status["publishedCursor"]
    });
    server.json(&[
        "accept-return",
        &format!("--order-id={retried}"),
        &format!("--customer-id={long}"),
        &format!("--pickup-point={long}"),
    ]);
    eventually("later events are published", || sequences(&retried) == [1, 2, 3]);
    assert_eq!(sequences(&dropped), [2], "the dropped event is not published");
    server.stop();
}
