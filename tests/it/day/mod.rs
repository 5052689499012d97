//! A day of a pickup point with the released binary, and an import during which the
//! server is killed twenty times.

pub mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::process::{Server, eventually, file, pvz};
use generate::{Day, INVALID_KINDS, ORDERS, Row};

const SEED: u64 = 20_261_231;

/// Returns the time of the server's clock.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(SystemClock.now().micros()).unwrap()
}

/// Imports a file, and returns the summary and the exit code.
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
    assert_eq!(summary["refused"], INVALID_KINDS.len() * 5, "{summary}");
    for (_, reason) in INVALID_KINDS {
        assert_eq!(summary["refusedByReason"][reason], day.count_refused_with(reason), "{reason}: {summary}");
    }
}

/// Returns all pages of a list.
fn list_all(server: &Server, args: &[&str]) -> Vec<Value> {
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

/// Issues the orders of the first `customers` customers, one batch per customer.
fn issue_in_batches(server: &Server, day: &Day, customers: usize) -> Vec<Row> {
    let mut by_customer: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    day.valid().for_each(|row| by_customer.entry(&row.customer_id).or_default().push(row));
    let mut issued = Vec::new();
    for (customer, rows) in by_customer.into_iter().take(customers) {
        let ids: Vec<&str> = rows.iter().map(|row| row.order_id.as_str()).collect();
        let response = server.json(&["issue", "--order-ids", &ids.join(","), "--customer-id", customer]);
        assert_eq!(response["results"].as_array().unwrap().len(), ids.len());
        issued.extend(rows.into_iter().cloned());
    }
    issued
}

/// Accepts orders with a storage deadline in 20 s, and waits until they expire.
fn accept_and_expire(server: &Server, dir: &std::path::Path, count: usize) -> Vec<String> {
    let until = (now() + Duration::seconds(20)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let ids: Vec<String> = (0..count).map(|n| format!("short-{n}")).collect();
    let mut csv = String::from("order_id,customer_id,storage_until\n");
    for id in &ids {
        csv.extend([id, ",1,", &until, "\n"]);
    }
    let path = file(dir, "short.csv", &csv);
    let (summary, code) = import(server, &path);
    assert_eq!((code, &summary["accepted"]), (Some(0), &Value::from(count)), "{summary}");
    eventually("the orders have expired", || {
        server.json(&["list", "--expired=true", "--last-n=1000"])["orders"].as_array().unwrap().len() == count
    });
    ids
}

#[test]
fn a_day_of_a_pickup_point_has_the_expected_orders_and_events() {
    let dir = tempfile::tempdir().unwrap();
    let day = Day::generate(SEED, now());
    let (csv, ndjson) =
        (file(dir.path(), "day.csv", &day.csv()), file(dir.path(), "day.ndjson", &day.ndjson()));
    let server = Server::start(dir.path());

    let (summary, code) = import(&server, &csv);
    assert_eq!(code, Some(4), "exit code for refused rows");
    assert_summary(&summary, &day, ORDERS, 0);
    let before = list_all(&server, &["events"]);
    assert_eq!(before.len(), ORDERS);

    // The same orders in the other format change nothing.
    let (summary, code) = import(&server, &ndjson);
    assert_eq!(code, Some(4));
    assert_summary(&summary, &day, 0, ORDERS);
    assert_eq!(list_all(&server, &["events"]), before);

    let issued = issue_in_batches(&server, &day, 60);
    let returned = &issued[..20];
    for row in returned {
        let args = ["accept-return", "--order-id", &row.order_id, "--customer-id", &row.customer_id];
        assert_eq!(server.json(&args)["order"]["state"], "ORDER_STATE_RETURNED");
    }
    let returns = list_all(&server, &["returns"]);
    let newest_first: Vec<&str> = returned.iter().rev().map(|row| row.order_id.as_str()).collect();
    let listed: Vec<&str> = returns.iter().map(|order| order["orderId"].as_str().unwrap()).collect();
    assert_eq!(listed, newest_first);

    // A crash in the middle of the day.
    server.kill();
    let server = Server::start(dir.path());
    let expired = accept_and_expire(&server, dir.path(), 100);
    let back: Vec<&str> = newest_first.iter().copied().chain(expired.iter().map(String::as_str)).collect();
    for batch in back.chunks(100) {
        server.json(&["return-to-courier", "--order-ids", &batch.join(",")]);
    }
    assert!(list_all(&server, &["returns"]).is_empty());

    let count = |state: &str| list_all(&server, &["list", "--states", state]).len();
    assert_eq!(count("stored"), ORDERS - issued.len());
    assert_eq!(count("issued"), issued.len() - returned.len());
    assert_eq!(count("returned"), 0);
    assert_eq!(count("handed_to_courier"), returned.len() + expired.len());
    let events = list_all(&server, &["events"]);
    let changes = issued.len() + returned.len() + expired.len() + back.len();
    assert_eq!(events.len(), ORDERS + changes);
    let history = list_all(&server, &["history", &returned[0].order_id]);
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

/// Every order that the import reported as accepted is stored after each kill, and
/// the last import completes the file.
#[test]
fn an_import_survives_twenty_kills() {
    let dir = tempfile::tempdir().unwrap();
    let day = Day::generate(SEED + 1, now());
    let csv = file(dir.path(), "day.csv", &day.csv());
    let mut acknowledged = BTreeSet::new();
    let mut stored = BTreeSet::new();
    for round in 0..20 {
        let server = Server::start(dir.path());
        // An unread pipe would block the import; a file does not.
        let results = dir.path().join("results.ndjson");
        let mut client = server
            .cli(&["import", &csv, "--output=ndjson"])
            .stdout(std::fs::File::create(&results).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A different moment in each round, given as a number of events.
        let goal = (stored.len() + round * 97 + 1).min(ORDERS);
        let mut seen = 0;
        eventually(&format!("round {round}: {goal} events are stored"), || {
            seen += list_all(&server, &["events", "--after", &seen.to_string()]).len();
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
        let orders = list_all(&server, &["list"]);
        stored = orders.iter().map(|order| order["orderId"].as_str().unwrap().to_owned()).collect();
        assert!(acknowledged.is_subset(&stored), "round {round}: an acknowledged order is missing");
        server.stop();
    }
    let server = Server::start(dir.path());
    let before = list_all(&server, &["list"]).len();
    let (summary, _) = import(&server, &csv);
    assert_summary(&summary, &day, ORDERS - before, before);
    server.stop();
    assert_verified(dir.path());
}
