use std::time::Duration;

use super::text;

/// The pool that turns waiting commands into group commits.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Writer {
    /// How many batches are decided and written at the same time. Not set: as
    /// many as suit the store.
    #[config(env = "PVZ_WRITER_WORKERS", deserialize_with = text::integer::<_, _, 1, 256>)]
    pub workers: Option<usize>,

    /// How many commands may wait; further ones are refused as OVERLOADED.
    #[config(
        env = "PVZ_WRITER_QUEUE",
        default = 4096,
        deserialize_with = text::integer::<_, _, 1, 1_000_000>
    )]
    pub queue: usize,

    /// How many commands one commit takes at most.
    #[config(
        env = "PVZ_WRITER_BATCH",
        default = 512,
        deserialize_with = text::integer::<_, _, 1, 10_000>
    )]
    pub batch: usize,

    /// How long a batch is tried again after the store failed, before its
    /// commands are answered UNAVAILABLE.
    #[config(
        env = "PVZ_WRITER_RETRY_BUDGET",
        default = "5s",
        deserialize_with = text::duration::<_, 0, { text::HOUR }>
    )]
    pub retry_budget: Duration,
}
