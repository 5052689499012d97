//! The process dies at its N-th I/O boundary, for every N: before it changes a
//! file or sends on a connection when a command is tried first, and half through
//! that when it is retried under its key, and the other way round. Then it is started as usual, asked once
//! more, and everything holds (`docs/reliability.md`, T3). So do all boundaries of a
//! first start.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query, sql_types};
use pvz::proto::v1;
use rustix::process::Signal;
use tempfile::TempDir;

use super::asks::{Ask, Heard, events, parcel};
use super::service::{Service, until};
use crate::journal::crash::deduplicated;
use crate::postgres::cluster::{Database, cluster};

/// More boundaries than any command or start has.
const ENOUGH: usize = 400;

/// What of the events is not in the journal yet.
const UNPUBLISHED: &str = "SELECT count(*) AS events FROM order_events WHERE position > \
                           coalesce((SELECT min(position) FROM outbox_cursors), 0)";

/// The library that ends a process at a boundary.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(TempDir, std::path::PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/boundaries/shim.c");
        let made = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&path).arg(source).status();
        assert!(made.unwrap().success());
        (dir, path)
    });
    path
}

/// Where a process ends.
#[derive(Debug, Clone, Copy)]
struct Boundary {
    nth: usize,
    /// Half of a write is done first.
    torn: bool,
    /// It counts from the start of the process, and not from when it is told to.
    from_start: bool,
}

impl Boundary {
    fn variables(self, dir: &Path) -> Vec<(String, String)> {
        let mut variables = vec![
            ("LD_PRELOAD".to_owned(), shim().display().to_string()),
            ("BOUNDARY_NTH".to_owned(), self.nth.to_string()),
            ("BOUNDARY_REPORT".to_owned(), report(dir).display().to_string()),
        ];
        let flags = [("BOUNDARY_TORN", self.torn), ("BOUNDARY_ARMED", self.from_start)];
        variables.extend(flags.iter().filter(|flag| flag.1).map(|flag| (flag.0.to_owned(), "1".to_owned())));
        variables
    }
}

fn report(dir: &Path) -> std::path::PathBuf {
    dir.join("boundaries")
}

/// A store, its journal, and its configuration.
struct Place {
    dir: TempDir,
    database: Option<Database>,
}

#[derive(QueryableByName)]
struct Unpublished {
    #[diesel(sql_type = sql_types::BigInt)]
    events: i64,
}

