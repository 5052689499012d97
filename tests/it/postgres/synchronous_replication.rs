//! Commits that wait for a synchronous standby: they are not ended, not acknowledged,
//! and use no more connections than the pool has.

use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::postgres::{PostgresStore, migrate};
use pvz::domain::{BatchMode, Reason};
use pvz::ports::{ErrorKind, OrderStore as _, Outcome, PortError};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::cluster::{Cluster, Database};
use super::{reason, run, verified_counts};
use crate::faults::test_service::wait_until;
use crate::support::commands::{TestCommand, accept, accept_return, issue, order, parcel};

/// A timeout that a waiting commit exceeds soon.
const SHORT: Duration = Duration::from_millis(500);
/// A timeout that no test reaches.
const LONG: Duration = Duration::from_mins(2);

const SET_STANDBY: &str = "ALTER SYSTEM SET synchronous_standby_names = 'missing'";
const RESET_STANDBY: &str = "ALTER SYSTEM RESET synchronous_standby_names";
const RELOAD: &str = "SELECT pg_reload_conf()";
const WRITE_WAL: &str = "SELECT pg_logical_emit_message(true, 'test', '')";

/// A server whose commits wait while it requires a standby that does not exist.
struct Fixture {
    server: Cluster,
    database: Database,
    store: Arc<PostgresStore>,
    shell: Client,
}

impl Fixture {
    /// Returns a server without a standby, and a store with two connections for writes
    /// that has the order "existing".
    async fn new(timeout: Duration) -> Self {
        let server = Cluster::start();
        let database = server.database(false).await;
        migrate(&database.options()).await.unwrap();
        let mut options = database.options();
        options.timeout = timeout;
        options.writers = std::num::NonZeroUsize::MIN.saturating_add(1);
        let store = Arc::new(PostgresStore::open(&options).await.unwrap());
        run(&*store, &[accept(parcel("existing")).key("existing")]).await.unwrap();
        let shell = database.shell().await;
        Self { server, database, store, shell }
    }

    /// Makes every later commit wait. The reload is asynchronous, so a session commits
    /// until it waits.
    async fn require_standby(&self) {
        self.shell.batch_execute(SET_STANDBY).await.unwrap();
        self.shell.batch_execute(RELOAD).await.unwrap();
        let probe = self.database.shell().await;
        let probing = tokio::spawn(async move { while probe.batch_execute(WRITE_WAL).await.is_ok() {} });
        let waits = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name <> 'pvz'";
        wait_until("commits wait", async || self.shell.query_opt(waits, &[]).await.unwrap().is_some()).await;
        probing.abort();
    }

    /// Ends the wait of all commits, as a standby that has caught up does.
    async fn standby_returns(&self) {
        self.shell.batch_execute(RESET_STANDBY).await.unwrap();
        self.shell.batch_execute(RELOAD).await.unwrap();
    }

    /// Returns the number of the store's sessions that wait for the standby in a
    /// statement like this.
    async fn waiting(&self, statement: &str) -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity \
             WHERE wait_event = 'SyncRep' AND application_name = 'pvz' AND query LIKE $1";
        self.shell.query_one(count, &[&statement]).await.unwrap().get(0)
    }

    async fn wait_for_waiting(&self, statement: &str, sessions: i64) {
        let what = format!("{sessions} sessions wait in {statement}");
        wait_until(&what, async || self.waiting(statement).await == sessions).await;
    }

    /// Ends the sessions of the store that wait, which makes their commits visible.
    async fn end_waiting(&self) {
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
             WHERE wait_event = 'SyncRep' AND application_name = 'pvz'";
        assert!(self.shell.execute(end, &[]).await.unwrap() > 0);
    }

    fn start(&self, commands: Vec<TestCommand>) -> JoinHandle<Result<Vec<Outcome>, PortError>> {
        let store = Arc::clone(&self.store);
        tokio::spawn(async move { run(&*store, &commands).await })
    }
}

