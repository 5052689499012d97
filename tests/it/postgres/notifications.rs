//! Commits of one replica wake the other ones. Nothing here polls, so that only
//! news can be why.

use std::sync::Arc;

use pvz::adapters::postgres::PostgresNotifications;
use pvz::app::NotifyReplicas;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::cluster::{Database, store};
use crate::process::TIMEOUT;

/// The commits of a replica, shared as long as it is there.
struct Replica {
    committed: watch::Sender<u64>,
    woken: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Replica {
    /// One that listens.
    async fn new(database: &Database) -> Self {
        let committed = watch::Sender::new(0);
        let news = Arc::new(PostgresNotifications::new(&database.options()));
        let stop = CancellationToken::new();
        let mut woken = committed.subscribe();
        tokio::spawn(NotifyReplicas::new(news, committed.clone()).run(stop.clone()));
        timeout(TIMEOUT, woken.changed()).await.expect("it wakes when it begins to listen").unwrap();
        Self { committed, woken, stop }
    }

    fn commit(&self) {
        self.committed.send_modify(|commits| *commits += 1);
    }

    async fn wakes(&mut self) {
        timeout(TIMEOUT, self.woken.changed()).await.expect("news").unwrap();
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
        other.wakes().await;
    }
    // A burst is a few messages, and the last of it is heard after it.
    let before = *other.committed.borrow();
    for _ in 0..10_000 {
        one.commit();
    }
    other.wakes().await;
    let heard = *other.committed.borrow() - before;
    assert!(heard < 1_000, "{heard} messages for one burst");
    one.woken.mark_unchanged();
    other.commit();
    one.wakes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_line_is_made_again_and_whoever_waits_is_woken() {
    let (_, database) = store().await;
    let (one, mut other) = (Replica::new(&database).await, Replica::new(&database).await);
    other.woken.mark_unchanged();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query ~ '^LISTEN|pg_notify' AND pid <> pg_backend_pid()";
    let ended: i64 = database.shell().await.query_one(end, &[]).await.unwrap().get(0);
    assert_eq!(ended, 2);
    // What was committed meanwhile is not known: it looks.
    other.wakes().await;
    other.woken.mark_unchanged();
    let heard = async {
        loop {
            one.commit();
            tokio::select! {
                () = other.wakes() => break,
                () = tokio::task::yield_now() => {}
            }
        }
    };
    timeout(TIMEOUT, heard).await.expect("news again");
}
