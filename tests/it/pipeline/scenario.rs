//! The processes of a scenario, their broker and database, the load and the checks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use rskafka::record::Record;
use serde_json::Value;
use tempfile::TempDir;

use super::consumer::Consumer;
use crate::kafka::broker::Broker;
use crate::kafka::topic;
use crate::postgres::cluster::Cluster;
use crate::process::{Server, eventually, pvz};
use crate::support::runtime::block_on;

const CUSTOMERS: usize = 50;

/// The component that is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    Relay,
    Consumer,
    Broker,
    Database,
}

/// The signal that ends the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartSignal {
    Kill,
    Term,
}

/// A broker and a database that no other test uses.
pub struct TestCluster {
    broker: Broker,
    postgres: Cluster,
    scenarios: usize,
}

impl TestCluster {
    pub fn new() -> Self {
        let mut broker = Broker::new();
        broker.start();
        Self { broker, postgres: Cluster::start(), scenarios: 0 }
    }
}

/// The processes of a scenario: a server that accepts commands and publishes
/// nothing, the relays, and a consumer.
pub struct Scenario {
    dir: TempDir,
    topic: String,
    store: String,
    events: String,
    front: Server,
    relays: Vec<Option<Server>>,
    consumer: Option<Consumer>,
}

impl Scenario {
    pub fn start(cluster: &mut TestCluster, relays: usize) -> Self {
        cluster.scenarios += 1;
        let name = format!("scenario_{}", cluster.scenarios);
        cluster.postgres.create_database(&name);
        let dir = tempfile::tempdir().unwrap();
        let store = format!("postgres://pvz@127.0.0.1:{}/{name}", cluster.postgres.port);
        let topic = name;
        let events = format!("kafka://{}/{topic}", cluster.broker.address());
        let inbox = dir.path().join("inbox.db");
        let consumers = format!("PVZ_CONSUMER_STORE=sqlite:{}", inbox.display());
        let store_flag = format!("--store={store}");
        let front =
            Server::start_with_env(dir.path(), &[&store_flag, "--events=none:", "--migrate"], &[&consumers]);
        let mut scenario = Self { dir, topic, store, events, front, relays: Vec::new(), consumer: None };
        scenario.relays = (0..relays).map(|_| Some(scenario.start_relay())).collect();
        scenario.consumer = Some(scenario.start_consumer());
        scenario
    }

    fn start_relay(&self) -> Server {
        let (store, events) = (format!("--store={}", self.store), format!("--events={}", self.events));
        Server::start_with(self.dir.path(), &[&store, &events])
    }

    fn start_consumer(&self) -> Consumer {
        let inbox = format!("sqlite:{}", self.dir.path().join("inbox.db").display());
        Consumer::start(self.dir.path(), &self.events, &inbox)
    }

    /// Ends a component, and starts it again.
    pub fn restart(&mut self, cluster: &mut TestCluster, component: Component, signal: RestartSignal) {
        match component {
            Component::Relay => {
                // Two relays are restarted in turn, so that the leader is among them.
                self.relays.rotate_left(1);
                let relay = self.relays[0].take().unwrap();
                if signal == RestartSignal::Kill {
                    relay.kill();
                } else {
                    relay.stop();
                }
                self.relays[0] = Some(self.start_relay());
            }
            Component::Consumer => {
                let consumer = self.consumer.take().unwrap();
                if signal == RestartSignal::Kill {
                    consumer.kill();
                } else {
                    consumer.stop();
                }
                self.consumer = Some(self.start_consumer());
            }
            Component::Broker => {
                if signal == RestartSignal::Kill {
                    cluster.broker.kill();
                } else {
                    cluster.broker.stop();
                }
                cluster.broker.start();
            }
            Component::Database => {
                if signal == RestartSignal::Kill {
                    cluster.postgres.crash();
                } else {
                    cluster.postgres.stop();
                }
                cluster.postgres.run();
            }
        }
    }

