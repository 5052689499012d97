//! Kills of a server that writes a journal under load. The journal has every event
//! of the store, and the events of each order are in sequence.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use serde_json::Value;

use super::{files, read};
use crate::process::{Server, eventually, file};

const ROUNDS: usize = 10;
const ORDERS: usize = 600;

/// Returns the orders to import in a round.
fn csv(round: usize) -> String {
    let until = SystemClock.now().plus(std::time::Duration::from_hours(240));
    let mut csv = String::from("order_id,customer_id,storage_until\n");
    for number in 0..ORDERS {
        writeln!(csv, "r{round}-{number},customer-{round},{until}").unwrap();
    }
    csv
}

fn length(journal: &Path) -> u64 {
    files(journal).iter().map(|path| path.metadata().unwrap().len()).sum()
}

/// Returns every event of the store, as `pvz events` lists it.
fn stored(server: &Server) -> Vec<Value> {
    let args = ["events", "--all", "--page-size=1000", "--output=ndjson"];
    let output = server.cli(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn id(event: &Value) -> (String, i64) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&event["order"]["orderId"]), text(&event["sequence"]).parse().unwrap())
}

/// Returns the first occurrence of each event of a journal. Fails if the events of
/// an order are out of sequence.
pub fn deduplicated(journal: &Path) -> BTreeMap<(String, i64), Value> {
    let mut events: BTreeMap<(String, i64), Value> = BTreeMap::new();
    let mut sequences: BTreeMap<String, i64> = BTreeMap::new();
    for event in read(journal) {
        let (order_id, sequence) = id(&event);
        let last = sequences.entry(order_id.clone()).or_default();
        assert!(sequence <= *last + 1, "{order_id}: event {sequence} follows {last}");
        *last = sequence.max(*last);
        let known = events.entry((order_id, sequence)).or_insert_with(|| event.clone());
        assert_eq!(*known, event, "duplicates are equal");
    }
    events
}

/// Issues orders of a round.
fn issue(server: &Server, round: usize) {
    for first in (0..ORDERS / 2).step_by(50) {
        let ids: Vec<String> = (first..first + 50).map(|number| format!("r{round}-{number}")).collect();
        let ids = format!("--order-ids={}", ids.join(","));
        // Some orders may not have been accepted before the kill.
        server.cli(&["issue", &ids, "--partial"]).output().unwrap();
    }
}

#[test]
fn killed_server_loses_and_reorders_no_events() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("events");
    let flags = [format!("--events=journal:{}", journal.display())];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    for round in 0..ROUNDS {
        let server = Server::start_with(dir.path(), &flags);
        let rows = file(dir.path(), "rows.csv", &csv(round));
        let mut import = server.cli(&["import", &rows, "--output=ndjson"]);
        let mut import = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round > 0 {
            issue(&server, round - 1);
        }
        // The kill comes later in each round.
        let goal = length(&journal) + 4_000 * round as u64 + 1;
        eventually(&format!("round {round}: the journal grows"), || {
            length(&journal) >= goal || import.try_wait().unwrap().is_some()
        });
        server.kill();
        let _ = import.kill();
        import.wait().unwrap();
    }
    let server = Server::start_with(dir.path(), &flags);
    let mut stored: BTreeMap<(String, i64), Value> = BTreeMap::new();
    for mut event in self::stored(&server) {
        event.as_object_mut().unwrap().remove("cursor").expect("a cursor in the feed");
        stored.insert(id(&event), event);
    }
    assert!(stored.len() > 500, "only {} events", stored.len());
    server.stop();
    assert_eq!(deduplicated(&journal), stored);
}
