//! Statements that share a connection: what becomes of one says nothing of the
//! others.

use std::sync::Arc;
use std::task::Poll;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::Reason;
use pvz::ports::{Outcome, PortError};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::cluster::{Database, store};
use super::{check, reason, run};
use crate::faults::test_service::wait_until;
use crate::support::commands::{TestCommand, accept, parcel};

/// Whoever makes an order that is held waits for a lock.
const HOLD: &str = "
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NEW; END $$;
    CREATE TRIGGER hold BEFORE INSERT ON orders
        FOR EACH ROW WHEN (new.order_id LIKE 'held%') EXECUTE FUNCTION hold()";

/// A store with one connection that has written before, and a shell that holds
/// up who makes an order that is held.
struct Stage {
    store: Arc<PostgresStore>,
    shell: Client,
    _database: Database,
}

type Running = JoinHandle<Result<Vec<Outcome>, PortError>>;

impl Stage {
    async fn new() -> Self {
        let (store, database) = store().await;
        let shell = database.shell().await;
        shell.batch_execute(HOLD).await.unwrap();
        run(&*store, &[accept(parcel("before"))]).await.unwrap();
        shell.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
        let stage = Self { store, shell, _database: database };
        assert_eq!(stage.sessions().await.len(), 1);
        stage
    }

    /// Begins a batch, and comes back when it is held up in the database.
    async fn held(&self, asks: Vec<TestCommand>) -> (Running, i32) {
        let store = Arc::clone(&self.store);
        let running = tokio::spawn(async move { run(&*store, &asks).await });
        let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
            AND application_name = 'pvz' AND wait_event_type = 'Lock'";
        let mut process = None;
        wait_until("the batch is held up", async || {
            process = self.shell.query_opt(waiting, &[]).await.unwrap().map(|row| row.get(0));
            process.is_some()
        })
        .await;
        (running, process.unwrap())
    }

    /// Begins a batch behind it, on the same connection.
    async fn behind(&self, asks: Vec<TestCommand>) -> Running {
        let store = Arc::clone(&self.store);
        let mut batch = Box::pin(async move { run(&*store, &asks).await });
        // It takes its place when it is first looked at.
        assert!(matches!(futures::poll!(&mut batch), Poll::Pending));
        assert_eq!(self.sessions().await.len(), 1, "it has no connection of its own");
        tokio::spawn(batch)
    }

    async fn let_go(&self) {
        self.shell.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
    }

    /// The processes of the server that serve the store.
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
async fn two_batches_share_a_connection_and_a_third_has_another() {
    let stage = Stage::new().await;
    let (first, _) = stage.held(one("held")).await;
    let second = stage.behind(one("second")).await;
    let third = run(&*stage.store, &one("third")).await.unwrap();
    assert!(third[0].answer.is_ok());
    assert_eq!(stage.sessions().await.len(), 2);
    assert!(!first.is_finished() && !second.is_finished());
    stage.let_go().await;
    for running in [first, second] {
        let outcomes = running.await.unwrap().unwrap();
        assert!(outcomes[0].answer.is_ok() && !outcomes[0].replayed, "{outcomes:?}");
    }
    assert_eq!(check(&*stage.store).await, (4, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_fails_takes_no_other_with_it() {
    let stage = Stage::new().await;
    // In the order of their keys: the one that is there comes after the hold.
    let asks = vec![accept(parcel("held")), accept(parcel("there"))];
    run(&*stage.store, &one("there")).await.unwrap();
    let (first, _) = stage.held(asks).await;
    let second = stage.behind(one("second")).await;
    stage.let_go().await;
    let second = second.await.unwrap().unwrap();
    assert!(second[0].answer.is_ok() && !second[0].replayed, "{second:?}");
    let first = first.await.unwrap().unwrap();
    assert!(first[0].answer.is_ok(), "{first:?}");
    assert_eq!(reason(&first[1]), Some(Reason::OrderAlreadyExists));
    assert_eq!(check(&*stage.store).await, (4, 4));
}

/// What was executed and what waited behind it are both in doubt; neither is
/// lost, and neither is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_connection_dies_all_that_was_on_it_is_settled() {
    for key in [true, false] {
        let stage = Stage::new().await;
        let ask = |id| if key { one(id) } else { vec![accept(parcel(id))] };
        let (first, process) = stage.held(ask("held")).await;
        let second = stage.behind(ask("second")).await;
        stage.shell.execute("SELECT pg_terminate_backend($1)", &[&process]).await.unwrap();
        let second = second.await.unwrap().unwrap();
        assert!(second[0].answer.is_ok() && !second[0].replayed, "{second:?}");
        stage.let_go().await;
        let first = first.await.unwrap().unwrap();
        assert!(first[0].answer.is_ok() && !first[0].replayed, "{first:?}");
        assert_eq!(check(&*stage.store).await, (3, 3));
    }
}

/// Nobody knows what is still to come on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_a_caller_left_is_closed_when_the_others_are_done() {
    let stage = Stage::new().await;
    let (first, process) = stage.held(one("held")).await;
    let second = stage.behind(one("second")).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let third = run(&*stage.store, &one("third")).await.unwrap();
    assert!(third[0].answer.is_ok(), "nobody joins what was left");
    stage.let_go().await;
    let second = second.await.unwrap().unwrap();
    assert!(second[0].answer.is_ok());
    wait_until("the connection is closed", async || !stage.sessions().await.contains(&process)).await;
    // The caller did not wait for it, but it was done.
    let again = run(&*stage.store, &one("held")).await.unwrap();
    assert!(again[0].replayed);
    assert_eq!(check(&*stage.store).await, (4, 4));
}
