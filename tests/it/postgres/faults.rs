//! A database that fails under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pvz::adapters::postgres::{PostgresStore, migrate};
use pvz::domain::Reason;
use pvz::ports::{ErrorKind, OrderStore as _};
use tokio::task::JoinSet;

use super::cluster::{Cluster, cluster};
use super::{check, reason, run};
use crate::process::TIMEOUT;
use crate::support::commands::{accept, order, parcel};

/// Accepts orders one after the other, each until the store says what became of
/// it, and answers how many of them it had to leave in doubt.
async fn accept_all(store: &PostgresStore, prefix: &str, count: usize) -> usize {
    let mut doubts = 0;
    for n in 0..count {
        let id = format!("{prefix}-{n}");
        let mut doubtful = false;
        loop {
            match run(store, &[accept(parcel(&id))]).await {
                Ok(outcomes) if outcomes[0].answer.is_ok() => break,
                // Only a command in doubt may find that it had been done.
                Ok(outcomes) => {
                    assert!(
                        doubtful && reason(&outcomes[0]) == Some(Reason::OrderAlreadyExists),
                        "{outcomes:?}"
                    );
                    break;
                }
                Err(error) if error.kind() == ErrorKind::InDoubt => {
                    (doubtful, doubts) = (true, doubts + 1);
                }
                Err(error) => assert!(error.retryable(), "{error:?}"),
            }
        }
        assert!(found(store, &id).await, "{id} was acknowledged");
    }
    doubts
}

async fn found(store: &PostgresStore, id: &str) -> bool {
    loop {
        match store.order(&order(id)).await {
            Ok(found) => return found.is_some(),
            Err(error) => assert!(error.retryable(), "{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_connections_are_killed() {
    const WRITERS: usize = 4;
    const ORDERS: usize = 60;
    let (store, database) = super::cluster::store().await;
    let shell = database.shell().await;
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let killing = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let mut killed = 0;
        while !stop.load(Ordering::SeqCst) {
            pace.tick().await;
            let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE datname = current_database() AND application_name = 'pvz' \
                         ORDER BY random() LIMIT 1";
            killed += shell.execute(query, &[]).await.unwrap();
        }
        killed
    });
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move { accept_all(&store, &format!("writer-{writer}"), ORDERS).await });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    assert!(killing.await.unwrap() > 0);
    assert_eq!(check(&*store).await, ((WRITERS * ORDERS) as u64, (WRITERS * ORDERS) as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_crash_of_the_database() {
    let own = Arc::new(Cluster::start());
    let database = own.database(false).await;
    migrate(&database.options()).await.unwrap();
    let store = Arc::new(database.open().await);
    let writing = Arc::clone(&store);
    let writer = tokio::spawn(async move { accept_all(&writing, "order", 200).await });
    for n in [20, 100] {
        let id = order(&format!("order-{n}"));
        let reached = async {
            while !matches!(store.order(&id).await, Ok(Some(_))) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, reached).await.unwrap();
        let crashing = Arc::clone(&own);
        tokio::task::spawn_blocking(move || {
            crashing.crash();
            crashing.run();
        })
        .await
        .unwrap();
    }
    writer.await.unwrap();
    assert_eq!(check(&*store).await, (200, 200));
    own.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_too_long_makes_the_store_unavailable_and_nothing_more() {
    let database = cluster().database(true).await;
    let mut options = database.options();
    options.timeout = Duration::from_millis(300);
    let store = PostgresStore::open(&options).await.unwrap();
    run(&store, &[accept(parcel("one"))]).await.unwrap();
    let holder = database.shell().await;
    holder.batch_execute("BEGIN; SELECT FROM orders FOR UPDATE").await.unwrap();
    let asks = [accept(parcel("two")), accept(parcel("one"))];
    let error = run(&store, &asks).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    holder.batch_execute("ROLLBACK").await.unwrap();
    let outcomes = run(&store, &asks).await.unwrap();
    assert!(outcomes[0].answer.is_ok());
    assert_eq!(reason(&outcomes[1]), Some(Reason::OrderAlreadyExists));
    assert_eq!(check(&store).await, (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_database_is_not_ready() {
    let (store, database) = super::cluster::store().await;
    store.ping().await.unwrap();
    let shell = database.shell().await;
    let name = &database.name;
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    shell.batch_execute(&read_only).await.unwrap();
    let fresh = database.open().await;
    assert!(fresh.ping().await.unwrap_err().retryable());
    let error = run(&fresh, &[accept(parcel("one"))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.ping().await.unwrap();
}
