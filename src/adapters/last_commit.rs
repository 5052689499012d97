//! The last commit of a store. A store that committed rows lately can be assumed to commit the
//! next ones; otherwise a readiness check has to commit something itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ports::{ErrorKind, PortError};

/// The age up to which a commit proves that the next one would succeed.
const RECENT: Duration = Duration::from_secs(5);

/// The last commit; none if a write failed since.
#[derive(Debug, Default)]
pub struct LastCommit(Mutex<Option<Instant>>);

impl LastCommit {
    /// Records a write: what it proves depends on whether it committed rows.
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

    /// Returns true if the store committed lately and no write has failed since.
    pub fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|commit| commit.elapsed() < RECENT)
    }

    fn set(&self, commit: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = commit;
    }
}
