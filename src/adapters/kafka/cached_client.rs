//! A client that is connected once, shared, and replaced after a failure.

use std::sync::Arc;

use tokio::sync::Mutex;

/// A client that is connected at its first use. It is dropped after a failure: a
/// client whose cached metadata of the cluster is outdated can fail forever, and
/// requests a deleted topic by name, which creates it on some brokers.
pub(super) struct CachedClient<T>(Mutex<Option<Arc<T>>>);

impl<T> CachedClient<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns the client, and connects it with `connect` if there is none.
    pub(super) async fn get<E>(&self, connect: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let mut cached = self.0.lock().await;
        if let Some(client) = &*cached {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(connect.await?);
        *cached = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Records the result of a call, and drops the client after a failure.
    pub(super) async fn record(&self, failed: bool) {
        if failed {
            *self.0.lock().await = None;
        }
    }
}
