//! Notifications of commits among the replicas on one store: a commit on one replica wakes the
//! relay and the watchers of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::ports::{CommitNotifications, PortError, chain};

/// Minimum interval between two notifications. Commits within it share one.
const APART: Duration = Duration::from_millis(15);
/// Pause before a broken connection is opened again. Receivers poll in the meantime.
const PAUSE: Duration = Duration::from_millis(500);

/// Notifies other replicas of commits, and counts their notifications as commits.
pub struct NotifyReplicas {
    news: Arc<dyn CommitNotifications>,
    committed: watch::Sender<u64>,
    /// The part of the commit count that came from other replicas.
    heard: AtomicU64,
}

impl NotifyReplicas {
    /// `committed` counts the commits of this replica; notifications of other replicas are added
    /// to it.
    pub fn new(news: Arc<dyn CommitNotifications>, committed: watch::Sender<u64>) -> Self {
        Self { news, committed, heard: AtomicU64::new(0) }
    }

    /// Runs until `stop` is cancelled. Opens a broken connection again.
    pub async fn run(self, stop: CancellationToken) {
        let mut broken = false;
        while let Some(ended) = stop.run_until_cancelled(self.share(&mut broken)).await {
            // Logs once per outage, not once per attempt.
            if let Err(error) = ended
                && !std::mem::replace(&mut broken, true)
            {
                tracing::warn!(cause = chain(&error), "notifications from other replicas are delayed");
            }
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    /// Sends and receives notifications until the connection fails.
    async fn share(&self, broken: &mut bool) -> Result<(), PortError> {
        let mut line = self.news.listen().await?;
        *broken = false;
        // Commits may have happened while no connection was open.
        self.wake();
        let mut changed = self.committed.subscribe();
        let (mut told, mut next) = (0, Instant::now());
        loop {
            let own = self.own();
            tokio::select! {
                heard = line.wait() => {
                    heard?;
                    self.wake();
                }
                () = sleep_until(next), if own > told => {
                    told = own;
                    line.notify().await?;
                    next = Instant::now() + APART;
                }
                // The channel cannot be closed, because this struct holds a sender.
                _ = changed.changed(), if own == told => {}
            }
        }
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
