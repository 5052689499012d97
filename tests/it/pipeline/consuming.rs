//! `pvz consume`: kills, replays, rewinds, shared topics and undecodable records.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use serde_json::Value;

use super::consumer::{Consumer, consume, once};
use crate::kafka::broker::Broker;
use crate::kafka::topic;
use crate::postgres::cluster::cluster;
use crate::process::{Server, eventually, file};
use crate::support::runtime::block_on;

/// Starts a server, and runs commands: accepts `orders`, issues half of them, and
/// accepts the return of a tenth.
pub fn served_day(dir: &Path, flags: &[&str], orders: usize) -> Server {
    let server = Server::start_with(dir, flags);
    let until = SystemClock.now().plus(Duration::from_hours(240));
    let mut csv = String::from("order_id,customer_id,storage_until,price,weight,packaging\n");
    for number in 0..orders {
        writeln!(csv, "o-{number},anna,{until},{number},1kg,bag").unwrap();
    }
    let rows = file(dir, "rows.csv", &csv);
    assert!(server.cli(&["import", &rows, "--output=json"]).output().unwrap().status.success());
    let numbers: Vec<usize> = (0..orders / 2).collect();
    for batch in numbers.chunks(100) {
        let ids: Vec<String> = batch.iter().map(|number| format!("o-{number}")).collect();
        server.json(&["issue", "--order-ids", &ids.join(",")]);
    }
    for number in 0..orders / 10 {
        server.json(&["accept-return", "--order-id", &format!("o-{number}"), "--customer-id=anna"]);
    }
    server
}

pub fn days(server: &Server) -> Vec<Value> {
    let answer = server.json(&["stats", "--all"]);
    answer["days"].as_array().unwrap().clone()
}

/// Waits until the sink has every event.
pub fn wait_until_published(server: &Server) {
    eventually("every event is published", || {
        server.json(&["outbox", "status"])["lagEvents"].as_str() == Some("0")
    });
}

pub fn total(days: &[Value], field: &str) -> i64 {
    days.iter().map(|day| day[field].as_str().unwrap().parse::<i64>().unwrap()).sum()
}

/// Asserts that the statistics are those of [`served_day`].
pub fn assert_day(server: &Server, orders: i64) {
    let days = days(server);
    let price = |count: i64| (0..count).map(|number| number * 100 + 500).sum::<i64>();
    for (field, expected) in [
        ("accepted", orders),
        ("issued", orders / 2),
        ("returned", orders / 10),
        ("handedToCourier", 0),
        ("surchargeMinor", orders * 500),
        ("acceptedMinor", price(orders)),
        ("issuedMinor", price(orders / 2)),
        ("returnedMinor", price(orders / 10)),
    ] {
        assert_eq!(total(&days, field), expected, "{field}");
    }
}

pub fn inbox(dir: &Path) -> String {
    format!("sqlite:{}", dir.join("consumer.db").display())
}

#[test]
fn journal_that_does_not_exist_is_not_consumed_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = format!("journal:{}", dir.path().join("evnts").display());
    let output = consume(dir.path(), &journal, &inbox(dir.path())).arg("--once").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{log}");
    assert!(log.contains("evnts does not exist, so there is nothing to consume; check events.url"), "{log}");
    // A server that has published nothing has a journal.
    let server = Server::start(dir.path());
    let journal = format!("journal:{}", dir.path().join("events").display());
    assert!(once(dir.path(), &journal, &inbox(dir.path()), &[]).starts_with("read 0 records"));
    server.stop();
}

#[test]
fn rewound_journal_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = served_day(dir.path(), &[], 200);
    let journal = format!("journal:{}", dir.path().join("events").display());
    assert!(days(&server).is_empty(), "no consumer has run");
    assert_eq!(server.json(&["stats"]).get("asOf"), None);
    let stats = |flags: &[&str]| {
        let output = server.cli(&[&["stats"][..], flags].concat()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(stats(&[]).contains("as of: not known; no consumer has read from where this server publishes"));
    wait_until_published(&server);
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert_eq!(
        printed,
        "read 320 records: 320 new events, 0 duplicates, 0 of unknown types, 0 undecodable\n"
    );
    assert_day(&server, 200);
    let lag = || {
        let statistics = server.json(&["stats"]);
        assert!(statistics["asOf"].is_string(), "{statistics}");
        ["countedCursor", "lagEvents", "consumers"].map(|field| statistics[field].to_string())
    };
    assert_eq!(lag(), ["\"320\"", "\"0\"", "0"]);
    assert!(stats(&[]).contains(": all events are counted\n"), "{}", stats(&[]));
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert!(printed.starts_with("read 0 records"), "{printed}");
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &["--rewind", "--from=earliest"]);
    assert!(printed.starts_with("read 320 records: 0 new events, 320 duplicates"), "{printed}");
    assert_day(&server, 200);
    let printed =
        once(dir.path(), &journal, &inbox(dir.path()), &["--rewind", "--from=2031-01-01T00:00:00Z"]);
    assert!(printed.starts_with("read 0 records"), "no event is this late: {printed}");
    let deadline = SystemClock.now().plus(Duration::from_hours(240)).to_string();
    server.json(&["accept", "--order-id=later", "--customer-id=anna", "--storage-until", &deadline]);
    assert_eq!(lag(), ["\"320\"", "\"1\"", "0"]);
    let behind = "up to 1 later events are not counted yet";
    assert!(stats(&[]).contains(behind) && stats(&["--output=ndjson"]).contains(behind), "{}", stats(&[]));
    server.stop();
}

