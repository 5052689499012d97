//! Readiness of a process: a command would succeed, the sink still has the published events, the
//! consumer makes progress, and the process is not draining.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ingest_progress::IngestProgress;
use crate::ports::{EventSink, OrderStore, PortError, chain};

/// Interval of the checks, and their timeout.
const INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// The readiness state: ready, or the check that failed.
pub type Ready = watch::Receiver<Result<(), NotReady>>;

/// A failed check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// The name of the check.
    pub check: &'static str,
    /// The cause, for operators.
    pub cause: String,
}

/// Checks the store and the event sink periodically.
pub struct Readiness {
    store: Arc<dyn OrderStore>,
    sink: Arc<dyn EventSink>,
    /// The progress of the consumer, if the process is one.
    consumer: Option<IngestProgress>,
    ready: watch::Sender<Result<(), NotReady>>,
}

impl Readiness {
    /// Returns the readiness of a service with this store and event sink. The service is not ready
    /// until both have passed a check.
    pub fn new(store: Arc<dyn OrderStore>, sink: Arc<dyn EventSink>) -> Self {
        let ready = watch::Sender::new(not_ready("start", "nothing was checked yet"));
        Self { store, sink, consumer: None, ready }
    }

    /// Adds a consumer, whose progress is checked too.
    #[must_use]
    pub fn with_consumer(self, progress: IngestProgress) -> Self {
        Self { consumer: Some(progress), ..self }
    }

    /// Returns a receiver of the readiness state.
    pub fn subscribe(&self) -> Ready {
        self.ready.subscribe()
    }

    /// Runs the checks until `drain` is cancelled. Afterwards the process is not ready.
    pub async fn run(self, drain: CancellationToken) {
        while drain.run_until_cancelled(self.ask()).await.is_some() {}
        _ = self.ready.send_replace(not_ready("drain", "the service is shutting down"));
    }

    async fn ask(&self) {
        let mut state = answered("store", self.store.ping()).await;
        if state.is_ok() {
            state = answered("events", self.sink.ping()).await;
        }
        if let (Ok(()), Some(stalled)) = (&state, self.consumer.as_ref().and_then(IngestProgress::stalled)) {
            state = not_ready("consumer", stalled);
        }
        let before = self.ready.send_replace(state.clone());
        match &state {
            Ok(()) if before.is_err() => tracing::info!("ready"),
            Err(NotReady { check, cause }) if before != state => tracing::warn!(check, cause, "not ready"),
            _ => {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits for the answer to a check.
async fn answered(
    check: &'static str,
    ping: impl Future<Output = Result<(), PortError>>,
) -> Result<(), NotReady> {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => not_ready(check, chain(&error)),
        Err(_) => not_ready(check, format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn not_ready(check: &'static str, cause: impl Into<String>) -> Result<(), NotReady> {
    Err(NotReady { check, cause: cause.into() })
}
