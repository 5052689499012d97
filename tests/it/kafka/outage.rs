//! Broker outages: at the start of the server, and while events are published.
//! Commands succeed, and no event is lost or reordered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use serde_json::Value;

use super::broker::Broker;
use super::topic;
use crate::process::{Server, eventually, file};
use crate::support::runtime::block_on;

const TOPIC: &str = "outage";
const ORDERS: usize = 3_000;

/// Returns a CSV file of orders to import.
pub fn csv(name: &str, orders: usize) -> String {
    let until = SystemClock.now().plus(Duration::from_hours(240));
    let mut csv = String::from("order_id,customer_id,storage_until\n");
    for number in 0..orders {
        writeln!(csv, "{name}-{number},customer-{name},{until}").unwrap();
    }
    csv
}

/// Returns the order and sequence of every event in the store.
pub fn stored(server: &Server) -> BTreeSet<(String, i64)> {
    let args = ["events", "--all", "--page-size=1000", "--output=ndjson"];
    let output = server.cli(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .map(|event| (text(&event["order"]["orderId"]), text(&event["sequence"]).parse().unwrap()))
        .collect()
}

/// Returns the number of records in the topic, including duplicates.
fn count(broker: &Broker) -> usize {
    block_on(topic::read(&broker.address(), TOPIC)).iter().map(Vec::len).sum()
}

fn assert_complete(server: &Server, broker: &Broker) {
    let stored = stored(server);
    let mut found = BTreeMap::new();
    eventually("every event is in the topic", || {
        found = topic::deduplicated(&block_on(topic::read(&broker.address(), TOPIC)));
        found.len() >= stored.len()
    });
    assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), stored);
}

#[test]
fn broker_outages_lose_and_reorder_no_events() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::new();
    let flag = format!("--events=kafka://{}/{TOPIC}", broker.address());
    let server = Server::start_with(dir.path(), &[&flag]);
    let import = |name: &str| {
        let rows = file(dir.path(), &format!("{name}.csv"), &csv(name, ORDERS));
        let mut import = server.cli(&["import", &rows, "--output=json"]);
        import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let issue = |name: &str, numbers: std::ops::Range<usize>| {
        let ids: Vec<String> = numbers.map(|number| format!("{name}-{number}")).collect();
        server.json(&["issue", "--order-ids", &ids.join(",")]);
    };

    // The broker is not running.
    assert!(import("early").wait().unwrap().success());
    issue("early", 0..100);
    broker.start();
    assert_complete(&server, &broker);

    // The broker is killed while events are published.
    let before = count(&broker);
    let mut late = import("late");
    eventually("events of the import are published", || count(&broker) > before);
    broker.kill();
    assert!(late.wait().unwrap().success(), "commands are not affected");
    issue("late", 0..100);
    issue("early", 100..200);
    broker.start();
    assert_complete(&server, &broker);
    server.stop();
}
