//! `pvz consume` on its own: killed, replayed, rewound, joined by others, and
//! fed what is no event.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use serde_json::Value;

use super::consumer::{Consumer, once};
use crate::kafka::broker::Broker;
use crate::kafka::topic;
use crate::postgres::cluster::cluster;
use crate::process::{Server, eventually, file};
use crate::support::runtime::block_on;

/// A point with a day of orders behind it: so many accepted, half of them
/// issued, and a tenth brought back.
fn a_day(dir: &Path, flags: &[&str], orders: usize) -> Server {
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

fn days(server: &Server) -> Vec<Value> {
    let answer = server.json(&["stats", "--all"]);
    answer["days"].as_array().unwrap().clone()
}

fn total(days: &[Value], field: &str) -> i64 {
    days.iter().map(|day| day[field].as_str().unwrap().parse::<i64>().unwrap()).sum()
}

/// The statistics are what `a_day` of so many orders adds up to.
fn assert_day(server: &Server, orders: i64) {
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

fn inbox(dir: &Path) -> String {
    format!("sqlite:{}", dir.join("consumer.db").display())
}

#[test]
fn a_journal_is_read_once_and_reading_it_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = a_day(dir.path(), &[], 200);
    let journal = format!("journal:{}", dir.path().join("events").display());
    assert!(days(&server).is_empty(), "nobody has consumed yet");
    eventually("the events are in the journal", || {
        server.json(&["outbox", "status"])["lagEvents"].as_str() == Some("0")
    });
    let said = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert_eq!(said, "read 320 records: 320 new events, 0 duplicates, 0 of unknown types, 0 undecodable\n");
    assert_day(&server, 200);
    let said = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert!(said.starts_with("read 0 records"), "{said}");
    let said = once(dir.path(), &journal, &inbox(dir.path()), &["--rewind", "--from=earliest"]);
    assert!(said.starts_with("read 320 records: 0 new events, 320 duplicates"), "{said}");
    assert_day(&server, 200);
    let said = once(dir.path(), &journal, &inbox(dir.path()), &["--rewind", "--from=2031-01-01T00:00:00Z"]);
    assert!(said.starts_with("read 0 records"), "nothing happened so late: {said}");
    server.stop();
}

#[test]
fn a_consumer_that_is_killed_twenty_times_counts_each_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = a_day(dir.path(), &[], 3_000);
    let journal = format!("journal:{}", dir.path().join("events").display());
    for round in 0..20 {
        let consumer = Consumer::start(dir.path(), &journal, &inbox(dir.path()));
        // Another moment each time: from its first fetch to somewhere behind.
        let goal = round * 120;
        eventually("it gets on", || total(&days(&server), "accepted") >= goal.min(3_000));
        consumer.kill();
    }
    let consumer = Consumer::start(dir.path(), &journal, &inbox(dir.path()));
    eventually("everything is read", || total(&days(&server), "returned") >= 300);
    consumer.stop();
    assert_day(&server, 3_000);
    server.stop();
}

#[test]
fn consumers_that_come_and_go_share_a_topic_without_counting_anything_twice() {
    let dir = tempfile::tempdir().unwrap();
    let database = block_on(cluster().database(true));
    let url = format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name);
    let events = format!("kafka://{}/shared-consumers", Broker::shared().address());
    let (store, events_flag) = (format!("--store={url}"), format!("--events={events}"));
    let inbox = format!("PVZ_CONSUMER_STORE={url}");
    let front = Server::start_with_env(dir.path(), &[&store, "--events=none:"], &[&inbox]);
    let first = Consumer::start(dir.path(), &events, &url);
    let second = Consumer::start(dir.path(), &events, &url);
    let server = a_day(dir.path(), &[&store, &events_flag], 1_000);
    let third = Consumer::start(dir.path(), &events, &url);
    second.kill();
    eventually("everything is read", || {
        let days = days(&front);
        total(&days, "accepted") >= 1_000 && total(&days, "returned") >= 100
    });
    assert_day(&front, 1_000);
    // The whole topic again, by somebody else.
    first.stop();
    third.stop();
    let said = once(dir.path(), &events, &url, &["--rewind"]);
    assert!(said.contains(" 0 new events, 1600 duplicates"), "{said}");
    assert_day(&front, 1_000);
    server.stop();
    front.stop();
}

#[test]
fn poison_in_a_topic_blocks_nobody_and_is_found_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let events = format!("kafka://{}/poisoned", Broker::shared().address());
    let flag = format!("--events={events}");
    let server = a_day(dir.path(), &[&flag], 40);
    eventually("the events are in the topic", || {
        server.json(&["outbox", "status"])["lagEvents"].as_str() == Some("0")
    });
    let broker = Broker::shared().address();
    let poison: [&[u8]; 3] = [b"{\"eventId\":\"", b"not json at all", b"\xff\x00"];
    for bytes in poison {
        block_on(topic::write(broker.clone(), "poisoned".to_owned(), bytes.to_vec()));
    }
    let future = b"{\"type\":\"EVENT_TYPE_ORDER_MOVED\",\"eventId\":\"1\"}".to_vec();
    block_on(topic::write(broker.clone(), "poisoned".to_owned(), future));
    let said = once(dir.path(), &events, &inbox(dir.path()), &[]);
    assert_eq!(said, "read 68 records: 64 new events, 0 duplicates, 1 of unknown types, 3 undecodable\n");
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
