//! The last commit of a store. If it is recent, readiness assumes that the next commit succeeds.
//! Otherwise the readiness check commits something itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ports::{ErrorKind, PortError};

/// The maximum age of a commit from which readiness assumes that the next one succeeds.
const RECENT: Duration = Duration::from_secs(5);

/// The last commit; `None` if a write has failed since.
#[derive(Debug, Default)]
pub struct LastCommit(Mutex<Option<Instant>>);

impl LastCommit {
    /// Records a write. Only a write that committed rows counts as a commit.
    pub fn record<T>(&self, written: &Result<T, PortError>, has_rows: bool) {
        match written {
            Ok(_) if has_rows => self.record_commit(),
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::InDoubt) => {
                self.set(None);
            }
            _ => {}
        }
    }

    /// Records that rows were committed.
    pub fn record_commit(&self) {
        self.set(Some(Instant::now()));
    }

    /// Returns true if the last commit is recent and no write has failed since.
    pub fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|commit| commit.elapsed() < RECENT)
    }

    fn set(&self, commit: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = commit;
    }
}
