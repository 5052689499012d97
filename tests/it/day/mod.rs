//! A whole day of a point, driven through the released binary; and the same
//! import cut by `kill -9` twenty times.

pub mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::process::{Server, eventually, file, pvz};
use generate::{BAD_KINDS, Day, PARCELS, Row};

const SEED: u64 = 20_261_231;

/// The same clock as the server's.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(SystemClock.now().micros()).unwrap()
}

/// Imports a file and answers the summary and the exit code.
fn import(server: &Server, path: &str) -> (Value, Option<i32>) {
    let output = server.cli(&["import", path, "--output=json"]).output().unwrap();
    let summary = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (summary, output.status.code())
}

fn assert_summary(summary: &Value, day: &Day, accepted: usize, already_there: usize) {
    assert_eq!(summary["rows"], day.rows.len(), "{summary}");
    assert_eq!(summary["accepted"], accepted, "{summary}");
    assert_eq!(summary["alreadyThere"], already_there, "{summary}");
    assert_eq!(summary["refused"], BAD_KINDS.len() * 5, "{summary}");
    for (_, reason) in BAD_KINDS {
        assert_eq!(summary["refusedByReason"][reason], day.refused_with(reason), "{reason}: {summary}");
    }
}

/// All pages of a list.
fn all(server: &Server, args: &[&str]) -> Vec<Value> {
    let output = server.cli(args).args(["--all", "--output=ndjson", "--page-size=1000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_verified(dir: &std::path::Path) {
    let output = pvz().arg("verify").arg(format!("--data-dir={}", dir.display())).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

fn issue_in_batches(server: &Server, day: &Day, customers: usize) -> Vec<Row> {
    let mut by_customer: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    day.good().for_each(|row| by_customer.entry(&row.customer_id).or_default().push(row));
    let mut issued = Vec::new();
    for (customer, rows) in by_customer.into_iter().take(customers) {
        let ids: Vec<&str> = rows.iter().map(|row| row.order_id.as_str()).collect();
        let answer = server.json(&["issue", "--order-ids", &ids.join(","), "--customer-id", customer]);
        assert_eq!(answer["results"].as_array().unwrap().len(), ids.len());
        issued.extend(rows.into_iter().cloned());
    }
    issued
}

/// Accepts parcels whose deadline is near, and waits until it has passed.
fn short_stay(server: &Server, dir: &std::path::Path, count: usize) -> Vec<String> {
    let until = (now() + Duration::seconds(20)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let ids: Vec<String> = (0..count).map(|n| format!("short-{n}")).collect();
    let mut csv = String::from("order_id,customer_id,storage_until\n");
    for id in &ids {
        csv.extend([id, ",1,", &until, "\n"]);
    }
    let path = file(dir, "short.csv", &csv);
    let (summary, code) = import(server, &path);
    assert_eq!((code, &summary["accepted"]), (Some(0), &Value::from(count)), "{summary}");
    eventually("the short stays are expired", || {
        server.json(&["list", "--expired=true", "--last-n=1000"])["orders"].as_array().unwrap().len() == count
    });
    ids
}

#[test]
fn a_day_of_a_point() {
    let dir = tempfile::tempdir().unwrap();
    let day = Day::generate(SEED, now());
    let (csv, ndjson) =
        (file(dir.path(), "day.csv", &day.csv()), file(dir.path(), "day.ndjson", &day.ndjson()));
    let server = Server::start(dir.path());

    let (summary, code) = import(&server, &csv);
    assert_eq!(code, Some(4), "some rows are refused");
    assert_summary(&summary, &day, PARCELS, 0);
    let before = all(&server, &["events"]);
    assert_eq!(before.len(), PARCELS);

    // The same again, in the other format: nothing changes.
    let (summary, code) = import(&server, &ndjson);
    assert_eq!(code, Some(4));
    assert_summary(&summary, &day, 0, PARCELS);
    assert_eq!(all(&server, &["events"]), before);

    let issued = issue_in_batches(&server, &day, 60);
    let returned = &issued[..20];
    for row in returned {
        let args = ["accept-return", "--order-id", &row.order_id, "--customer-id", &row.customer_id];
        assert_eq!(server.json(&args)["order"]["state"], "ORDER_STATE_RETURNED");
    }
    let returns = all(&server, &["returns"]);
    let newest_first: Vec<&str> = returned.iter().rev().map(|row| row.order_id.as_str()).collect();
    let listed: Vec<&str> = returns.iter().map(|order| order["orderId"].as_str().unwrap()).collect();
    assert_eq!(listed, newest_first);

    // In the middle of the day the power goes.
    server.kill();
    let server = Server::start(dir.path());
    let expired = short_stay(&server, dir.path(), 100);
    let back: Vec<&str> = newest_first.iter().copied().chain(expired.iter().map(String::as_str)).collect();
    for batch in back.chunks(100) {
        server.json(&["return-to-courier", "--order-ids", &batch.join(",")]);
    }
    assert!(all(&server, &["returns"]).is_empty());

    let count = |state: &str| all(&server, &["list", "--states", state]).len();
    assert_eq!(count("stored"), PARCELS - issued.len());
    assert_eq!(count("issued"), issued.len() - returned.len());
    assert_eq!(count("returned"), 0);
    assert_eq!(count("handed_to_courier"), returned.len() + expired.len());
    let events = all(&server, &["events"]);
    let changes = issued.len() + returned.len() + expired.len() + back.len();
    assert_eq!(events.len(), PARCELS + changes);
    let history = all(&server, &["history", &returned[0].order_id]);
    let types: Vec<&str> = history.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "EVENT_TYPE_ORDER_ACCEPTED",
            "EVENT_TYPE_ORDER_ISSUED",
            "EVENT_TYPE_ORDER_RETURNED",
            "EVENT_TYPE_ORDER_HANDED_TO_COURIER"
        ]
    );
    assert_verified(dir.path());
    server.stop();
    assert_verified(dir.path());
}

/// Every order that an import reported is there after each of twenty power
/// cuts, and the import ends as if there had been none.
#[test]
fn an_import_survives_twenty_power_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let day = Day::generate(SEED + 1, now());
    let csv = file(dir.path(), "day.csv", &day.csv());
    let mut acknowledged = BTreeSet::new();
    let mut stored = BTreeSet::new();
    for round in 0..20 {
        let server = Server::start(dir.path());
        // A file takes it all; a pipe that nobody reads would hold the import
        // up.
        let results = dir.path().join("results.ndjson");
        let mut client = server
            .cli(&["import", &csv, "--output=ndjson"])
            .stdout(std::fs::File::create(&results).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Another moment each round: after that many more events.
        let goal = (stored.len() + round * 97 + 1).min(PARCELS);
        let mut seen = 0;
        eventually(&format!("round {round}: {goal} events are there"), || {
            seen += all(&server, &["events", "--after", &seen.to_string()]).len();
            seen >= goal
        });
        server.kill();
        rustix::process::kill_process(Pid::from_child(&client), Signal::INT).unwrap();
        client.wait().unwrap();
        for line in std::fs::read_to_string(&results).unwrap().lines() {
            let result: Value = serde_json::from_str(line).unwrap();
            if !result["result"]["order"].is_null() {
                acknowledged.insert(result["result"]["orderId"].as_str().unwrap().to_owned());
            }
        }
        assert_verified(dir.path());
        let server = Server::start(dir.path());
        let orders = all(&server, &["list"]);
        stored = orders.iter().map(|order| order["orderId"].as_str().unwrap().to_owned()).collect();
        assert!(acknowledged.is_subset(&stored), "round {round}: an acknowledged order is gone");
        server.stop();
    }
    let server = Server::start(dir.path());
    let before = all(&server, &["list"]).len();
    let (summary, _) = import(&server, &csv);
    assert_summary(&summary, &day, PARCELS - before, before);
    server.stop();
    assert_verified(dir.path());
}
