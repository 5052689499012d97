//! `pvz consume` processes with a real broker and real databases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pvz::adapters::kafka::{KafkaConnection, KafkaOptions, KafkaSink};
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use pvz::domain::Event;
use pvz::ports::{EventSink as _, Inbox as _, LoggedEvent, Position};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use rustix::process::{Pid, Signal, kill_process};

use super::broker::Broker;
use super::{connection, options, topic};
use crate::contract::fixtures::point;
use crate::postgres::cluster::{Database, cluster};
use crate::postgres::inbox::{applied_events, event_keys, expected_statistics, lifecycles, statistics};
use crate::process::{Server, eventually, pvz};
use crate::support::runtime::block_on;

/// Returns the command of a consumer, with its data directory.
fn consume(dir: &Path, broker: &str, topic: &str, inbox: &str) -> Command {
    let mut command = pvz();
    command.arg("consume").arg(format!("--events=kafka://{broker}/{topic}"));
    command.arg(format!("--inbox={inbox}")).arg(format!("--data-dir={}", dir.display()));
    command.env("PVZ_CONSUMER_ADMIN_ADDR", "127.0.0.1:0").env("PVZ_CONSUMER_LEASE", "1s");
    command
}

/// Runs a consumer with `--once`, and returns the summary that it prints.
fn consume_once(dir: &Path, topic: &str, inbox: &str, flags: &[&str]) -> String {
    let output = consume(dir, &Broker::shared().address(), topic, inbox).arg("--once").args(flags).output();
    let output = output.unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn url(database: &Database) -> String {
    format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name)
}

/// Writes records to each partition of a topic, as another producer.
async fn produce_raw(topic: &str, records: Vec<Record>) {
    let client = ClientBuilder::new(vec![Broker::shared().address()]).build().await.unwrap();
    for partition in 0..8 {
        let partition = client.partition_client(topic, partition, UnknownTopicHandling::Retry).await.unwrap();
        partition.produce(records.clone(), Compression::NoCompression).await.unwrap();
    }
}

fn raw_record(value: &[u8], headers: &[(&str, &str)]) -> Record {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    let (key, value) = (Some(b"anna-1".to_vec()), Some(value.to_vec()));
    Record { key, value, headers: headers.collect(), timestamp: rskafka::chrono::DateTime::default() }
}

#[test]
fn topic_that_does_not_exist_is_not_consumed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, inbox) =
        (Broker::shared().address(), format!("sqlite:{}/consumer.db", dir.path().display()));
    let output = consume(dir.path(), &broker, "never-created", &inbox).arg("--once").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{log}");
    let missing = format!("kafka://{broker}/never-created does not exist, so there is nothing to consume");
    assert!(log.contains(&missing), "{log}");
}

#[test]
fn statistics_match_the_commands_despite_foreign_records() {
    let dir = tempfile::tempdir().unwrap();
    let flag = format!("--events=kafka://{}/consumed", Broker::shared().address());
    let server = Server::start_with(dir.path(), &[&flag]);
    for order_id in ["anna-1", "boris-2"] {
        let args =
            ["accept", "--order-id", order_id, "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"];
        server.json(&[&args[..], &["--pickup-point=kazan-7", "--price=150.50"]].concat());
    }
    server.json(&["issue", "--order-ids=anna-1", "--pickup-point=kazan-7"]);
    server.json(&["accept-return", "--order-id=anna-1", "--customer-id=7", "--pickup-point=kazan-7"]);
    let address = Broker::shared().address();
    eventually("the events are in the topic", || block_on(topic::count(&address, "consumed")) >= 4);
    let records = block_on(topic::read(&address, "consumed"));
    let found = topic::deduplicated(&records);
    let whole = found.values().next().unwrap().value.clone().unwrap();
    let lost = String::from_utf8(whole.clone()).unwrap().replace("ORDER_ACCEPTED", "ORDER_LOST");
    let foreign = vec![
        raw_record(b"\xff\x00", &[]),
        raw_record(&whole[..whole.len() / 2], &[("content-type", "application/json")]),
        raw_record(lost.as_bytes(), &[]),
        raw_record(&whole, &[("ce_type", "pvz.order.accepted.v2")]),
    ];
    block_on(produce_raw("consumed", foreign));

    let database = block_on(cluster().database(true));
    let written: usize = records.iter().map(Vec::len).sum();
    let known = written - 4;
    let sqlite = format!("sqlite:{}", dir.path().join("inbox.db").display());
    for inbox in [url(&database), sqlite] {
        let printed = consume_once(dir.path(), "consumed", &inbox, &[]);
        let all = written + 32;
        let rest = "16 of unknown types, 16 undecodable";
        assert_eq!(printed, format!("read {all} records: 4 new events, {known} duplicates, {rest}"));
        // A second run has nothing to read, and a rewound one counts nothing twice.
        let printed = consume_once(dir.path(), "consumed", &inbox, &[]);
        assert_eq!(printed, "read 0 records: 0 new events, 0 duplicates, 0 of unknown types, 0 undecodable");
        let printed = consume_once(dir.path(), "consumed", &inbox, &["--rewind", "--from=earliest"]);
        assert_eq!(printed, format!("read {all} records: 0 new events, {written} duplicates, {rest}"));
    }
    let days = block_on(async { statistics(&database.open().await).await });
    assert_eq!((days.len(), days[0].accepted, days[0].issued, days[0].returned), (1, 2, 1, 1));
    assert_eq!(days[0].accepted_minor, 2 * 15_050 + days[0].surcharge_minor);
    let sqlite = SqliteStore::open(&dir.path().join("inbox.db"), &SqliteOptions::default()).unwrap();
    assert_eq!(block_on(statistics(&sqlite)), days);
    let ids: BTreeSet<(String, i64)> = found.into_keys().collect();
    assert_eq!(block_on(applied_events(&database)), Vec::from_iter(ids));
    // Each of the two consumers read them twice and wrote dead letters each time.
    let dead_letters = block_on(topic::read(&address, "consumed.dlq"));
    let counts: BTreeMap<(String, String), usize> =
        dead_letters.iter().flatten().fold(BTreeMap::new(), |mut counts, record| {
            let origin = (topic::header(record, "pvz_partition"), topic::header(record, "pvz_offset"));
            *counts.entry(origin).or_default() += 1;
            counts
        });
    assert!(counts.len() == 16 && counts.values().all(|count| *count == 4), "{counts:?}");
    server.stop();
}