/// Returns a batch that is one statement, or a transaction with a COMMIT.
fn batch(id: &str, with_commit: bool) -> Vec<TestCommand> {
    let issue = with_commit.then(|| issue(&["existing"], BatchMode::Atomic));
    [accept(parcel(id))].into_iter().chain(issue).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_commit_is_neither_ended_nor_acknowledged() {
    for with_commit in [false, true] {
        let fixture = Fixture::new(SHORT).await;
        fixture.require_standby().await;
        let error = run(&*fixture.store, &batch("one", with_commit)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InDoubt, "{error:?}");
        assert_eq!(fixture.waiting("%").await, 1);
        assert!(fixture.store.order(&order("one")).await.unwrap().is_none());
        fixture.standby_returns().await;
        let is_visible = async || fixture.store.order(&order("one")).await.unwrap().is_some();
        wait_until("the commit is visible", is_visible).await;
        assert_eq!(verified_counts(&*fixture.store).await, (2, 2 + u64::from(with_commit)));
        fixture.server.crash();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_commits_use_no_more_connections_than_the_pool_has() {
    let fixture = Fixture::new(SHORT).await;
    fixture.require_standby().await;
    for number in 0..4 {
        let error = run(&*fixture.store, &batch(&format!("order-{number}"), false)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::Unavailable), "{error:?}");
    }
    assert_eq!(fixture.waiting("%").await, 2);
    fixture.standby_returns().await;
    let works = async || run(&*fixture.store, &[accept(parcel("later")).key("later")]).await.is_ok();
    wait_until("the pool has free connections", works).await;
    fixture.wait_for_waiting("%", 0).await;
    assert_eq!(verified_counts(&*fixture.store).await, (4, 4));
    fixture.server.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visible_commits_are_acknowledged_after_one_shared_barrier() {
    for with_commit in [false, true] {
        let fixture = Fixture::new(LONG).await;
        fixture.require_standby().await;
        let first = fixture.start(batch("first", with_commit));
        fixture.wait_for_waiting("%", 1).await;
        fixture.end_waiting().await;
        fixture.wait_for_waiting("%pg_logical_emit_message%", 1).await;
        assert!(fixture.store.order(&order("first")).await.unwrap().is_some());
        // This doubt is newer than the barrier that runs, so it waits for the next one.
        let second = fixture.start(batch("second", false));
        fixture.wait_for_waiting("WITH new_orders%", 1).await;
        let process = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
             WHERE wait_event = 'SyncRep' AND query LIKE 'WITH new_orders%'";
        fixture.shell.execute(process, &[]).await.unwrap();
        let is_visible = async || fixture.store.order(&order("second")).await.unwrap().is_some();
        wait_until("the second commit is visible", is_visible).await;
        assert_eq!(fixture.waiting("%").await, 1);
        assert!(!first.is_finished() && !second.is_finished());
        fixture.standby_returns().await;
        for running in [first, second] {
            let outcomes = running.await.unwrap().unwrap();
            assert!(outcomes.iter().all(|outcome| outcome.answer.is_ok()), "{outcomes:?}");
        }
        fixture.server.crash();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visible_commit_without_a_standby_stays_in_doubt() {
    let fixture = Fixture::new(SHORT.saturating_mul(6)).await;
    fixture.require_standby().await;
    let running = fixture.start(batch("one", false));
    fixture.wait_for_waiting("%", 1).await;
    fixture.end_waiting().await;
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InDoubt, "{error:?}");
    assert!(fixture.store.order(&order("one")).await.unwrap().is_some());
    fixture.server.crash();
}

/// The rows that these answers depend on may be visible and not replicated. No statement
/// is added for them: the row locks of the load make COMMIT wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_existing_rows_wait_for_the_standby() {
    let fixture = Fixture::new(LONG).await;
    let refused = || accept_return("missing", "c1", None).key("refused");
    run(&*fixture.store, &[refused()]).await.unwrap();
    run(&*fixture.store, &[accept(parcel("other"))]).await.unwrap();
    for command in [accept(parcel("existing")).key("existing"), accept(parcel("other")), refused()] {
        fixture.require_standby().await;
        let running = fixture.start(vec![command.clone()]);
        fixture.wait_for_waiting("COMMIT", 1).await;
        assert!(!running.is_finished());
        fixture.standby_returns().await;
        let outcome = running.await.unwrap().unwrap().remove(0);
        let already_exists = reason(&outcome) == Some(Reason::OrderAlreadyExists);
        assert!(outcome.replayed || already_exists, "{outcome:?}");
    }
    fixture.server.crash();
}

/// An unanswered ping keeps its connection, and further pings take no other connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_fail_on_one_connection_while_commits_wait() {
    let fixture = Fixture::new(SHORT).await;
    fixture.require_standby().await;
    let mut options = fixture.database.options();
    options.timeout = SHORT;
    let store = PostgresStore::open(&options).await.unwrap();
    for _ in 0..3 {
        // Readiness may stop waiting before the store does.
        let abandoned = tokio::time::timeout(Duration::from_millis(1), store.ping()).await;
        assert!(!matches!(abandoned, Ok(Ok(()))));
        store.ping().await.unwrap_err();
    }
    assert_eq!(fixture.waiting("%").await, 1);
    fixture.standby_returns().await;
    wait_until("a ping succeeds", async || store.ping().await.is_ok()).await;
    fixture.server.crash();
}
