use std::time::Duration;

use crate::ports::Start;

/// Options of a consumer.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// The name of this consumer, unique among the consumers of the inbox.
    pub consumer: String,
    /// The maximum number of records in a batch.
    pub batch: usize,
    /// The duration of a lease. It is renewed three times as often.
    pub lease: Duration,
    /// The position at which to begin a partition that was never read.
    pub start: Start,
    /// Moves every partition to `start` first, including those that were read
    /// before.
    pub rewind: bool,
    /// Stops each partition at the end that it had when it was first read.
    pub once: bool,
    /// The pause after a failure, doubled after each further one up to
    /// `last_backoff`.
    pub first_backoff: Duration,
    /// The maximum pause.
    pub last_backoff: Duration,
    /// The time for which the last event may be missing from its partition before the source counts
    /// as another log.
    pub missing_grace: Duration,
}

impl IngestOptions {
    /// Returns the default options.
    pub fn new(consumer: String) -> Self {
        Self {
            consumer,
            batch: 2_000,
            lease: Duration::from_secs(6),
            start: Start::Earliest,
            rewind: false,
            once: false,
            first_backoff: Duration::from_millis(50),
            last_backoff: Duration::from_secs(5),
            missing_grace: Duration::from_secs(10),
        }
    }
}
