//! Background maintenance that keeps stored data bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::{Policy, Timestamp};
use crate::ports::{Clock, OrderStore, Outage, PortError, chain};

const PAUSE: Duration = Duration::from_mins(1);
/// Records removed in one step, limited so that a step does not delay the writers.
const STEP: usize = 1_000;

/// Removes expired idempotency records and runs the store's own maintenance.
pub struct Maintenance {
    store: Arc<dyn OrderStore>,
    clock: Arc<dyn Clock>,
    policy: Arc<Policy>,
}

impl Maintenance {
    /// Returns the maintenance of a store.
    pub fn new(store: Arc<dyn OrderStore>, clock: Arc<dyn Clock>, policy: Arc<Policy>) -> Self {
        Self { store, clock, policy }
    }

    /// Runs until the token is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut outage = Outage::default();
        while stop.run_until_cancelled(self.step(&mut outage)).await.is_some() {}
    }

    /// Runs a round of maintenance, then waits for the next.
    async fn step(&self, outage: &mut Outage) {
        match self.round().await {
            Ok(()) => {
                if let Some(failures) = outage.end() {
                    tracing::info!(failures, "store maintenance recovered");
                }
            }
            Err(error) => {
                let cause = chain(&error);
                if outage.is_new(&cause) {
                    tracing::warn!(cause, "store maintenance failed, retrying every minute");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Runs the maintenance of the store, and removes expired idempotency records even if it fails.
    async fn round(&self) -> Result<(), PortError> {
        let maintained = self.store.maintenance().await;
        while self.expire_idempotency_records(STEP).await? == STEP {
            tokio::task::yield_now().await;
        }
        maintained
    }

    /// Removes up to `limit` records that are older than the retention, and returns their
    /// number.
    ///
    /// # Errors
    /// Returns the store's error.
    pub async fn expire_idempotency_records(&self, limit: usize) -> Result<usize, PortError> {
        let retention = i64::try_from(self.policy.idempotency_retention.as_micros()).unwrap_or(i64::MAX);
        let before = self.clock.now().micros().saturating_sub(retention);
        match Timestamp::from_micros(before) {
            None => Ok(0),
            // A record that is exactly as old as the retention still counts.
            Some(before) => self.store.expire_idempotency_records(before, limit).await,
        }
    }
}