/// A running consumer. Dropping it kills the process.
struct Consumer(Child);

impl Consumer {
    fn start(dir: &Path, broker: &str, topic: &str, inbox: &str) -> Self {
        let mut command = consume(dir, broker, topic, inbox);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        eventually("the consumer ends", || self.0.try_wait().unwrap().is_some());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn publish(options: &KafkaOptions, events: &[Event]) {
    let logged =
        |(position, event): (i64, &Event)| LoggedEvent { position: Position(position), event: event.clone() };
    let logged: Vec<LoggedEvent> = (1..).zip(events).map(logged).collect();
    let sink = KafkaSink::new(options.clone());
    // Retried as a relay does, so some events are written twice.
    eventually("the events are published", || block_on(sink.publish(&logged)).failure.is_none());
}

/// Returns the consumers that hold leases, and the number of partitions without a
/// lease.
fn readers(database: &Database, source: &str) -> (BTreeSet<String>, usize) {
    let progress = block_on(async { database.open().await.progress(source).await.unwrap() });
    let idle = progress.iter().filter(|progress| progress.consumer.is_none()).count();
    (progress.into_iter().filter_map(|progress| progress.consumer).collect(), idle)
}

#[test]
fn killed_consumers_and_a_restarted_broker_lose_and_double_nothing() {
    let mut broker = Broker::new();
    broker.start();
    let database = block_on(cluster().database(true));
    let (address, inbox) = (broker.address(), url(&database));
    let connection = KafkaConnection { timeout: Duration::from_secs(5), ..connection(address.clone()) };
    let options = KafkaOptions { connection, partitions: 8, ..options("killed") };
    let orders = std::env::var("PVZ_TEST_CONSUMED_ORDERS").map_or(1_200, |orders| orders.parse().unwrap());
    let events = lifecycles((0..orders).map(|number| format!("order-{number}")), &point("main"));
    let mut parts = events.chunks(events.len().div_ceil(4));
    let mut publish_next = || publish(&options, parts.next().unwrap());
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let start = |number: usize| Consumer::start(dirs[number].path(), &address, "killed", &inbox);
    let shared_by = |count: usize| {
        eventually(&format!("{count} consumers share all partitions"), || {
            let (readers, idle) = readers(&database, "kafka:killed");
            readers.len() == count && idle == 0
        });
    };

    publish_next();
    let (first, second) = (start(0), start(1));
    shared_by(2);
    publish_next();
    let third = start(2);
    shared_by(3);
    drop(first);
    publish_next();
    shared_by(2);
    broker.kill();
    broker.start();
    publish_next();
    eventually("everything is read", || block_on(applied_events(&database)).len() >= events.len());
    // Later deliveries are duplicates.
    second.stop();
    third.stop();
    assert_eq!(block_on(applied_events(&database)), event_keys(&events));
    let days = block_on(async { statistics(&database.open().await).await });
    assert_eq!(days, expected_statistics(&events));
    let gaps = block_on(async { database.open().await.gaps(1).await.unwrap() });
    assert_eq!(gaps.orders, 0);
    let (readers, _) = readers(&database, "kafka:killed");
    assert_eq!(readers, BTreeSet::new(), "stopped consumers release their leases");
}