#[test]
fn repeatedly_killed_consumer_counts_each_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = served_day(dir.path(), &[], 3_000);
    let journal = format!("journal:{}", dir.path().join("events").display());
    for round in 0..20 {
        let consumer = Consumer::start(dir.path(), &journal, &inbox(dir.path()));
        // The kill comes later in each round.
        let goal = round * 120;
        eventually("the consumer makes progress", || total(&days(&server), "accepted") >= goal.min(3_000));
        consumer.kill();
    }
    let consumer = Consumer::start(dir.path(), &journal, &inbox(dir.path()));
    eventually("everything is read", || total(&days(&server), "returned") >= 300);
    consumer.stop();
    assert_day(&server, 3_000);
    server.stop();
}

#[test]
fn consumers_that_share_a_topic_count_each_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let database = block_on(cluster().database(true));
    let url = format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name);
    let events = format!("kafka://{}/shared-consumers", Broker::shared().address());
    let (store, events_flag) = (format!("--store={url}"), format!("--events={events}"));
    let inbox = format!("PVZ_CONSUMER_STORE={url}");
    let front = Server::start_with_env(dir.path(), &[&store, "--events=none:"], &[&inbox]);
    let first = Consumer::start(dir.path(), &events, &url);
    let second = Consumer::start(dir.path(), &events, &url);
    let server = served_day(dir.path(), &[&store, &events_flag], 1_000);
    let third = Consumer::start(dir.path(), &events, &url);
    second.kill();
    eventually("everything is read", || {
        let days = days(&front);
        total(&days, "accepted") >= 1_000 && total(&days, "returned") >= 100
    });
    assert_day(&front, 1_000);
    // Another consumer reads the whole topic again.
    first.stop();
    third.stop();
    let printed = once(dir.path(), &events, &url, &["--rewind"]);
    assert!(printed.contains(" 0 new events, 1600 duplicates"), "{printed}");
    assert_day(&front, 1_000);
    server.stop();
    front.stop();
}

#[test]
fn undecodable_records_are_written_to_the_dead_letter_topic() {
    let dir = tempfile::tempdir().unwrap();
    let events = format!("kafka://{}/poisoned", Broker::shared().address());
    let flag = format!("--events={events}");
    let server = served_day(dir.path(), &[&flag], 40);
    wait_until_published(&server);
    let broker = Broker::shared().address();
    let poison: [&[u8]; 3] = [b"{\"eventId\":\"", b"not json at all", b"\xff\x00"];
    for bytes in poison {
        block_on(topic::write(broker.clone(), "poisoned".to_owned(), bytes.to_vec()));
    }
    let later = b"{\"type\":\"EVENT_TYPE_ORDER_MOVED\",\"eventId\":\"1\"}".to_vec();
    block_on(topic::write(broker.clone(), "poisoned".to_owned(), later));
    let printed = once(dir.path(), &events, &inbox(dir.path()), &[]);
    assert_eq!(printed, "read 68 records: 64 new events, 0 duplicates, 1 of unknown types, 3 undecodable\n");
    assert_day(&server, 40);
    let records: Vec<_> = block_on(topic::read(&broker, "poisoned.dlq")).into_iter().flatten().collect();
    let values: Vec<Vec<u8>> = records.iter().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!(values, poison.map(<[u8]>::to_vec));
    for record in &records {
        assert_eq!(topic::header(record, "pvz_topic"), "poisoned");
        assert!(topic::header(record, "pvz_offset").parse::<i64>().is_ok());
    }
    server.stop();
}
