//! The warning about conflicts that a consumer shows with its readiness.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ports::{Conflicts, Inbox};

/// Interval at which the inbox is read.
const INTERVAL: Duration = Duration::from_secs(5);

/// A condition of a service that is ready, for operators; `None` if there is none.
pub type Warning = watch::Receiver<Option<String>>;

/// The use case that watches an inbox for conflicts.
pub struct WarnOfConflicts {
    inbox: Arc<dyn Inbox>,
    warning: watch::Sender<Option<String>>,
}

impl WarnOfConflicts {
    /// Creates the use case.
    pub fn new(inbox: Arc<dyn Inbox>) -> Self {
        Self { inbox, warning: watch::Sender::new(None) }
    }

    /// Returns a receiver of the warning.
    pub fn subscribe(&self) -> Warning {
        self.warning.subscribe()
    }

    /// Watches the inbox until `drain` is cancelled. If the inbox cannot be read, the last warning
    /// stays, and readiness reports the failure.
    pub async fn run(self, drain: CancellationToken) {
        let watch = async {
            loop {
                if let Ok(conflicts) = self.inbox.conflicts(1).await {
                    _ = self.warning.send_replace(describe(&conflicts));
                }
                sleep(INTERVAL).await;
            }
        };
        let _: Option<()> = drain.run_until_cancelled(watch).await;
    }
}

fn describe(conflicts: &Conflicts) -> Option<String> {
    let first = conflicts.first.first()?;
    Some(format!(
        "conflicts: {} events put aside, because another event with their order and sequence was applied; \
         the first: order {}, sequence {}, applied {}, put aside {}",
        conflicts.events, first.order_id, first.sequence, first.applied, first.event_id
    ))
}
