//! The progress of a consumer, for readiness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::{PortError, chain};

/// The time without progress after which a consumer is not ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// The activity of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Activity {
    /// Renewing the leases of its partitions.
    Assign,
    /// Reading a partition. Waiting for new records at its end is progress.
    Read(u32),
}

/// The progress of a consumer; clones share it.
#[derive(Debug, Clone, Default)]
pub struct IngestProgress(Arc<Mutex<BTreeMap<Activity, State>>>);

#[derive(Debug)]
struct State {
    progressed_at: Instant,
    /// The cause of the last failure since the last progress.
    failure: Option<String>,
}

impl IngestProgress {
    /// Records that an activity began or succeeded.
    pub(super) fn record(&self, activity: Activity) {
        self.lock().insert(activity, State { progressed_at: Instant::now(), failure: None });
    }

    /// Records that an attempt failed.
    pub(super) fn record_failure(&self, activity: Activity, error: &PortError) {
        if let Some(state) = self.lock().get_mut(&activity) {
            state.failure = Some(chain(error));
        }
    }

    /// Forgets an activity that has ended.
    pub(super) fn end(&self, activity: Activity) {
        self.lock().remove(&activity);
    }

    /// Returns an activity that makes no progress and the cause; `None` if all make progress.
    pub fn stalled(&self) -> Option<String> {
        let activities = self.lock();
        let (activity, state) =
            activities.iter().find(|(_, state)| state.progressed_at.elapsed() > PATIENCE)?;
        let what = match activity {
            Activity::Assign => "the assignment of partitions".to_owned(),
            Activity::Read(partition) => format!("partition {partition}"),
        };
        let seconds = state.progressed_at.elapsed().as_secs();
        let cause = state.failure.as_deref().unwrap_or("no answer");
        Some(format!("{what} has made no progress for {seconds} s: {cause}"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Activity, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
