//! Database faults under a load of all commands: terminated sessions, crashes, a
//! full disk. Commands with a reply are stored; the others are stored completely or
//! not at all (`docs/reliability.md`, T11).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pvz::adapters::postgres::migrate;

use super::load::{Exchange, Load, assert_replies_are_durable};
use super::test_service::{TestService, wait_until};
use crate::postgres::cluster::{Cluster, Database};

/// Time during which faults are injected.
const FAULT_DURATION: Duration = Duration::from_mins(1);
/// Duration of one load. Each load has its own orders, so that there are always new
/// ones.
const LOAD_DURATION: Duration = Duration::from_secs(5);

/// A database cluster of its own, and a service on it.
struct FaultyDatabase {
    cluster: Cluster,
    database: Database,
    service: TestService,
    dir: tempfile::TempDir,
}

impl FaultyDatabase {
    async fn start(variables: &[(String, String)]) -> Self {
        let cluster = Cluster::start_with(variables);
        let database = cluster.database(false).await;
        migrate(&database.options()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name);
        let service = TestService::start(dir.path(), &format!("[store]\nurl = \"{url}\"\n"));
        Self { cluster, database, service, dir }
    }

    /// Runs loads while a fault is injected in a fixed interval. Returns the requests
    /// with their replies.
    async fn inject(&self, interval: Duration, mut fault: impl AsyncFnMut()) -> Vec<Exchange> {
        let loads = async {
            let (mut exchanges, start) = (Vec::new(), Instant::now());
            for seed in 0.. {
                if start.elapsed() > FAULT_DURATION {
                    break;
                }
                let load = Load::start(&self.service, seed).await;
                // The duration of the load, not a wait for a condition.
                tokio::time::sleep(LOAD_DURATION).await;
                exchanges.extend(load.finish().await);
            }
            exchanges
        };
        let faults = async {
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                fault().await;
            }
        };
        tokio::select! {
            exchanges = loads => exchanges,
            () = faults => unreachable!("an endless loop"),
        }
    }

    /// Checks that the service recovers without a restart and that the store matches
    /// the replies.
    async fn assert_recovered(self, exchanges: &[Exchange]) {
        wait_until("the service is ready again", async || self.service.ready() == Some(true)).await;
        assert!(exchanges.iter().all(|(_, reply)| reply.is_ok()), "a call without a reply");
        let succeeded = exchanges
            .iter()
            .filter(|(_, reply)| reply.as_ref().is_ok_and(|reply| reply.result.is_ok()))
            .count();
        let transient = exchanges
            .iter()
            .filter(|(_, reply)| reply.as_ref().is_ok_and(|reply| !reply.is_stored()))
            .count();
        println!("{} commands, {succeeded} succeeded, {transient} failed transiently", exchanges.len());
        assert!(succeeded > 500, "only {succeeded} commands succeeded");
        assert_replies_are_durable(&self.service.client().await, exchanges).await;
        self.service.stop();
        self.cluster.crash();
        drop((self.database, self.dir));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_a_session_every_50_ms_loses_no_reply() {
    let fixture = FaultyDatabase::start(&[]).await;
    let shell = fixture.database.shell().await;
    let mut terminated = 0;
    let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
    let exchanges = fixture
        .inject(Duration::from_millis(50), async || terminated += shell.execute(query, &[]).await.unwrap())
        .await;
    assert!(terminated > 200, "only {terminated} sessions were terminated");
    drop(shell);
    fixture.assert_recovered(&exchanges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_database_crashes_lose_no_reply() {
    let fixture = FaultyDatabase::start(&[]).await;
    let mut crashes = 0;
    let exchanges = fixture
        .inject(Duration::from_secs(4), async || {
            tokio::task::block_in_place(|| {
                fixture.cluster.crash();
                fixture.cluster.run();
            });
            crashes += 1;
        })
        .await;
    assert!(crashes > 5, "only {crashes} crashes");
    fixture.assert_recovered(&exchanges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_database_disk_loses_no_reply() {
    let dir = tempfile::tempdir().unwrap();
    let (library, full) = (dir.path().join("full_disk.so"), dir.path().join("full"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/full_disk.c");
    let compiled =
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.unwrap().success());
    // The database runs as another user, which needs access.
    assert!(Command::new("chmod").args(["755"]).arg(dir.path()).status().unwrap().success());
    let variable = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
    let fixture =
        FaultyDatabase::start(&[variable("LD_PRELOAD", &library), variable("FULL_WHILE", &full)]).await;
    let mut times_full = 0;
    let exchanges = fixture
        .inject(Duration::from_secs(3), async || {
            if full.exists() {
                std::fs::remove_file(&full).unwrap();
            } else {
                std::fs::write(&full, "").unwrap();
                times_full += 1;
            }
        })
        .await;
    let _ = std::fs::remove_file(&full);
    assert!(times_full > 5, "the disk was full {times_full} times");
    let refused = fixture.cluster.log().matches("No space left on device").count();
    assert!(refused > 5, "only {refused} writes met a full disk");
    fixture.assert_recovered(&exchanges).await;
}
