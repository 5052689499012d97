//! What every exchange of news of commits must do.

use std::sync::Arc;

use pvz::adapters::postgres::{PostgresNotifications, PostgresNotifier};
use pvz::ports::{CommitNotifications, CommitNotifier};
use tokio::time::timeout;

use crate::postgres::cluster::{Database, store};
use crate::process::TIMEOUT;

async fn postgres() -> (Arc<dyn CommitNotifications>, Database) {
    let (_, database) = store().await;
    (Arc::new(PostgresNotifications::new(&database.options())), database)
}

async fn hears(line: &mut dyn CommitNotifier) {
    timeout(TIMEOUT, line.wait()).await.expect("news").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_hear_what_one_tells_and_it_does_not() {
    let (news, _database) = postgres().await;
    let (mut one, mut other) = (news.listen().await.unwrap(), news.listen().await.unwrap());
    one.notify().await.unwrap();
    hears(&mut *other).await;
    other.notify().await.unwrap();
    hears(&mut *one).await;
    // Its own would have come before the other's, and once is all there was.
    assert!(futures::poll!(one.wait()).is_pending());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_nobody_waits() {
    let (news, _database) = postgres().await;
    let (mut one, mut other) = (news.listen().await.unwrap(), news.listen().await.unwrap());
    for _ in 0..50 {
        one.notify().await.unwrap();
        // Given up before anything came.
        let _ = futures::poll!(other.wait());
    }
    one.notify().await.unwrap();
    hears(&mut *other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_broke_says_so_and_another_one_hears() {
    let (news, database) = postgres().await;
    let mut one = news.listen().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ~ 'LISTEN|backend_pid'";
    database.shell().await.execute(end, &[]).await.unwrap();
    let received = timeout(TIMEOUT, one.wait()).await.expect("it notices");
    assert!(received.unwrap_err().retryable());
    assert!(one.notify().await.is_err());
    let mut again = news.listen().await.unwrap();
    let mut other: PostgresNotifier = PostgresNotifications::new(&database.options()).open().await.unwrap();
    other.notify().await.unwrap();
    hears(&mut *again).await;
}