impl Place {
    fn empty(database: Option<Database>) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), database }
    }

    /// The same, elsewhere.
    async fn copy(&self) -> Self {
        let database = match &self.database {
            Some(database) => Some(cluster().made_of(&database.name).await),
            None => None,
        };
        let copy = Self::empty(database);
        let from = format!("{}/.", self.dir.path().display());
        let copied = Command::new("cp").args(["-r", &from]).arg(copy.dir.path()).status();
        assert!(copied.unwrap().success());
        copy
    }

    /// The sink is known by its path: a relative one means the same in a copy.
    fn config(&self) -> String {
        let events = "[events]\nurl = \"journal:events\"\n";
        match &self.database {
            Some(base) => {
                let url = format!("postgres://pvz@127.0.0.1:{}/{}", base.port, base.name);
                format!("{events}[store]\nurl = \"{url}\"\n")
            }
            None => events.to_owned(),
        }
    }

    fn start(&self) -> Service {
        Service::start(self.dir.path(), &self.config())
    }

    fn start_until(&self, boundary: Boundary) -> Result<Service, Vec<String>> {
        Service::start_with(self.dir.path(), &self.config(), &boundary.variables(self.dir.path()))
    }

    /// Every event has been published, and the cursor says so.
    async fn is_settled(&self) -> bool {
        if let Some(database) = &self.database {
            let row = database.shell().await.query_one(UNPUBLISHED, &[]).await.unwrap();
            return row.get::<_, i64>(0) == 0;
        }
        let path = self.dir.path().join("pvz.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        // The server may be writing.
        let unpublished = sql_query(UNPUBLISHED).get_result::<Unpublished>(&mut connection);
        unpublished.is_ok_and(|unpublished| unpublished.events == 0)
    }

    /// Asks a server that ends at a boundary; says what was heard, and whether it
    /// did end. It has done other work before, so that the boundaries are those
    /// of the command, and not of its first connections.
    async fn ask_until(&self, ask: &Ask, boundary: Boundary) -> (Option<Heard>, bool) {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let mut service = self.start_until(boundary).unwrap();
        let client = service.client().await;
        let other = format!("other-{}", RUNS.fetch_add(1, Ordering::Relaxed));
        for ask in [Ask::Accept(keyed(&other, &other)), issue(&other, &format!("issue-{other}"))] {
            assert!(ask.send(&client).await.unwrap().answer.is_ok(), "{ask:?}");
        }
        until("all is published", async || self.is_settled().await).await;
        let armed = || self.reported().iter().filter(|line| *line == "armed").count();
        let before = armed();
        service.signal(Signal::USR2);
        until("the process is armed", async || armed() > before).await;
        let heard = ask.send(&client).await.ok();
        let answered = heard.is_some();
        let mut ended = false;
        until("the server ends, or all is done", async || {
            ended = service.has_ended();
            ended || (answered && self.is_settled().await)
        })
        .await;
        service.assert_no_panic();
        service.kill();
        (heard, ended)
    }

    /// Asks as usual, and holds everything against the answers of before: each
    /// the same, one effect, all of it in the journal, and the store is sound.
    async fn assert_whole(&self, ask: &Ask, before: &[Heard]) {
        let service = self.start();
        let client = service.client().await;
        let heard = ask.send(&client).await.unwrap();
        let changed = heard.changed();
        assert_eq!(changed.len(), 1, "{heard:?}");
        for first in before {
            assert_eq!(first.answer, heard.answer, "{ask:?}");
        }
        let events = events(&client).await;
        let order = |event: &v1::Event| event.order.clone().unwrap().order_id;
        let of_ask: Vec<_> =
            events.iter().filter(|event| event.request_id() == ask.request_id()).map(order).collect();
        assert_eq!(of_ask, changed, "one effect");
        until("all is published", async || self.is_settled().await).await;
        service.stop();
        let stored: BTreeSet<_> = events.iter().map(|event| (order(event), event.sequence)).collect();
        let published: BTreeSet<_> = deduplicated(&self.dir.path().join("events")).into_keys().collect();
        assert_eq!(published, stored);
    }

    /// What the processes said: that they were armed, and what those that ended
    /// were about to do.
    fn reported(&self) -> Vec<String> {
        let text = std::fs::read_to_string(report(self.dir.path())).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn keyed(order_id: &str, key: &str) -> v1::AcceptOrderRequest {
    v1::AcceptOrderRequest { request_id: Some(key.to_owned()), ..parcel(order_id, "7") }
}

fn issue(order_id: &str, key: &str) -> Ask {
    Ask::Issue(v1::IssueOrdersRequest {
        order_ids: vec![order_id.to_owned()],
        request_id: Some(key.to_owned()),
        ..v1::IssueOrdersRequest::default()
    })
}

fn bring_back(order_id: &str, key: &str) -> Ask {
    Ask::Return(v1::AcceptReturnRequest {
        order_id: order_id.to_owned(),
        customer_id: "7".to_owned(),
        request_id: Some(key.to_owned()),
        ..v1::AcceptReturnRequest::default()
    })
}

/// Every command, each on an order that is ready for it.
fn commands() -> [Ask; 5] {
    let courier = v1::ReturnToCourierRequest {
        order_ids: vec!["returned".to_owned()],
        request_id: Some("the-courier-takes".to_owned()),
        ..v1::ReturnToCourierRequest::default()
    };
    [
        Ask::Accept(keyed("new", "it-is-brought")),
        Ask::Import(keyed("imported", "it-is-imported")),
        issue("there", "it-is-issued"),
        bring_back("issued", "it-is-brought-back"),
        Ask::Courier(courier),
    ]
}

/// A place with the orders that the commands are about.
async fn prepared(database: Option<Database>) -> Place {
    let place = Place::empty(database);
    let service = place.start();
    let client = service.client().await;
    let accept = |order_id: &str| Ask::Accept(keyed(order_id, &format!("accept-{order_id}")));
    let asks = [
        accept("there"),
        accept("issued"),
        issue("issued", "1"),
        accept("returned"),
        issue("returned", "2"),
        bring_back("returned", "3"),
    ];
    for ask in asks {
        assert!(ask.send(&client).await.unwrap().answer.is_ok(), "{ask:?}");
    }
    until("all is published", async || place.is_settled().await).await;
    service.stop();
    place
}

/// Every boundary of every command, before it on the first try and half through
/// it on the second, and the other way round: a write that only the first try
/// gets to is torn then. Answers what the boundaries were.
async fn every_boundary(prepared: &Place) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for (ask, torn) in commands().iter().flat_map(|ask| [(ask, false), (ask, true)]) {
        let mut passed = 0;
        for nth in 1..=ENOUGH {
            let place = prepared.copy().await;
            let boundary = |torn| Boundary { nth, torn, from_start: false };
            let (first, ended) = place.ask_until(ask, boundary(torn)).await;
            let (again, _) = place.ask_until(ask, boundary(!torn)).await;
            let heard: Vec<Heard> = first.into_iter().chain(again).filter(Heard::is_kept).collect();
            place.assert_whole(ask, &heard).await;
            if !ended {
                break;
            }
            passed = nth;
            seen.extend(place.reported());
        }
        assert!((4..ENOUGH).contains(&passed), "{passed} boundaries of {ask:?}");
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_anywhere_on_sqlite_leaves_one_effect() {
    let seen = every_boundary(&prepared(None).await).await;
    let at =
        |operation: &str, file: &str| seen.iter().any(|at| at.starts_with(operation) && at.contains(file));
    for (operation, file) in [
        ("write", "pvz.db-wal"),
        ("sync", "pvz.db-wal"),
        ("write", "events-"),
        ("sync", "events-"),
        ("write", "connection"),
    ] {
        assert!(at(operation, file), "no {operation} of {file}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_anywhere_on_postgres_leaves_one_effect() {
    let database = cluster().database(true).await;
    let seen = every_boundary(&prepared(Some(database)).await).await;
    assert!(seen.contains("write connection"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_dies_anywhere_is_made_good_by_the_next() {
    let ask = Ask::Accept(keyed("new", "it-is-brought"));
    for torn in [false, true] {
        let mut passed = 0;
        for nth in 1..=ENOUGH {
            let place = Place::empty(None);
            let boundary = Boundary { nth, torn, from_start: true };
            if place.start_until(boundary).is_ok() {
                break;
            }
            place.assert_whole(&ask, &[]).await;
            passed = nth;
        }
        assert!((10..ENOUGH).contains(&passed), "{passed} boundaries of a start");
    }
}
