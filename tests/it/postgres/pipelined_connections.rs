//! Tests of pipelined connections: the batches that share a connection succeed and fail
//! independently.

use std::sync::Arc;
use std::task::Poll;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::Reason;
use pvz::ports::{Outcome, PortError};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::cluster::{Database, store};
use super::{reason, run, verified_counts};
use crate::faults::test_service::wait_until;
use crate::support::commands::{TestCommand, accept, parcel};

/// Makes the insert of an order `held…` wait for an advisory lock.
const HOLD: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NEW; END $$;
    CREATE TRIGGER hold BEFORE INSERT ON orders
        FOR EACH ROW WHEN (new.order_id LIKE 'held%') EXECUTE FUNCTION hold()";

/// A store with one connection that has written before, and a session with the lock of
/// [`HOLD`].
struct Fixture {
    store: Arc<PostgresStore>,
    shell: Client,
    _database: Database,
}

type Running = JoinHandle<Result<Vec<Outcome>, PortError>>;

impl Fixture {
    async fn new() -> Self {
        let (store, database) = store().await;
        let shell = database.shell().await;
        shell.batch_execute(HOLD).await.unwrap();
        run(&*store, &[accept(parcel("before"))]).await.unwrap();
        shell.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
        let fixture = Self { store, shell, _database: database };
        // The session that checked the schema may still be ending.
        wait_until("the store has one session", async || fixture.sessions().await.len() == 1).await;
        fixture
    }

    /// Starts a batch and waits until it is blocked in the database. Returns the process
    /// id of its session.
    async fn start_blocked(&self, commands: Vec<TestCommand>) -> (Running, i32) {
        let store = Arc::clone(&self.store);
        let running = tokio::spawn(async move { run(&*store, &commands).await });
        let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
            AND application_name = 'pvz' AND wait_event_type = 'Lock'";
        let mut process = None;
        wait_until("the batch is blocked", async || {
            process = self.shell.query_opt(waiting, &[]).await.unwrap().map(|row| row.get(0));
            process.is_some()
        })
        .await;
        (running, process.unwrap())
    }

    /// Starts a batch behind the blocked one, on the same connection.
    async fn start_behind(&self, commands: Vec<TestCommand>) -> Running {
        let store = Arc::clone(&self.store);
        let mut batch = Box::pin(async move { run(&*store, &commands).await });
        // The first poll takes the slot.
        assert!(matches!(futures::poll!(&mut batch), Poll::Pending));
        assert_eq!(self.sessions().await.len(), 1, "the batch shares the connection");
        tokio::spawn(batch)
    }

    async fn unblock(&self) {
        self.shell.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
    }

    /// Returns the process ids of the store's sessions.
    async fn sessions(&self) -> Vec<i32> {
        let ours = "SELECT pid FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name = 'pvz'";
        self.shell.query(ours, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

fn one(id: &str) -> Vec<TestCommand> {
    vec![accept(parcel(id)).key(id)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_batches_share_a_connection_and_a_third_opens_another() {
    let fixture = Fixture::new().await;
    let (first, _) = fixture.start_blocked(one("held")).await;
    let second = fixture.start_behind(one("second")).await;
    let third = run(&*fixture.store, &one("third")).await.unwrap();
    assert!(third[0].answer.is_ok());
    assert_eq!(fixture.sessions().await.len(), 2);
    assert!(!first.is_finished() && !second.is_finished());
    fixture.unblock().await;
    for running in [first, second] {
        let outcomes = running.await.unwrap().unwrap();
        assert!(outcomes[0].answer.is_ok() && !outcomes[0].replayed, "{outcomes:?}");
    }
    assert_eq!(verified_counts(&*fixture.store).await, (4, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_statement_does_not_affect_the_next_one() {
    let fixture = Fixture::new().await;
    // The insert is in key order, so the existing order comes after the blocked one.
    let commands = vec![accept(parcel("held")), accept(parcel("stored"))];
    run(&*fixture.store, &one("stored")).await.unwrap();
    let (first, _) = fixture.start_blocked(commands).await;
    let second = fixture.start_behind(one("second")).await;
    fixture.unblock().await;
    let second = second.await.unwrap().unwrap();
    assert!(second[0].answer.is_ok() && !second[0].replayed, "{second:?}");
    let first = first.await.unwrap().unwrap();
    assert!(first[0].answer.is_ok(), "{first:?}");
    assert_eq!(reason(&first[1]), Some(Reason::OrderAlreadyExists));
    assert_eq!(verified_counts(&*fixture.store).await, (4, 4));
}

/// The executing batch and the one behind it are both in doubt. Each takes effect once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_on_a_lost_connection_take_effect_once() {
    for key in [true, false] {
        let fixture = Fixture::new().await;
        let batch = |id| if key { one(id) } else { vec![accept(parcel(id))] };
        let (first, process) = fixture.start_blocked(batch("held")).await;
        let second = fixture.start_behind(batch("second")).await;
        fixture.shell.execute("SELECT pg_terminate_backend($1)", &[&process]).await.unwrap();
        let second = second.await.unwrap().unwrap();
        assert!(second[0].answer.is_ok() && !second[0].replayed, "{second:?}");
        fixture.unblock().await;
        let first = first.await.unwrap().unwrap();
        assert!(first[0].answer.is_ok() && !first[0].replayed, "{first:?}");
        assert_eq!(verified_counts(&*fixture.store).await, (3, 3));
    }
}

/// The answer of the cancelled batch may still arrive, so the connection is not reused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_of_a_cancelled_batch_closes_after_the_remaining_ones() {
    let fixture = Fixture::new().await;
    let (first, process) = fixture.start_blocked(one("held")).await;
    let second = fixture.start_behind(one("second")).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let third = run(&*fixture.store, &one("third")).await.unwrap();
    assert!(third[0].answer.is_ok(), "new batches do not use the connection of a cancelled one");
    fixture.unblock().await;
    let second = second.await.unwrap().unwrap();
    assert!(second[0].answer.is_ok());
    wait_until("the connection is closed", async || !fixture.sessions().await.contains(&process)).await;
    // The cancelled batch took effect.
    let again = run(&*fixture.store, &one("held")).await.unwrap();
    assert!(again[0].replayed);
    assert_eq!(verified_counts(&*fixture.store).await, (4, 4));
}
