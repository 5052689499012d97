//! Tests of announcements among replicas, with a connection that the test controls.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pvz::adapters::moka::{MokaCache, MokaOptions};
use pvz::app::{NotifyReplicas, PublishChanges};
use pvz::domain::OrderId;
use pvz::ports::{ChangedOrders, CommitNotifications, CommitNotifier, PortError, SortedKeys, StaleOrder};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::source::{Cached, order};
use crate::contract::fixtures::id;

/// Test double: a connection to the other replicas.
#[derive(Clone)]
struct Line(Arc<State>);

struct State {
    sent: watch::Sender<Vec<ChangedOrders>>,
    /// The next notification fails.
    failing: Mutex<bool>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Result<ChangedOrders, PortError>>>,
    opened: watch::Sender<usize>,
}

#[async_trait]
impl CommitNotifications for Line {
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError> {
        self.0.opened.send_modify(|opened| *opened += 1);
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl CommitNotifier for Line {
    async fn notify(&mut self, changed: &ChangedOrders) -> Result<(), PortError> {
        if std::mem::take(&mut *self.0.failing.lock().unwrap()) {
            return Err(PortError::unavailable("the connection broke", "planted"));
        }
        self.0.sent.send_modify(|sent| sent.push(changed.clone()));
        Ok(())
    }

    async fn wait(&mut self) -> Result<ChangedOrders, PortError> {
        self.0.incoming.lock().await.recv().await.expect("the test keeps the sender")
    }
}

/// A replica with a cache.
struct Fixture {
    cached: Cached,
    changes: PublishChanges,
    line: Line,
    incoming: mpsc::Sender<Result<ChangedOrders, PortError>>,
    committed: watch::Sender<u64>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Fixture {
    /// Starts a replica and waits until it listens.
    async fn new() -> Self {
        let (incoming, receiver) = mpsc::channel(8);
        let line = Line(Arc::new(State {
            sent: watch::Sender::default(),
            failing: Mutex::default(),
            incoming: tokio::sync::Mutex::new(receiver),
            opened: watch::Sender::default(),
        }));
        let cache = MokaCache::new(&MokaOptions::default());
        let changes = PublishChanges::new(Arc::new(cache.clone()));
        let (committed, stop) = (watch::Sender::new(0), CancellationToken::new());
        let replicas = NotifyReplicas::new(Arc::new(line.clone()), committed.clone(), changes.clone());
        let mut woken = committed.subscribe();
        let task = tokio::spawn(replicas.run(stop.clone()));
        woken.changed().await.unwrap();
        Self { cached: Cached::new(cache), changes, line, incoming, committed, stop, task }
    }

    /// Reports a change of these orders with an unknown outcome.
    async fn change(&self, orders: impl Iterator<Item = OrderId>) {
        self.changes.failed(&orders.collect::<SortedKeys<_>>()).await;
    }

    /// Waits until that many notifications were sent, and returns them.
    async fn sent(&self, count: usize) -> Vec<ChangedOrders> {
        let mut sent = self.line.0.sent.subscribe();
        sent.wait_for(|sent| sent.len() >= count).await.unwrap().clone()
    }

    /// Delivers a notification of another replica, and waits until it was heard.
    async fn hear(&self, changed: Result<ChangedOrders, PortError>) {
        let mut woken = self.committed.subscribe();
        self.incoming.send(changed).await.unwrap();
        woken.changed().await.unwrap();
    }
}

fn named(order_id: &str, version: Option<i64>) -> ChangedOrders {
    ChangedOrders::Named(vec![StaleOrder { order_id: id(order_id), version }])
}

fn ids(count: usize) -> impl Iterator<Item = OrderId> {
    (0..count).map(|number| id(&format!("o-{number}")))
}

#[tokio::test(start_paused = true)]
async fn changes_are_announced_and_too_many_become_any() {
    let fixture = Fixture::new().await;
    fixture.change(ids(1)).await;
    assert_eq!(fixture.sent(1).await, [named("o-0", None)]);
    // A commit that changed nothing wakes the others.
    fixture.committed.send_modify(|count| *count += 1);
    assert_eq!(fixture.sent(2).await[1], ChangedOrders::default());
    fixture.change(ids(1_000)).await;
    let sent = fixture.sent(3).await;
    assert!(matches!(&sent[2], ChangedOrders::Named(orders) if orders.len() == 1_000));
    fixture.change(ids(1_001)).await;
    assert_eq!(fixture.sent(4).await[3], ChangedOrders::Any);
}

#[tokio::test(start_paused = true)]
async fn a_failed_announcement_is_repeated() {
    let fixture = Fixture::new().await;
    *fixture.line.0.failing.lock().unwrap() = true;
    fixture.change(ids(1)).await;
    assert_eq!(fixture.sent(1).await, [named("o-0", None)]);
    assert_eq!(*fixture.line.0.opened.borrow(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_changes_are_announced_before_the_end() {
    let fixture = Fixture::new().await;
    fixture.change(ids(1)).await;
    fixture.sent(1).await;
    // The second would be sent 15 ms after the first.
    fixture.change(ids(2)).await;
    fixture.stop.cancel();
    fixture.task.await.unwrap();
    assert!(matches!(&fixture.line.0.sent.borrow()[1], ChangedOrders::Named(orders) if orders.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn announcements_of_others_change_the_cache() {
    let fixture = Fixture::new().await;
    let cached = &fixture.cached;
    for number in ["o-0", "o-1"] {
        cached.write(&order(number, 1)).await;
    }
    fixture.hear(Ok(named("o-0", Some(2)))).await;
    assert_eq!((cached.held("o-0"), cached.held("o-1")), (None, Some(1)));
    fixture.hear(Ok(ChangedOrders::Any)).await;
    assert_eq!(cached.held("o-1"), None);
    cached.write(&order("o-1", 2)).await;
    assert_eq!(cached.held("o-1"), Some(2));
    // The next sign of life is the reconnect.
    fixture.hear(Err(PortError::unavailable("the connection broke", "planted"))).await;
    assert_eq!(cached.held("o-1"), None);
    cached.write(&order("o-1", 3)).await;
    assert_eq!(cached.held("o-1"), Some(3));
    assert!(cached.cache.statistics().entries > 0);
}
