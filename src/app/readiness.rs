//! Whether the service takes work: the store can be reached and written, and
//! nobody has asked it to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ports::{OrderStore, chain};

/// How often the store is asked, and how long it may take to answer.
const INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// What health checks are told; false until the store has answered once.
pub type Ready = watch::Receiver<bool>;

/// Asks the store whether it is there.
pub struct Readiness {
    store: Arc<dyn OrderStore>,
    ready: watch::Sender<bool>,
}

impl Readiness {
    /// The readiness of a service on that store.
    pub fn new(store: Arc<dyn OrderStore>) -> Self {
        Self { store, ready: watch::Sender::new(false) }
    }

    /// What health checks are told.
    pub fn subscribe(&self) -> Ready {
        self.ready.subscribe()
    }

    /// Asks until `drain` is cancelled; readiness falls with it.
    pub async fn run(self, drain: CancellationToken) {
        while drain.run_until_cancelled(self.ask()).await.is_some() {}
        self.ready.send_replace(false);
    }

    async fn ask(&self) {
        let answer = tokio::time::timeout(PATIENCE, self.store.ping()).await;
        let ready = matches!(answer, Ok(Ok(())));
        let changed = self.ready.send_replace(ready) != ready;
        match answer {
            Ok(Ok(())) if changed => tracing::info!("the store answers: ready"),
            Ok(Err(error)) if changed => tracing::warn!(cause = chain(&error), "not ready"),
            Err(_) if changed => tracing::warn!("not ready: the store does not answer"),
            _ => {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
