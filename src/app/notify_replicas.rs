//! Notifications of commits among the replicas on one store: a commit on one replica wakes the
//! relay and the watchers of the others, and removes older versions of its orders from their caches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::PublishChanges;
use crate::ports::{Announcements, ChangedOrders, CommitNotifications, CommitNotifier, PortError, chain};

/// Minimum interval between two notifications. Commits within it share one.
const APART: Duration = Duration::from_millis(15);
/// Pause before a broken connection is opened again. Receivers poll in the meantime.
const PAUSE: Duration = Duration::from_millis(500);

/// Notifies other replicas of commits and their orders, counts their notifications as commits, and
/// applies them to the cache.
pub struct NotifyReplicas {
    news: Arc<dyn CommitNotifications>,
    committed: watch::Sender<u64>,
    changes: PublishChanges,
    /// The part of the commit count that came from other replicas.
    heard: AtomicU64,
}

impl NotifyReplicas {
    /// `committed` counts the commits of this replica; notifications of other replicas are added
    /// to it. `changes` has the orders that the commits changed, and the cache.
    pub fn new(
        news: Arc<dyn CommitNotifications>,
        committed: watch::Sender<u64>,
        changes: PublishChanges,
    ) -> Self {
        Self { news, committed, changes, heard: AtomicU64::new(0) }
    }

    /// Runs until `stop` is cancelled. Opens a broken connection again.
    pub async fn run(self, stop: CancellationToken) {
        let mut broken = false;
        loop {
            let ended = self.share(&mut broken, &stop).await;
            if stop.is_cancelled() {
                return;
            }
            // Logs once per outage, not once per attempt.
            if let Err(error) = ended
                && !std::mem::replace(&mut broken, true)
            {
                self.changes.cache().clear(Announcements::Missed).await;
                tracing::warn!(cause = chain(&error), "notifications from other replicas are delayed");
            }
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    /// Sends and receives notifications until the connection fails or `stop` is cancelled.
    async fn share(&self, broken: &mut bool, stop: &CancellationToken) -> Result<(), PortError> {
        let Some(line) = stop.run_until_cancelled(self.news.listen()).await else { return Ok(()) };
        let mut line = line?;
        *broken = false;
        // Commits may have happened while no connection was open.
        self.changes.cache().clear(Announcements::Received).await;
        self.wake();
        let mut changed = self.committed.subscribe();
        let (mut told, mut next) = (0, Instant::now());
        loop {
            let own = self.own();
            let all_told = self.all_told(told);
            tokio::select! {
                heard = line.wait() => {
                    match heard? {
                        ChangedOrders::Named(stale) => self.changes.cache().invalidate(&stale).await,
                        ChangedOrders::Any => self.changes.cache().clear(Announcements::Received).await,
                    }
                    self.wake();
                }
                () = sleep_until(next), if !all_told => {
                    told = own;
                    self.notify(&mut *line).await?;
                    next = Instant::now() + APART;
                }
                // The channel cannot be closed, because this struct holds a sender.
                _ = changed.changed(), if all_told => {}
                () = self.changes.wait_for_changes(), if all_told => {}
                () = stop.cancelled() => {
                    // Changes may have been added since the check above.
                    return if self.all_told(told) { Ok(()) } else { self.notify(&mut *line).await };
                }
            }
        }
    }

    /// Returns true if the other replicas know of all commits and changes. `told` commits were
    /// reported.
    fn all_told(&self, told: u64) -> bool {
        self.own() == told && self.changes.all_announced()
    }

    /// Notifies the other replicas of all changes so far. Keeps them if that fails.
    async fn notify(&self, line: &mut dyn CommitNotifier) -> Result<(), PortError> {
        let changed = self.changes.take_unannounced();
        let notified = line.notify(&changed).await;
        if notified.is_err() {
            self.changes.announce(changed);
        }
        notified
    }

    fn wake(&self) {
        self.committed.send_modify(|count| {
            self.heard.fetch_add(1, Ordering::Relaxed);
            *count += 1;
        });
    }

    /// Returns the number of this replica's commits.
    fn own(&self) -> u64 {
        // Both numbers are read under the lock of the count, so that they match.
        let count = self.committed.borrow();
        *count - self.heard.load(Ordering::Relaxed)
    }
}
