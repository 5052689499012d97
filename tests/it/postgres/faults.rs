//! Database faults under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pvz::adapters::postgres::{PostgresStore, migrate};
use pvz::domain::Reason;
use pvz::ports::{ErrorKind, OrderStore as _};
use tokio::task::JoinSet;

use super::cluster::{Cluster, cluster};
use super::{reason, run, verified_counts};
use crate::process::TIMEOUT;
use crate::support::commands::{accept, order, parcel};

/// Accepts orders one after another. Retries each until the store returns its
/// outcome.
async fn accept_all(store: &PostgresStore, prefix: &str, count: usize) {
    for n in 0..count {
        let id = format!("{prefix}-{n}");
        let mut is_in_doubt = false;
        loop {
            match run(store, &[accept(parcel(&id))]).await {
                Ok(outcomes) if outcomes[0].answer.is_ok() => break,
                // Only a command in doubt may find its order already accepted.
                Ok(outcomes) => {
                    assert!(
                        is_in_doubt && reason(&outcomes[0]) == Some(Reason::OrderAlreadyExists),
                        "{outcomes:?}"
                    );
                    break;
                }
                Err(error) if error.kind() == ErrorKind::InDoubt => is_in_doubt = true,
                Err(error) => assert!(error.retryable(), "{error:?}"),
            }
        }
        assert!(is_stored(store, &id).await, "{id} was acknowledged");
    }
}

/// Returns true if the order is stored. Retries failed reads.
async fn is_stored(store: &PostgresStore, id: &str) -> bool {
    loop {
        match store.order(&order(id)).await {
            Ok(found) => return found.is_some(),
            Err(error) => assert!(error.retryable(), "{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_neither_lose_nor_repeat_commands() {
    const WRITERS: usize = 4;
    const ORDERS: usize = 60;
    let (store, database) = super::cluster::store().await;
    let shell = database.shell().await;
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let killer = tokio::spawn(async move {
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
    assert!(killer.await.unwrap() > 0);
    assert_eq!(verified_counts(&*store).await, ((WRITERS * ORDERS) as u64, (WRITERS * ORDERS) as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_orders_survive_database_crashes() {
    let cluster = Arc::new(Cluster::start());
    let database = cluster.database(false).await;
    migrate(&database.options()).await.unwrap();
    let store = Arc::new(database.open().await);
    let writer_store = Arc::clone(&store);
    let writer = tokio::spawn(async move { accept_all(&writer_store, "order", 200).await });
    for n in [20, 100] {
        let id = order(&format!("order-{n}"));
        let reached = async {
            while !matches!(store.order(&id).await, Ok(Some(_))) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, reached).await.unwrap();
        let restarted = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || {
            restarted.crash();
            restarted.run();
        })
        .await
        .unwrap();
    }
    writer.await.unwrap();
    assert_eq!(verified_counts(&*store).await, (200, 200));
    cluster.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_timeout_is_unavailable_and_has_no_effect() {
    let database = cluster().database(true).await;
    let mut options = database.options();
    options.timeout = Duration::from_millis(300);
    let store = PostgresStore::open(&options).await.unwrap();
    run(&store, &[accept(parcel("one"))]).await.unwrap();
    let holder = database.shell().await;
    holder.batch_execute("BEGIN; SELECT FROM orders FOR UPDATE").await.unwrap();
    let commands = [accept(parcel("two")), accept(parcel("one"))];
    let error = run(&store, &commands).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    holder.batch_execute("ROLLBACK").await.unwrap();
    let outcomes = run(&store, &commands).await.unwrap();
    assert!(outcomes[0].answer.is_ok());
    assert_eq!(reason(&outcomes[1]), Some(Reason::OrderAlreadyExists));
    assert_eq!(verified_counts(&store).await, (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_database_is_not_ready() {
    let (store, database) = super::cluster::store().await;
    store.ping().await.unwrap();
    let shell = database.shell().await;
    let name = &database.name;
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    shell.batch_execute(&read_only).await.unwrap();
    let read_only_store = database.open().await;
    assert!(read_only_store.ping().await.unwrap_err().retryable());
    let error = run(&read_only_store, &[accept(parcel("one"))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.ping().await.unwrap();
}
