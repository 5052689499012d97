//! News of commits, between the replicas of one store: what one commits wakes
//! the relay and the watchers of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::ports::{CommitNotifications, PortError, chain};

/// The least time between two messages; all commits in between share one.
const APART: Duration = Duration::from_millis(15);
/// The pause before a broken line is made again. Meanwhile everybody polls.
const PAUSE: Duration = Duration::from_millis(500);

/// Tells other replicas of our commits, and wakes ours for theirs.
pub struct NotifyReplicas {
    news: Arc<dyn CommitNotifications>,
    committed: watch::Sender<u64>,
    /// How many of the counts are not our own commits.
    heard: AtomicU64,
}

impl NotifyReplicas {
    /// A sharer; `committed` counts our commits, and will count the others' as
    /// well.
    pub fn new(news: Arc<dyn CommitNotifications>, committed: watch::Sender<u64>) -> Self {
        Self { news, committed, heard: AtomicU64::new(0) }
    }

    /// Works until `stop` is cancelled. A line that breaks is made again.
    pub async fn run(self, stop: CancellationToken) {
        let mut broken = false;
        while let Some(ended) = stop.run_until_cancelled(self.share(&mut broken)).await {
            // Once for each time that it breaks, however often it is tried.
            if let Err(error) = ended
                && !std::mem::replace(&mut broken, true)
            {
                tracing::warn!(cause = chain(&error), "news of other replicas' commits are late");
            }
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    /// Shares until the line breaks.
    async fn share(&self, broken: &mut bool) -> Result<(), PortError> {
        let mut line = self.news.listen().await?;
        *broken = false;
        // Whatever was committed while nobody listened.
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
                // It cannot be closed: we have a sender.
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

    /// How many of the commits were ours.
    fn own(&self) -> u64 {
        // Under the lock of the count, so that both are of one moment.
        let count = self.committed.borrow();
        *count - self.heard.load(Ordering::Relaxed)
    }
}
