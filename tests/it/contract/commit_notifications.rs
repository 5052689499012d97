//! The contract suite of `CommitNotifications`.

use std::sync::Arc;

use pvz::adapters::null::NullNotifications;
use pvz::adapters::postgres::{PostgresNotifications, PostgresNotifier};
use pvz::ports::{ChangedOrders, CommitNotifications, CommitNotifier, StaleOrder};
use tokio::time::timeout;

use crate::contract::fixtures::id;
use crate::postgres::cluster::{Database, store};
use crate::process::TIMEOUT;

async fn postgres() -> (Arc<dyn CommitNotifications>, Database) {
    let (_, database) = store().await;
    (Arc::new(PostgresNotifications::new(&database.options())), database)
}

async fn expect_notification(notifier: &mut dyn CommitNotifier) -> ChangedOrders {
    timeout(TIMEOUT, notifier.wait()).await.expect("a notification").unwrap()
}

fn changed(count: i64) -> ChangedOrders {
    let stale = |number: i64| StaleOrder {
        order_id: id(&format!("{number:0>64}")),
        version: (number % 7 > 0).then_some(number),
    };
    ChangedOrders::Named((0..count).map(stale).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_name_the_changed_orders() {
    let (notifications, _database) = postgres().await;
    let mut one = notifications.listen().await.unwrap();
    let mut other = notifications.listen().await.unwrap();
    for sent in [changed(0), changed(1), changed(1_000), ChangedOrders::Any] {
        one.notify(&sent).await.unwrap();
        // The payloads of one notification may arrive apart.
        let mut received = expect_notification(&mut *other).await;
        while received != sent {
            received.add(expect_notification(&mut *other).await, 1_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_reaches_the_others_and_not_its_sender() {
    let (notifications, _database) = postgres().await;
    let mut one = notifications.listen().await.unwrap();
    let mut other = notifications.listen().await.unwrap();
    one.notify(&ChangedOrders::default()).await.unwrap();
    expect_notification(&mut *other).await;
    other.notify(&ChangedOrders::default()).await.unwrap();
    expect_notification(&mut *one).await;
    // Its own notification would have arrived before the other's.
    assert!(futures::poll!(one.wait()).is_pending());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_wait_loses_no_notification() {
    let (notifications, _database) = postgres().await;
    let mut one = notifications.listen().await.unwrap();
    let mut other = notifications.listen().await.unwrap();
    for _ in 0..50 {
        one.notify(&ChangedOrders::default()).await.unwrap();
        // Dropped before the notification arrives.
        let _ = futures::poll!(other.wait());
    }
    one.notify(&ChangedOrders::default()).await.unwrap();
    expect_notification(&mut *other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_notifier_fails_and_a_new_one_works() {
    let (notifications, database) = postgres().await;
    let mut broken = notifications.listen().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ~ 'LISTEN|backend_pid'";
    database.shell().await.execute(end, &[]).await.unwrap();
    let waited = timeout(TIMEOUT, broken.wait()).await.expect("the notifier sees the lost connection");
    assert!(waited.unwrap_err().retryable());
    assert!(broken.notify(&ChangedOrders::default()).await.is_err());
    let mut again = notifications.listen().await.unwrap();
    let mut other: PostgresNotifier = PostgresNotifications::new(&database.options()).open().await.unwrap();
    other.notify(&ChangedOrders::default()).await.unwrap();
    expect_notification(&mut *again).await;
}

#[tokio::test]
async fn the_null_notifier_accepts_every_notification_and_delivers_none() {
    let mut one = NullNotifications.listen().await.unwrap();
    let mut other = NullNotifications.listen().await.unwrap();
    one.notify(&ChangedOrders::default()).await.unwrap();
    assert!(futures::poll!(other.wait()).is_pending());
    assert!(futures::poll!(one.wait()).is_pending());
}
