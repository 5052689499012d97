//! Tests of caches on two replicas of one database: what a reader sees of the changes of the other
//! replica, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use pvz::adapters::moka::{MokaCache, MokaOptions};
use pvz::adapters::postgres::{PostgresNotifications, PostgresStore};
use pvz::adapters::system::SystemIds;
use pvz::app::{Admission, CachedOrders, Caller, NotifyReplicas, PublishChanges, Writer, WriterLimits};
use pvz::domain::{BatchMode, Policy};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::cluster::{Database, cluster};
use crate::process::TIMEOUT;
use crate::support::commands::{TestCommand, accept, accept_return, issue, order, parcel, point};
use crate::support::time::TestClock;

const ORDERS: usize = 100;
/// The time after which the other replicas no longer show the old version.
const BOUND: Duration = Duration::from_millis(30);

/// A replica: a writer, a cache whose entries do not expire, and the notifications.
struct Replica {
    writer: Writer,
    orders: CachedOrders,
    /// The newest version of each order that was shown.
    shown: Vec<AtomicI64>,
    woken: watch::Receiver<u64>,
    stop: CancellationToken,
}

impl Replica {
    /// Starts a replica and waits until it listens.
    async fn start(database: &Database) -> Arc<Self> {
        let options = database.serving_options();
        let store = Arc::new(PostgresStore::open(&options).await.unwrap());
        let hour = Duration::from_hours(1);
        let cache = Arc::new(MokaCache::new(&MokaOptions {
            time_to_live: hour,
            negative_time_to_live: hour,
            ..MokaOptions::default()
        }));
        let changes = PublishChanges::new(cache.clone());
        let limits = WriterLimits { queue: 1_000, batch: 16, retry_budget: Duration::from_secs(10) };
        let policy = Arc::new(Policy::standard(point("main")));
        let ids = Arc::new(SystemIds);
        let clock = Arc::new(TestClock::default());
        let writer = Writer::new(store.clone(), clock, ids, policy, limits, changes.clone());
        for _ in 0..2 {
            tokio::spawn(writer.clone().work());
        }
        let (stop, mut woken) = (CancellationToken::new(), writer.committed());
        let notifications = Arc::new(PostgresNotifications::new(&options));
        let replicas = NotifyReplicas::new(notifications, writer.commit_counter(), changes);
        tokio::spawn(replicas.run(stop.clone()));
        timeout(TIMEOUT, woken.changed()).await.expect("it listens").unwrap();
        let orders = CachedOrders::new(cache, store);
        let shown = std::iter::repeat_with(AtomicI64::default).take(ORDERS).collect();
        Arc::new(Self { writer, orders, shown, woken, stop })
    }

    async fn write(&self, command: TestCommand) {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let caller = Caller { actor: command.actor, scope: String::new(), traceparent: None, deadline };
        let outcome = self.writer.submit(command.command, &caller, command.key, Admission::Immediate).await;
        outcome.unwrap().answer.unwrap();
    }

    /// Reads an order and returns its version, 0 if it does not exist. Panics if it was shown in a
    /// newer version before.
    async fn read(&self, number: usize) -> i64 {
        let floor = self.shown[number].load(Ordering::SeqCst);
        let found = self.orders.get(&order(&name(number))).await.unwrap();
        let version = found.map_or(0, |order| order.version);
        assert!(version >= floor, "order {number} in version {version}, after version {floor}");
        self.shown[number].fetch_max(version, Ordering::SeqCst);
        version
    }

    /// Reads an order until it is shown in a version.
    async fn wait_for(&self, number: usize, version: i64) {
        let shown = async {
            while self.read(number).await < version {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(TIMEOUT, shown).await.expect("the new version is shown");
    }

    /// Reads all orders again and again until `done`.
    fn spawn_reader(self: &Arc<Self>, done: &Arc<AtomicBool>) -> JoinHandle<()> {
        let (replica, done) = (Arc::clone(self), Arc::clone(done));
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                for number in 0..ORDERS {
                    replica.read(number).await;
                }
                // Leaves the processors to the writers.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.writer.close();
        self.stop.cancel();
    }
}

fn name(number: usize) -> String {
    format!("order-{number}")
}

/// Returns the command that brings an order to a version.
fn command(number: usize, version: i64) -> TestCommand {
    let id = name(number);
    match version {
        1 => accept(parcel(&id)),
        2 => issue(&[&id], BatchMode::Atomic),
        _ => accept_return(&id, "c1", None),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_version_goes_backwards_and_old_ones_are_gone_within_the_bound() {
    let database = cluster().database(true).await;
    let replicas = [Replica::start(&database).await, Replica::start(&database).await];
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..8).map(|number| replicas[number % 2].spawn_reader(&done)).collect();
    let mut delays = Vec::new();
    for version in 1..=3 {
        for number in 0..ORDERS {
            let [writing, other] = if (number + usize::try_from(version).unwrap()) % 2 == 0 {
                [&replicas[0], &replicas[1]]
            } else {
                [&replicas[1], &replicas[0]]
            };
            // Both have the old version.
            assert_eq!((writing.read(number).await, other.read(number).await), (version - 1, version - 1));
            writing.write(command(number, version)).await;
            let answered = Instant::now();
            assert_eq!(writing.read(number).await, version, "the replica that answered");
            other.wait_for(number, version).await;
            delays.push(answered.elapsed());
        }
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    delays.sort_unstable();
    let [median, nine_of_ten, longest] =
        [delays.len() / 2, delays.len() * 9 / 10, delays.len() - 1].map(|index| delays[index]);
    println!(
        "old versions were shown for {median:?}, nine of ten up to {nine_of_ten:?}, at most {longest:?}"
    );
    // Other tests share the processors.
    assert!(nine_of_ten < 5 * BOUND, "{nine_of_ten:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_not_announced_is_seen_after_the_reconnect() {
    let database = cluster().database(true).await;
    let writing = Replica::start(&database).await;
    let deaf = Replica::start(&database).await;
    for number in 0..ORDERS {
        assert_eq!(deaf.read(number).await, 0);
    }
    let mut woken = deaf.woken.clone();
    woken.mark_unchanged();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query ~ '^LISTEN|pg_notify' AND pid <> pg_backend_pid()";
    let ended: i64 = database.shell().await.query_one(end, &[]).await.unwrap().get(0);
    assert_eq!(ended, 2);
    for number in 0..ORDERS {
        writing.write(command(number, 1)).await;
    }
    for number in 0..ORDERS {
        deaf.wait_for(number, 1).await;
    }
    timeout(TIMEOUT, woken.changed()).await.expect("it listens again").unwrap();
    // Announcements arrive again.
    for number in 0..ORDERS {
        writing.write(command(number, 2)).await;
        deaf.wait_for(number, 2).await;
    }
}
