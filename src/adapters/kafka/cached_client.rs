//! A client that is connected once, shared, and replaced after repeated failures.

use std::sync::Arc;

use tokio::sync::Mutex;

/// The number of consecutive failures after which a client is replaced: a client
/// whose cached metadata of the cluster is outdated can fail forever.
const REPLACE_AFTER: u32 = 2;

/// A client that is connected at its first use.
pub(super) struct CachedClient<T>(Mutex<State<T>>);

struct State<T> {
    client: Option<Arc<T>>,
    failures: u32,
}

impl<T> CachedClient<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { client: None, failures: 0 }))
    }

    /// Returns the client, and connects it with `connect` if there is none.
    pub(super) async fn get<E>(&self, connect: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let mut state = self.0.lock().await;
        if let Some(client) = &state.client {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(connect.await?);
        state.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Records the result of a call, and drops the client after repeated failures.
    pub(super) async fn record(&self, failed: bool) {
        let mut state = self.0.lock().await;
        state.failures = if failed { state.failures + 1 } else { 0 };
        if state.failures >= REPLACE_AFTER {
            *state = State { client: None, failures: 0 };
        }
    }
}