    /// Returns the load: orders that are accepted and issued.
    pub fn load(&self, orders: usize) -> Load {
        let until = SystemClock.now().plus(std::time::Duration::from_hours(240));
        let mut csv = String::from("order_id,customer_id,storage_until,price\n");
        for number in 0..orders {
            writeln!(csv, "order-{number},customer-{},{until},{}", number % CUSTOMERS, number % 1_000)
                .unwrap();
        }
        let file = self.dir.path().join("orders.csv");
        std::fs::write(&file, csv).unwrap();
        Load { server: self.front.grpc.clone(), file, orders }
    }

    /// Waits until every event has arrived, and compares the topic and the statistics
    /// with the store.
    pub fn check(mut self, cluster: &TestCluster, load: &Load) -> Checked {
        let stored = self.stored();
        let expected = 2 * load.orders;
        assert_eq!(stored.len(), expected, "every order was accepted and issued");
        let broker = cluster.broker.address();
        let orders = i64::try_from(load.orders).unwrap();
        let mut days: Vec<Value> = Vec::new();
        let sum = |days: &[Value], field: &str| -> i64 {
            days.iter().map(|day| day[field].as_str().unwrap().parse::<i64>().unwrap()).sum()
        };
        eventually("the consumer has read everything", || {
            let output = self.front.cli(&["stats", "--all", "--output=ndjson"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            days = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            output.status.success() && sum(&days, "accepted") >= orders && sum(&days, "issued") >= orders
        });
        let prices: i64 = (0..orders).map(|number| number % 1_000 * 100).sum();
        for (field, expected) in [
            ("accepted", orders),
            ("issued", orders),
            ("returned", 0),
            ("acceptedMinor", prices),
            ("issuedMinor", prices),
        ] {
            assert_eq!(sum(&days, field), expected, "{field}");
        }
        // `deduplicated` also checks partitions and sequences.
        let partitions: Vec<Vec<Record>> = block_on(topic::read(&broker, &self.topic));
        let records = partitions.iter().map(Vec::len).sum();
        let found = topic::deduplicated(&partitions);
        assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), stored, "the topic has what the store has");
        self.stop();
        Checked { events: expected, records }
    }

    /// Verifies the store, and returns the order and sequence of every event.
    fn stored(&self) -> BTreeSet<(String, i64)> {
        let args = ["events", "--all", "--page-size=1000", "--output=ndjson"];
        let output = self.front.cli(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let verified = pvz().arg("verify").arg(format!("--store={}", self.store)).output().unwrap();
        assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
        let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .map(|event| (text(&event["order"]["orderId"]), text(&event["sequence"]).parse().unwrap()))
            .collect()
    }

    /// Stops the relays and the consumer, which must exit with code 0.
    fn stop(&mut self) {
        self.consumer.take().unwrap().stop();
        for relay in self.relays.drain(..).flatten() {
            relay.stop();
        }
    }
}

/// The numbers of events in the store and of records in the topic.
pub struct Checked {
    pub events: usize,
    pub records: usize,
}

/// Orders to accept and issue.
pub struct Load {
    server: String,
    file: PathBuf,
    orders: usize,
}

impl Load {
    /// Accepts and issues the orders. Retries failed commands with the same ids and
    /// keys, because the database may be restarted.
    pub fn run(&self) {
        let file = self.file.to_str().unwrap();
        eventually("the orders are accepted", || self.succeeds(&["import", file, "--output=json"]));
        // The orders of a batch must be of one customer.
        for customer in 0..CUSTOMERS {
            let numbers: Vec<usize> = (customer..self.orders).step_by(CUSTOMERS).collect();
            for batch in numbers.chunks(100) {
                let ids: Vec<String> = batch.iter().map(|number| format!("order-{number}")).collect();
                let ids = format!("--order-ids={}", ids.join(","));
                let key = format!("--request-id=issue-{}", batch[0]);
                let issue = ["issue", ids.as_str(), key.as_str(), "--output=json"];
                eventually("the orders are issued", || self.succeeds(&issue));
            }
        }
    }

    fn succeeds(&self, args: &[&str]) -> bool {
        let output = pvz().args(args).env("PVZ_SERVER", &self.server).output().unwrap();
        let (code, text) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
        assert!(matches!(code, Some(0 | 6)), "pvz {args:?}: {code:?} {text}");
        code == Some(0)
    }
}
