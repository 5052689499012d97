//! Crashes at the N-th I/O boundary, for every N: before the process writes to a
//! file or a connection on the first attempt of a command, and in the middle of the
//! write on the retry with the same key, and the reverse. After a restart, the retry
//! succeeds and the command has one effect (`docs/reliability.md`, T3). The same
//! holds for every boundary of a first start.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query, sql_types};
use pvz::proto::v1;
use rustix::process::Signal;
use tempfile::TempDir;

use super::requests::{CommandReply, CommandRequest, events, parcel};
use super::test_service::{TestService, wait_until};
use crate::journal::crash::deduplicated;
use crate::postgres::cluster::{Database, cluster};

/// Upper limit for the number of boundaries of a command or a start.
const MAX_BOUNDARIES: usize = 400;

/// Counts the events that are not in the journal.
const UNPUBLISHED: &str = "SELECT count(*) AS events FROM order_events WHERE position > \
                           coalesce((SELECT min(position) FROM outbox_cursors), 0)";

/// Returns the path of the library that kills a process at a boundary.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(TempDir, std::path::PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/boundaries/shim.c");
        let compiled =
            Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&path).arg(source).status();
        assert!(compiled.unwrap().success());
        (dir, path)
    });
    path
}

/// The point at which a process is killed.
#[derive(Debug, Clone, Copy)]
struct Boundary {
    nth: usize,
    /// Half of the write is done before the kill.
    torn: bool,
    /// Counts from the start of the process instead of from SIGUSR2.
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

/// A store with its journal and its configuration.
struct Deployment {
    dir: TempDir,
    database: Option<Database>,
}

#[derive(QueryableByName)]
struct Unpublished {
    #[diesel(sql_type = sql_types::BigInt)]
    events: i64,
}

impl Deployment {
    fn empty(database: Option<Database>) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), database }
    }

    /// Copies the folder and the database.
    async fn copy(&self) -> Self {
        let database = match &self.database {
            Some(database) => Some(cluster().copy_of(&database.name).await),
            None => None,
        };
        let copy = Self::empty(database);
        let from = format!("{}/.", self.dir.path().display());
        let copied = Command::new("cp").args(["-r", &from]).arg(copy.dir.path()).status();
        assert!(copied.unwrap().success());
        copy
    }

    /// A relative path of the journal keeps the sink's identity in a copy.
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

    fn start(&self) -> TestService {
        TestService::start(self.dir.path(), &self.config())
    }

    fn start_with(&self, boundary: Boundary) -> Result<TestService, Vec<String>> {
        TestService::start_with(self.dir.path(), &self.config(), &boundary.variables(self.dir.path()))
    }

    /// Returns true if the outbox cursor has reached the newest event.
    async fn is_published(&self) -> bool {
        if let Some(database) = &self.database {
            let row = database.shell().await.query_one(UNPUBLISHED, &[]).await.unwrap();
            return row.get::<_, i64>(0) == 0;
        }
        let path = self.dir.path().join("pvz.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        // Fails while the server is writing.
        let unpublished = sql_query(UNPUBLISHED).get_result::<Unpublished>(&mut connection);
        unpublished.is_ok_and(|unpublished| unpublished.events == 0)
    }

    /// Sends a request to a server that is killed at a boundary. Returns the reply, and
    /// whether the server was killed. The server has done other work before, so that
    /// the boundaries are those of the command and not of its first connections.
    async fn send_until(&self, request: &CommandRequest, boundary: Boundary) -> (Option<CommandReply>, bool) {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let mut service = self.start_with(boundary).unwrap();
        let client = service.client().await;
        let other = format!("other-{}", RUNS.fetch_add(1, Ordering::Relaxed));
        for request in
            [CommandRequest::Accept(keyed(&other, &other)), issue(&other, &format!("issue-{other}"))]
        {
            assert!(request.send(&client).await.unwrap().result.is_ok(), "{request:?}");
        }
        wait_until("every event is published", async || self.is_published().await).await;
        let armed = || self.reported().iter().filter(|line| *line == "armed").count();
        let before = armed();
        service.signal(Signal::USR2);
        wait_until("the process is armed", async || armed() > before).await;
        let reply = request.send(&client).await.ok();
        let replied = reply.is_some();
        let mut killed = false;
        wait_until("the server exits, or every event is published", async || {
            killed = service.has_exited();
            killed || (replied && self.is_published().await)
        })
        .await;
        service.assert_no_panic();
        service.kill();
        (reply, killed)
    }

    /// Sends the request to a normal server, and checks that the replies before it are
    /// equal, that the command has one effect, and that the journal has every event.
    async fn assert_one_effect(&self, request: &CommandRequest, before: &[CommandReply]) {
        let service = self.start();
        let client = service.client().await;
        let reply = request.send(&client).await.unwrap();
        let changed = reply.changed_orders();
        assert_eq!(changed.len(), 1, "{reply:?}");
        for first in before {
            assert_eq!(first.result, reply.result, "{request:?}");
        }
        let events = events(&client).await;
        let order = |event: &v1::Event| event.order.clone().unwrap().order_id;
        let affected: Vec<_> =
            events.iter().filter(|event| event.request_id() == request.request_id()).map(order).collect();
        assert_eq!(affected, changed, "the orders with events of the request");
        wait_until("every event is published", async || self.is_published().await).await;
        service.stop();
        let stored: BTreeSet<_> = events.iter().map(|event| (order(event), event.sequence)).collect();
        let published: BTreeSet<_> = deduplicated(&self.dir.path().join("events")).into_keys().collect();
        assert_eq!(published, stored);
    }

    /// Returns the lines that the processes reported: when they were armed, and at
    /// which operation they were killed.
    fn reported(&self) -> Vec<String> {
        let text = std::fs::read_to_string(report(self.dir.path())).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn keyed(order_id: &str, key: &str) -> v1::AcceptOrderRequest {
    v1::AcceptOrderRequest { request_id: Some(key.to_owned()), ..parcel(order_id, "7") }
}

fn issue(order_id: &str, key: &str) -> CommandRequest {
    CommandRequest::Issue(v1::IssueOrdersRequest {
        order_ids: vec![order_id.to_owned()],
        request_id: Some(key.to_owned()),
        ..v1::IssueOrdersRequest::default()
    })
}

fn accept_return(order_id: &str, key: &str) -> CommandRequest {
    CommandRequest::AcceptReturn(v1::AcceptReturnRequest {
        order_id: order_id.to_owned(),
        customer_id: "7".to_owned(),
        request_id: Some(key.to_owned()),
        ..v1::AcceptReturnRequest::default()
    })
}

/// Returns every command, each for an order in the state that it needs.
fn commands() -> [CommandRequest; 5] {
    let courier = v1::ReturnToCourierRequest {
        order_ids: vec!["returned".to_owned()],
        request_id: Some("return-to-courier".to_owned()),
        ..v1::ReturnToCourierRequest::default()
    };
    [
        CommandRequest::Accept(keyed("new", "accept")),
        CommandRequest::Import(keyed("imported", "import")),
        issue("stored", "issue"),
        accept_return("issued", "accept-return"),
        CommandRequest::ReturnToCourier(courier),
    ]
}

/// Returns a deployment with the orders of [`commands`].
async fn deployment_with_orders(database: Option<Database>) -> Deployment {
    let deployment = Deployment::empty(database);
    let service = deployment.start();
    let client = service.client().await;
    let accept = |order_id: &str| CommandRequest::Accept(keyed(order_id, &format!("accept-{order_id}")));
    let requests = [
        accept("stored"),
        accept("issued"),
        issue("issued", "1"),
        accept("returned"),
        issue("returned", "2"),
        accept_return("returned", "3"),
    ];
    for request in requests {
        assert!(request.send(&client).await.unwrap().result.is_ok(), "{request:?}");
    }
    wait_until("every event is published", async || deployment.is_published().await).await;
    service.stop();
    deployment
}

/// Kills the server at every boundary of every command: before the operation on the
/// first attempt and in the middle of it on the retry, and the reverse, because some
/// writes occur only in the first attempt. Returns the operations.
async fn crash_at_every_boundary(prepared: &Deployment) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for (request, torn) in commands().iter().flat_map(|request| [(request, false), (request, true)]) {
        let mut boundaries = 0;
        for nth in 1..=MAX_BOUNDARIES {
            let deployment = prepared.copy().await;
            let boundary = |torn| Boundary { nth, torn, from_start: false };
            let (first, killed) = deployment.send_until(request, boundary(torn)).await;
            let (again, _) = deployment.send_until(request, boundary(!torn)).await;
            let stored: Vec<CommandReply> =
                first.into_iter().chain(again).filter(CommandReply::is_stored).collect();
            deployment.assert_one_effect(request, &stored).await;
            if !killed {
                break;
            }
            boundaries = nth;
            seen.extend(deployment.reported());
        }
        assert!((4..MAX_BOUNDARIES).contains(&boundaries), "{boundaries} boundaries of {request:?}");
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_boundary_on_sqlite_leaves_one_effect() {
    let seen = crash_at_every_boundary(&deployment_with_orders(None).await).await;
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
async fn a_crash_at_any_boundary_on_postgres_leaves_one_effect() {
    let database = cluster().database(true).await;
    let seen = crash_at_every_boundary(&deployment_with_orders(Some(database)).await).await;
    assert!(seen.contains("write connection"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_boundary_of_a_first_start_is_recovered_by_the_next() {
    let request = CommandRequest::Accept(keyed("new", "accept"));
    for torn in [false, true] {
        let mut boundaries = 0;
        for nth in 1..=MAX_BOUNDARIES {
            let deployment = Deployment::empty(None);
            let boundary = Boundary { nth, torn, from_start: true };
            if deployment.start_with(boundary).is_ok() {
                break;
            }
            deployment.assert_one_effect(&request, &[]).await;
            boundaries = nth;
        }
        assert!((10..MAX_BOUNDARIES).contains(&boundaries), "{boundaries} boundaries of a start");
    }
}
