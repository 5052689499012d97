//! What is made once, kept, and made anew when it keeps failing.

use std::sync::Arc;

use tokio::sync::Mutex;

/// After so many failures in a row a client is made anew: with what it keeps of
/// a cluster that has changed it can fail for ever.
const REBUILD_AFTER: u32 = 2;

/// A client, once there is one.
pub(super) struct Rebuilding<T>(Mutex<RebuildState<T>>);

struct RebuildState<T> {
    kept: Option<Arc<T>>,
    failures: u32,
}

impl<T> Rebuilding<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(RebuildState { kept: None, failures: 0 }))
    }

    /// What is kept; if there is none, what `make` makes.
    pub(super) async fn get<E>(&self, make: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let mut state = self.0.lock().await;
        if let Some(kept) = &state.kept {
            return Ok(Arc::clone(kept));
        }
        let fresh = Arc::new(make.await?);
        state.kept = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// How a call went.
    pub(super) async fn note(&self, failed: bool) {
        let mut state = self.0.lock().await;
        state.failures = if failed { state.failures + 1 } else { 0 };
        if state.failures >= REBUILD_AFTER {
            *state = RebuildState { kept: None, failures: 0 };
        }
    }
}
