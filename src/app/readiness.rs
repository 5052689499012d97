//! Readiness of the service: the store is reachable and writable, and the service is not
//! draining.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ports::{OrderStore, chain};

/// Interval of the store checks, and their timeout.
const INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// The readiness state; false until the store has answered once.
pub type Ready = watch::Receiver<bool>;

/// Checks the store periodically.
pub struct Readiness {
    store: Arc<dyn OrderStore>,
    ready: watch::Sender<bool>,
}

impl Readiness {
    /// Returns the readiness of a service on a store.
    pub fn new(store: Arc<dyn OrderStore>) -> Self {
        Self { store, ready: watch::Sender::new(false) }
    }

    /// Returns a receiver of the readiness state.
    pub fn subscribe(&self) -> Ready {
        self.ready.subscribe()
    }

    /// Checks the store until `drain` is cancelled, which ends readiness too.
    pub async fn run(self, drain: CancellationToken) {
        while drain.run_until_cancelled(self.ask()).await.is_some() {}
        self.ready.send_replace(false);
    }

    async fn ask(&self) {
        let answer = tokio::time::timeout(PATIENCE, self.store.ping()).await;
        let ready = matches!(answer, Ok(Ok(())));
        let changed = self.ready.send_replace(ready) != ready;
        match answer {
            Ok(Ok(())) if changed => tracing::info!("ready: the store answers"),
            Ok(Err(error)) if changed => tracing::warn!(cause = chain(&error), "not ready"),
            Err(_) if changed => tracing::warn!("not ready: the store does not answer"),
            _ => {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
