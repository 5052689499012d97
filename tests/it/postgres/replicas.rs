//! Replicas on one database and one topic: one of them publishes, and another
//! one does as soon as that was killed or stopped.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::cluster::{Database, cluster};
use crate::kafka::broker::Broker;
use crate::kafka::outage::{csv, stored};
use crate::kafka::topic;
use crate::process::{Server, TIMEOUT, eventually, file};
use crate::support::runtime::block_on;

const TOPIC: &str = "replicas";
const ORDERS: usize = 1_500;
/// `docs/architecture.md` promises three seconds, on a machine that has nothing else
/// to do.
const SOON: Duration = Duration::from_secs(20);

struct Scene {
    database: Database,
    folder: tempfile::TempDir,
}

impl Scene {
    fn replica(&self, name: &str) -> Server {
        let store = format!("--store=postgres://pvz@127.0.0.1:{}/{}", self.database.port, self.database.name);
        let events = format!("--events=kafka://{}/{TOPIC}", Broker::shared().address());
        Server::start_with(&self.folder.path().join(name), &[&store, &events])
    }

    /// Begins to accept orders there.
    fn import(&self, server: &Server, name: &str) -> Child {
        let rows = file(self.folder.path(), &format!("{name}.csv"), &csv(name, ORDERS));
        let mut import = server.cli(&["import", &rows, "--output=json"]);
        import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

/// Whether that one leads, as anybody sees it.
fn leads(leader: &Server, seen_by: &Server) -> bool {
    let status = seen_by.json(&["outbox", "status"]);
    let process = format!(":{}", leader.pid().as_raw_nonzero());
    status["led"] == true && status["leader"].as_str().is_some_and(|named| named.ends_with(&process))
}

fn published() -> usize {
    block_on(topic::count(&Broker::shared().address(), TOPIC))
}

/// Every event is in the topic, and those of each order are in sequence.
fn assert_complete(server: &Server) {
    let stored = stored(server);
    assert!(!stored.is_empty());
    let mut found = Vec::new();
    eventually("every event is in the topic", || {
        found = topic::deduplicated(&block_on(topic::read(&Broker::shared().address(), TOPIC)))
            .into_keys()
            .collect();
        found.len() >= stored.len()
    });
    assert_eq!(found, Vec::from_iter(stored));
}

#[test]
fn another_one_publishes_when_the_first_is_killed_or_stopped() {
    let database = block_on(cluster().database(true));
    let scene = Scene { database, folder: tempfile::tempdir().unwrap() };
    let first = scene.replica("first");
    eventually("it leads", || leads(&first, &first));
    let second = scene.replica("second");

    // The leader is killed while it publishes what comes through the other.
    let mut import = scene.import(&second, "killed");
    eventually("it publishes", || published() > 0);
    first.kill();
    let killed = Instant::now();
    eventually("the second one leads", || leads(&second, &second));
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    assert!(import.wait().unwrap().success(), "commands do not notice");
    assert_complete(&second);

    // The leader is stopped, and wakes up when another one has its place.
    let third = scene.replica("third");
    let before = published();
    let mut import = scene.import(&third, "stopped");
    eventually("it publishes", || published() > before);
    second.signal(Signal::STOP);
    let stopped = Instant::now();
    eventually("the third one leads", || leads(&third, &third));
    assert!(stopped.elapsed() < SOON, "{:?}", stopped.elapsed());
    second.signal(Signal::CONT);
    assert!(import.wait().unwrap().success(), "commands do not notice");
    third.json(&["issue", "--order-ids=stopped-1"]);
    second.json(&["issue", "--order-ids=stopped-2"]);
    assert_complete(&third);
    eventually("the one that was stopped sees who leads", || leads(&third, &second));
    let end = Instant::now() + TIMEOUT;
    while third.json(&["outbox", "status"])["lagEvents"] != "0" {
        assert!(Instant::now() < end, "the lag goes back to nothing");
    }
    second.stop();
    third.stop();
}
