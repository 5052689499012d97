use std::time::Duration;

/// The options of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayOptions {
    /// Maximum number of events in one publish call.
    pub batch: usize,
    /// Poll interval, because notifications of other replicas may be lost.
    pub poll: Duration,
    /// Interval at which a standby relay tries to acquire the lease.
    pub stand_by: Duration,
    /// Maximum delay before the cursor is saved. After a crash, the events of this period are
    /// published again.
    pub save_after: Duration,
    /// Pause after the first failure, doubled after each further one.
    pub first_backoff: Duration,
    /// Maximum pause.
    pub last_backoff: Duration,
    /// Timeout of a publish call.
    pub publish_timeout: Duration,
    /// The time for which the relay continues to publish after a stop request.
    pub farewell: Duration,
    /// True if a store that has published nothing accepts the existing events of the sink.
    pub allow_empty_store: bool,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            batch: 2_000,
            poll: Duration::from_secs(1),
            stand_by: Duration::from_secs(1),
            save_after: Duration::from_millis(100),
            first_backoff: Duration::from_millis(50),
            last_backoff: Duration::from_secs(5),
            publish_timeout: Duration::from_mins(1),
            farewell: Duration::from_secs(2),
            allow_empty_store: false,
        }
    }
}
