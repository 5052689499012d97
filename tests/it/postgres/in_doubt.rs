//! The connection dies during COMMIT: the answer must be the true one.

use std::sync::Arc;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::BatchMode;
use pvz::ports::OrderStore as _;

use super::cluster::{Database, cluster};
use super::proxy::{Cut, Proxy};
use super::{check, run};
use crate::support::commands::{TestCommand, accept, issue, order, parcel};

/// A store behind a proxy.
async fn behind_a_proxy() -> (Arc<PostgresStore>, Proxy, Database) {
    let database = cluster().database(true).await;
    let proxy = Proxy::start(database.port).await;
    let mut options = database.options();
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(proxy.port).user("pvz").dbname(&database.name);
    options.server.config = config;
    (Arc::new(PostgresStore::open(&options).await.unwrap()), proxy, database)
}

/// Makes COMMIT of a new order take its time.
const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (new.order_id LIKE 'slow%') EXECUTE FUNCTION slow()";

/// With orders only, their write is its own transaction; with something else
/// in the batch there is a COMMIT.
async fn says_the_truth(cut: Cut, order_id: &str, ask: impl Fn(&str) -> TestCommand) {
    for beside in [None, Some(issue(&["there"], BatchMode::Atomic))] {
        let (store, proxy, database) = behind_a_proxy().await;
        database.shell().await.batch_execute(SLOW).await.unwrap();
        run(&*store, &[accept(parcel("there"))]).await.unwrap();
        proxy.cut_next(cut);
        let events = 3 + u64::from(beside.is_some());
        let asks: Vec<TestCommand> = [ask(order_id), ask("beside")].into_iter().chain(beside).collect();
        let outcomes = run(&*store, &asks).await.unwrap();
        assert!(proxy.has_cut());
        assert!(outcomes.iter().all(|outcome| outcome.answer.is_ok()), "{outcomes:?}");
        assert!(store.order(&order(order_id)).await.unwrap().is_some());
        assert_eq!(check(&*store).await, (3, events));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_lost_is_made_again() {
    says_the_truth(Cut::Before, "one", |id| accept(parcel(id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_found() {
    says_the_truth(Cut::After, "one", |id| accept(parcel(id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_still_going_on_is_ended_before_it_is_looked_for() {
    says_the_truth(Cut::After, "slow", |id| accept(parcel(id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_with_a_key_have_one_effect_too() {
    for cut in [Cut::Before, Cut::After] {
        says_the_truth(cut, "slow", |id| accept(parcel(id)).key(&format!("key-{id}"))).await;
    }
}

/// A write has said what it did before its triggers run and before it commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_after_its_row_was_sent_was_not_acknowledged() {
    for at_once in [false, true] {
        let (store, database) = super::cluster::store().await;
        let moment = if at_once { "IMMEDIATE" } else { "DEFERRED" };
        let never = format!(
            "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'never'; END $$;
            CREATE CONSTRAINT TRIGGER never AFTER INSERT ON orders DEFERRABLE INITIALLY {moment}
                FOR EACH ROW WHEN (new.order_id LIKE 'never%') EXECUTE FUNCTION never()"
        );
        database.shell().await.batch_execute(&never).await.unwrap();
        run(&*store, &[accept(parcel("there"))]).await.unwrap();
        let never = || accept(parcel("never"));
        for asks in
            [vec![never()], vec![never().key("key")], vec![never(), issue(&["there"], BatchMode::Atomic)]]
        {
            let error = run(&*store, &asks).await.unwrap_err();
            assert!(error.retryable(), "{moment}: {error:?}");
        }
        run(&*store, &[accept(parcel("always"))]).await.unwrap();
        assert_eq!(check(&*store).await, (2, 2));
    }
}

/// Sessions are ended while they write, at no particular moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sessions_that_are_ended_nothing_acknowledged_is_lost() {
    let (store, database) = super::cluster::store().await;
    let ended = database.shell().await;
    let ending = tokio::spawn(async move {
        loop {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'pvz'";
            ended.execute(others, &[]).await.unwrap();
            // Waits for nothing: it is how often sessions are ended.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let mut acknowledged = Vec::new();
    // As many as it takes: the fewer, the slower the machine.
    for number in 0.. {
        if acknowledged.len() == 60 {
            break;
        }
        let id = format!("order-{number}");
        if run(&*store, &[accept(parcel(&id))]).await.is_ok() {
            acknowledged.push(id);
        }
    }
    ending.abort();
    let _ = ending.await;
    check(&*store).await;
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
async fn a_stored_refusal_proves_nothing_and_is_asked_for_again() {
    let (store, proxy, _database) = behind_a_proxy().await;
    let ask = [crate::support::commands::accept_return("nowhere", "c1", None).key("key")];
    proxy.cut_next(Cut::After);
    let first = run(&*store, &ask).await.unwrap();
    assert!(proxy.has_cut());
    let second = run(&*store, &ask).await.unwrap();
    assert_eq!(first[0].answer, second[0].answer);
    assert!(second[0].replayed);
}
