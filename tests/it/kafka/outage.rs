//! A broker that is not there when the server starts, and is killed while
//! events come: commands do not notice, and no event is lost or reordered.

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

/// So many orders to accept.
pub fn csv(name: &str, orders: usize) -> String {
    let until = SystemClock.now().plus(Duration::from_hours(240));
    let mut csv = String::from("order_id,customer_id,storage_until\n");
    for number in 0..orders {
        writeln!(csv, "{name}-{number},customer-{name},{until}").unwrap();
    }
    csv
}

/// Order and sequence of every event in the store.
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

/// How many records the topic holds, repetitions included.
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
fn a_broker_comes_goes_and_comes_back() {
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

    // Nobody is there, and the counter works.
    assert!(import("early").wait().unwrap().success());
    issue("early", 0..100);
    broker.start();
    assert_complete(&server, &broker);

    // Killed while events come, it comes back to what it had.
    let before = count(&broker);
    let mut late = import("late");
    eventually("the import is on its way", || count(&broker) > before);
    broker.kill();
    assert!(late.wait().unwrap().success(), "commands do not notice");
    issue("late", 0..100);
    issue("early", 100..200);
    broker.start();
    assert_complete(&server, &broker);
    server.stop();
}
