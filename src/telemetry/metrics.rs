//! Where metrics are kept, and how monitoring reads them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// How long things take, in seconds, from a cached read to a request's deadline.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// How often what was recorded is put into its buckets. Without that samples
/// pile up between scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Keeps this process's metrics from now on. There is one keeper a process:
    /// later calls answer the first.
    ///
    /// # Errors
    /// The buckets cannot be set, or a foreign keeper was here before.
    pub fn install() -> Result<Self, BuildError> {
        static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*installed {
            return Ok(Self(handle.clone()));
        }
        let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
        *installed = Some(handle.clone());
        Ok(Self(handle))
    }

    /// All of them in Prometheus's text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Does the upkeep until it is dropped.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}
