//! The metrics recorder of the process, in Prometheus's text format.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Histogram buckets in seconds, from a fast read to the request timeout.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// Interval at which samples are moved into their buckets. Without it, samples
/// accumulate between scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of the process. Later calls return the first one.
    ///
    /// # Errors
    /// Returns an error if another recorder is already installed.
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

    /// Returns all metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Runs the recorder's upkeep until the future is dropped.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}
