//! Tests of commit notifications between replicas. The tests do not poll, so only a
//! notification can wake a replica.

use std::sync::Arc;

use pvz::adapters::null::NullCache;
use pvz::adapters::postgres::PostgresNotifications;
use pvz::app::{NotifyReplicas, PublishChanges};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::cluster::{Database, store};
use crate::process::TIMEOUT;

/// A replica that sends and receives notifications.
struct Replica {
    committed: watch::Sender<u64>,
    woken: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Replica {
    /// Starts a replica and waits until it listens.
    async fn new(database: &Database) -> Self {
        let committed = watch::Sender::new(0);
        let notifications = Arc::new(PostgresNotifications::new(&database.options()));
        let stop = CancellationToken::new();
        let mut woken = committed.subscribe();
        let changes = PublishChanges::new(Arc::new(NullCache));
        tokio::spawn(NotifyReplicas::new(notifications, committed.clone(), changes).run(stop.clone()));
        timeout(TIMEOUT, woken.changed()).await.expect("the replica wakes when it starts to listen").unwrap();
        Self { committed, woken, stop }
    }

    fn commit(&self) {
        self.committed.send_modify(|commits| *commits += 1);
    }

    async fn wait_for_wake(&mut self) {
        timeout(TIMEOUT, self.woken.changed()).await.expect("a notification").unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_wake_the_other_replicas() {
    let (_, database) = store().await;
    let (mut one, mut other) = (Replica::new(&database).await, Replica::new(&database).await);
    for _ in 0..20 {
        one.commit();
        other.wait_for_wake().await;
    }
    // A burst is coalesced into a few messages, the last one after the last commit.
    let before = *other.committed.borrow();
    for _ in 0..10_000 {
        one.commit();
    }
    other.wait_for_wake().await;
    let received = *other.committed.borrow() - before;
    assert!(received < 1_000, "{received} messages for one burst");
    one.woken.mark_unchanged();
    other.commit();
    one.wait_for_wake().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connection_is_reopened_and_wakes_the_replica() {
    let (_, database) = store().await;
    let (one, mut other) = (Replica::new(&database).await, Replica::new(&database).await);
    other.woken.mark_unchanged();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query ~ '^LISTEN|pg_notify' AND pid <> pg_backend_pid()";
    let ended: i64 = database.shell().await.query_one(end, &[]).await.unwrap().get(0);
    assert_eq!(ended, 2);
    // Notifications may have been lost, so the replica wakes.
    other.wait_for_wake().await;
    other.woken.mark_unchanged();
    let received = async {
        loop {
            one.commit();
            tokio::select! {
                () = other.wait_for_wake() => break,
                () = tokio::task::yield_now() => {}
            }
        }
    };
    timeout(TIMEOUT, received).await.expect("a notification after the reconnect");
}
