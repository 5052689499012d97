//! Events that a real broker refuses for their size, and the operator's way
//! out for them.

use std::process::Output;

use serde_json::json;

use super::broker::Broker;
use super::topic;
use crate::process::{Server, eventually};
use crate::support::runtime::block_on;

const TOPIC: &str = "letters";

/// Runs a command, whatever its exit code is to be.
fn run(server: &Server, args: &[&str], code: i32) -> Output {
    let output = server.cli(args).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The sequences of an order in the topic, in their order, each once.
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
fn what_was_refused_is_sent_again_or_given_up_and_the_rest_follows() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::shared();
    broker.create_topic(TOPIC, 1, "max.message.bytes=1200");
    let events = format!("--events=kafka://{}/{TOPIC}", broker.address());
    let server = Server::start_with(dir.path(), &[&events]);
    let none = server.json(&["dlq", "list"]);
    assert_eq!(none["letters"], json!([]), "{none}");

    // Too large by their ids and their key.
    let (long, key) = ("x".repeat(64), "k".repeat(127));
    let (again, never) = (format!("{}1", "y".repeat(63)), format!("{}2", "y".repeat(63)));
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
    accept(&again, &format!("{key}1"));
    accept(&never, &format!("{key}2"));
    server.json(&["accept", "--order-id=a", "--customer-id=c", until]);
    eventually("the others go on", || sequences("a") == [1]);
    let status = server.json(&["outbox", "status"]);
    assert_eq!(status["deadLetters"], "2", "{status}");
    let letters = server.json(&["dlq", "list"]);
    let listed: Vec<(&str, &str)> = letters["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (letter["orderId"].as_str().unwrap(), letter["sequence"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, [(again.as_str(), "1"), (never.as_str(), "1")]);
    let shown = text(&run(&server, &["dlq", "show", &again], 0));
    assert!(shown.contains("too large") && shown.contains(&again), "{shown}");
    let table = text(&run(&server, &["dlq", "list"], 0));
    assert!(table.starts_with("ORDER ") && table.lines().count() == 3, "{table}");
    for unknown in [["dlq", "show", "a"], ["dlq", "retry", "a"], ["dlq", "drop", "nobody"]] {
        let refused = run(&server, &unknown, 3);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.starts_with("error: ORDER_NOT_FOUND: order "), "{error}");
        assert!(error.contains("has no dead letter"), "{error}");
    }

    // In vain as long as the topic is as it is.
    server.json(&["dlq", "retry", &again]);
    eventually("it is refused again", || server.json(&["dlq", "show", &again])["resolution"].is_null());
    assert_eq!(sequences(&again), [] as [i64; 0]);

    broker.alter_topic(TOPIC, "max.message.bytes=100000");
    server.json(&["dlq", "drop", &never]);
    eventually("what was behind it follows", || sequences(&never) == [2]);
    server.json(&["dlq", "retry", &again]);
    eventually("it arrives, and the rest behind it", || sequences(&again) == [1, 2]);
    eventually("no letter is left", || {
        let status = server.json(&["outbox", "status"]);
        status["deadLetters"] == "0"
            && status["lagEvents"] == "0"
            && status["headCursor"] == status["publishedCursor"]
    });
    server.json(&[
        "accept-return",
        &format!("--order-id={again}"),
        &format!("--customer-id={long}"),
        &format!("--pickup-point={long}"),
    ]);
    eventually("later events come by themselves", || sequences(&again) == [1, 2, 3]);
    assert_eq!(sequences(&never), [2], "what was given up never comes");
    server.stop();
}
