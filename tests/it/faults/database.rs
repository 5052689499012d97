//! The database fails under a load of all commands: its sessions are ended, it
//! crashes, its disk is full. Whatever was answered is there, whatever was not
//! is there whole or not at all (`docs/reliability.md`, T11).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pvz::adapters::postgres::migrate;

use super::load::{Load, Told, assert_remembered};
use super::service::{Service, until};
use crate::postgres::cluster::{Cluster, Database};

/// How long it fails.
const FAILING: Duration = Duration::from_mins(1);
/// A load has orders of its own; the next one begins when most of them have been
/// brought, issued and taken away.
const LOAD: Duration = Duration::from_secs(5);

/// A database that a test may break, and the service on it.
struct Scene {
    cluster: Cluster,
    database: Database,
    service: Service,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new(variables: &[(String, String)]) -> Self {
        let cluster = Cluster::start_with(variables);
        let database = cluster.database(false).await;
        migrate(&database.options()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name);
        let service = Service::start(dir.path(), &format!("[store]\nurl = \"{url}\"\n"));
        Self { cluster, database, service, dir }
    }

    /// Loads it while the fault is done again and again, with that pause.
    async fn fail(&self, pause: Duration, mut fault: impl AsyncFnMut()) -> Vec<Told> {
        let loading = async {
            let (mut told, began) = (Vec::new(), Instant::now());
            for seed in 0.. {
                if began.elapsed() > FAILING {
                    break;
                }
                let load = Load::start(&self.service, seed).await;
                // The length of a load, and not a wait for anything.
                tokio::time::sleep(LOAD).await;
                told.extend(load.end().await);
            }
            told
        };
        let failing = async {
            let mut pace = tokio::time::interval(pause);
            loop {
                pace.tick().await;
                fault().await;
            }
        };
        tokio::select! {
            told = loading => told,
            () = failing => unreachable!("it fails as long as there is a load"),
        }
    }

    /// The service is back by itself, has forgotten nothing and invented nothing.
    async fn assert_whole(self, told: &[Told]) {
        until("it is ready again", async || self.service.ready() == Some(true)).await;
        assert!(told.iter().all(|(_, heard)| heard.is_ok()), "every call was answered by the service");
        let done =
            told.iter().filter(|(_, heard)| heard.as_ref().is_ok_and(|heard| heard.answer.is_ok())).count();
        let undone =
            told.iter().filter(|(_, heard)| heard.as_ref().is_ok_and(|heard| !heard.is_kept())).count();
        println!("{} commands, {done} done, {undone} could not be done", told.len());
        assert!(done > 500, "{done} commands are hardly a load");
        assert_remembered(&self.service.client().await, told).await;
        self.service.stop();
        self.cluster.crash();
        drop((self.database, self.dir));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_every_fifty_milliseconds_cost_nobody_anything() {
    let scene = Scene::new(&[]).await;
    let shell = scene.database.shell().await;
    let mut ended = 0;
    let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
    let told = scene
        .fail(Duration::from_millis(50), async || ended += shell.execute(query, &[]).await.unwrap())
        .await;
    assert!(ended > 200, "{ended} sessions were ended");
    drop(shell);
    scene.assert_whole(&told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_again_and_again_forgets_nothing() {
    let scene = Scene::new(&[]).await;
    let mut crashes = 0;
    let told = scene
        .fail(Duration::from_secs(4), async || {
            tokio::task::block_in_place(|| {
                scene.cluster.crash();
                scene.cluster.run();
            });
            crashes += 1;
        })
        .await;
    assert!(crashes > 5, "{crashes} crashes");
    scene.assert_whole(&told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_disk_is_full_loses_nothing_and_goes_on_when_there_is_space() {
    let signs = tempfile::tempdir().unwrap();
    let (shim, full) = (signs.path().join("full.so"), signs.path().join("full"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/full.c");
    let made = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&shim).arg(source).status();
    assert!(made.unwrap().success());
    // The database runs as somebody else, who must see them.
    assert!(Command::new("chmod").args(["755"]).arg(signs.path()).status().unwrap().success());
    let variable = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
    let scene = Scene::new(&[variable("LD_PRELOAD", &shim), variable("FULL_WHILE", &full)]).await;
    let mut times = 0;
    let told = scene
        .fail(Duration::from_secs(3), async || {
            if full.exists() {
                std::fs::remove_file(&full).unwrap();
            } else {
                std::fs::write(&full, "").unwrap();
                times += 1;
            }
        })
        .await;
    let _ = std::fs::remove_file(&full);
    assert!(times > 5, "{times} times");
    let refused = scene.cluster.said().matches("No space left on device").count();
    assert!(refused > 5, "the disk was full {refused} times when somebody wrote");
    scene.assert_whole(&told).await;
}
