use std::time::Duration;

use super::text;

/// The writer pool, which commits commands in batches.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Writer {
    /// Number of batches written at the same time. Not set: 1 for SQLite, 2 for
    /// PostgreSQL.
    #[config(env = "PVZ_WRITER_WORKERS", deserialize_with = text::integer::<_, _, 1, 256>)]
    pub workers: Option<usize>,

    /// Maximum number of waiting commands. Further commands are refused with
    /// OVERLOADED.
    #[config(
        env = "PVZ_WRITER_QUEUE",
        default = 4096,
        deserialize_with = text::integer::<_, _, 1, 1_000_000>
    )]
    pub queue: usize,

    /// Maximum number of commands in one commit.
    #[config(
        env = "PVZ_WRITER_BATCH",
        default = 512,
        deserialize_with = text::integer::<_, _, 1, 10_000>
    )]
    pub batch: usize,

    /// Time for which a failed batch is retried before its commands are refused
    /// with UNAVAILABLE.
    #[config(
        env = "PVZ_WRITER_RETRY_BUDGET",
        default = "5s",
        deserialize_with = text::duration::<_, 0, { text::HOUR }>
    )]
    pub retry_budget: Duration,
}
