//! A broker and a database, a cell of processes on them, its load and its
//! check.

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

/// What is bounced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Relay,
    Consumer,
    Broker,
    Database,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounce {
    Kill,
    Term,
}

/// A broker and a database that nobody else uses.
pub struct Stage {
    broker: Broker,
    cluster: Cluster,
    cells: usize,
}

impl Stage {
    pub fn new() -> Self {
        let mut broker = Broker::new();
        broker.start();
        Self { broker, cluster: Cluster::start(), cells: 0 }
    }
}

/// The processes of a cell: one that takes commands and publishes nothing, the
/// relays, and a consumer.
pub struct Cell {
    dir: TempDir,
    topic: String,
    store: String,
    events: String,
    front: Server,
    relays: Vec<Option<Server>>,
    consumer: Option<Consumer>,
}

impl Cell {
    pub fn start(stage: &mut Stage, relays: usize) -> Self {
        stage.cells += 1;
        let name = format!("cell_{}", stage.cells);
        stage.cluster.create_database(&name);
        let dir = tempfile::tempdir().unwrap();
        let store = format!("postgres://pvz@127.0.0.1:{}/{name}", stage.cluster.port);
        let topic = name;
        let events = format!("kafka://{}/{topic}", stage.broker.address());
        let inbox = dir.path().join("inbox.db");
        let consumers = format!("PVZ_CONSUMER_STORE=sqlite:{}", inbox.display());
        let store_flag = format!("--store={store}");
        let front =
            Server::start_with_env(dir.path(), &[&store_flag, "--events=none:", "--migrate"], &[&consumers]);
        let mut cell = Self { dir, topic, store, events, front, relays: Vec::new(), consumer: None };
        cell.relays = (0..relays).map(|_| Some(cell.relay())).collect();
        cell.consumer = Some(cell.consume());
        cell
    }

    fn relay(&self) -> Server {
        let (store, events) = (format!("--store={}", self.store), format!("--events={}", self.events));
        Server::start_with(self.dir.path(), &[&store, &events])
    }

    fn consume(&self) -> Consumer {
        let inbox = format!("sqlite:{}", self.dir.path().join("inbox.db").display());
        Consumer::start(self.dir.path(), &self.events, &inbox)
    }

    /// Ends the victim and starts it again.
    pub fn bounce(&mut self, stage: &mut Stage, victim: Victim, bounce: Bounce) {
        match victim {
            Victim::Relay => {
                // Whoever leads is the one to go: with two, both go in turn.
                self.relays.rotate_left(1);
                let relay = self.relays[0].take().unwrap();
                if bounce == Bounce::Kill {
                    relay.kill();
                } else {
                    relay.stop();
                }
                self.relays[0] = Some(self.relay());
            }
            Victim::Consumer => {
                let consumer = self.consumer.take().unwrap();
                if bounce == Bounce::Kill {
                    consumer.kill();
                } else {
                    consumer.stop();
                }
                self.consumer = Some(self.consume());
            }
            Victim::Broker => {
                if bounce == Bounce::Kill {
                    stage.broker.kill();
                } else {
                    stage.broker.stop();
                }
                stage.broker.start();
            }
            Victim::Database => {
                if bounce == Bounce::Kill {
                    stage.cluster.crash();
                } else {
                    stage.cluster.stop();
                }
                stage.cluster.run();
            }
        }
    }

    /// A load of so many orders, each accepted and issued.
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

    /// Waits until everything has arrived, and holds it against the store.
    pub fn check(mut self, stage: &Stage, load: &Load) -> Checked {
        let stored = self.stored();
        let expected = 2 * load.orders;
        assert_eq!(stored.len(), expected, "every order was accepted and issued");
        let broker = stage.broker.address();
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
        // Of each order in sequence, and in its partition: the reader checks.
        let partitions: Vec<Vec<Record>> = block_on(topic::read(&broker, &self.topic));
        let records = partitions.iter().map(Vec::len).sum();
        let found = topic::deduplicated(&partitions);
        assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), stored, "the topic has what the store has");
        self.stop();
        Checked { events: expected, records }
    }

    /// Order and sequence of every event in the store, and the oracle over it.
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

    /// Everything that is left ends cleanly.
    fn stop(&mut self) {
        self.consumer.take().unwrap().stop();
        for relay in self.relays.drain(..).flatten() {
            relay.stop();
        }
    }
}

/// What a cell came to.
pub struct Checked {
    pub events: usize,
    pub records: usize,
}

/// Orders to accept and to issue, over and over until they are.
pub struct Load {
    server: String,
    file: PathBuf,
    orders: usize,
}

impl Load {
    /// The database may go away under it: what did not come through is said
    /// again, with the same ids and keys.
    pub fn run(&self) {
        let file = self.file.to_str().unwrap();
        eventually("the orders are accepted", || self.succeeds(&["import", file, "--output=json"]));
        // A batch is of one customer.
        for customer in 0..CUSTOMERS {
            let mine: Vec<usize> = (customer..self.orders).step_by(CUSTOMERS).collect();
            for batch in mine.chunks(100) {
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
