//! A connection that breaks during COMMIT: the store must return the actual outcome.

use std::sync::Arc;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::BatchMode;
use pvz::ports::OrderStore as _;

use super::cluster::{Database, cluster};
use super::proxy::{Cut, Proxy};
use super::{run, verified_counts};
use crate::support::commands::{TestCommand, accept, issue, order, parcel};

/// Returns a store that connects through a proxy.
async fn store_behind_proxy() -> (Arc<PostgresStore>, Proxy, Database) {
    let database = cluster().database(true).await;
    let proxy = Proxy::start(database.port).await;
    let mut options = database.options();
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(proxy.port).user("pvz").dbname(&database.name);
    options.server.config = config;
    (Arc::new(PostgresStore::open(&options).await.unwrap()), proxy, database)
}

/// Delays the COMMIT of a new order by 2 s.
const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (new.order_id LIKE 'slow%') EXECUTE FUNCTION slow()";

/// Cuts the connection at the commit of a batch, and asserts that its commands succeed
/// once. A batch of new orders is one statement outside a transaction block; the issue
/// of another order makes it a transaction with a COMMIT.
async fn assert_batch_succeeds_once(cut: Cut, order_id: &str, command: impl Fn(&str) -> TestCommand) {
    for issue in [None, Some(issue(&["existing"], BatchMode::Atomic))] {
        let (store, proxy, database) = store_behind_proxy().await;
        database.shell().await.batch_execute(SLOW).await.unwrap();
        run(&*store, &[accept(parcel("existing"))]).await.unwrap();
        proxy.cut_next(cut);
        let events = 3 + u64::from(issue.is_some());
        let commands: Vec<TestCommand> =
            [command(order_id), command("other")].into_iter().chain(issue).collect();
        let outcomes = run(&*store, &commands).await.unwrap();
        assert!(proxy.has_cut());
        assert!(outcomes.iter().all(|outcome| outcome.answer.is_ok()), "{outcomes:?}");
        assert!(store.order(&order(order_id)).await.unwrap().is_some());
        assert_eq!(verified_counts(&*store).await, (3, events));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_commit_is_retried() {
    assert_batch_succeeds_once(Cut::Before, "one", |id| accept(parcel(id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_with_a_lost_answer_is_found() {
    assert_batch_succeeds_once(Cut::After, "one", |id| accept(parcel(id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_commit_is_awaited_before_the_lookup() {
    assert_batch_succeeds_once(Cut::After, "slow", |id| accept(parcel(id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_with_a_request_id_have_one_effect() {
    for cut in [Cut::Before, Cut::After] {
        assert_batch_succeeds_once(cut, "slow", |id| accept(parcel(id)).key(&format!("key-{id}"))).await;
    }
}

/// A statement returns its rows before its triggers run and before the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_that_fails_after_returning_rows_is_not_acknowledged() {
    for is_immediate in [false, true] {
        let (store, database) = super::cluster::store().await;
        let timing = if is_immediate { "IMMEDIATE" } else { "DEFERRED" };
        let trigger = format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
            CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON orders DEFERRABLE INITIALLY {timing}
                FOR EACH ROW WHEN (new.order_id LIKE 'refused%') EXECUTE FUNCTION refuse()"
        );
        database.shell().await.batch_execute(&trigger).await.unwrap();
        run(&*store, &[accept(parcel("existing"))]).await.unwrap();
        let refused = || accept(parcel("refused"));
        for commands in [
            vec![refused()],
            vec![refused().key("key")],
            vec![refused(), issue(&["existing"], BatchMode::Atomic)],
        ] {
            let error = run(&*store, &commands).await.unwrap_err();
            assert!(error.retryable(), "{timing}: {error:?}");
        }
        run(&*store, &[accept(parcel("accepted"))]).await.unwrap();
        assert_eq!(verified_counts(&*store).await, (2, 2));
    }
}

/// Terminates the store's sessions every 20 ms while it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_orders_survive_terminated_sessions() {
    let (store, database) = super::cluster::store().await;
    let shell = database.shell().await;
    let terminating = tokio::spawn(async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            pace.tick().await;
            let sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'pvz'";
            shell.execute(sessions, &[]).await.unwrap();
        }
    });
    let mut acknowledged = Vec::new();
    // Until 60 orders are acknowledged, however many attempts fail.
    for number in 0.. {
        if acknowledged.len() == 60 {
            break;
        }
        let id = format!("order-{number}");
        if run(&*store, &[accept(parcel(&id))]).await.is_ok() {
            acknowledged.push(id);
        }
    }
    terminating.abort();
    let _ = terminating.await;
    verified_counts(&*store).await;
    for id in &acknowledged {
        let found = loop {
            if let Ok(found) = store.order(&order(id)).await {
                break found;
            }
        };
        assert!(found.is_some(), "{id} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_in_doubt_is_replayed() {
    let (store, proxy, _database) = store_behind_proxy().await;
    let command = [crate::support::commands::accept_return("nowhere", "c1", None).key("key")];
    proxy.cut_next(Cut::After);
    let first = run(&*store, &command).await.unwrap();
    assert!(proxy.has_cut());
    let second = run(&*store, &command).await.unwrap();
    assert_eq!(first[0].answer, second[0].answer);
    assert!(second[0].replayed);
}
