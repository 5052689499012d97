//! Decorators that measure ports: each wraps another adapter of its port and counts its results.
//! Metric handles are created once, because a look-up by labels costs more than counting.

mod cache;
mod inbox;
pub mod names;
mod outbox;
mod sink;
mod source;

pub use cache::{CacheGauges, MeteredCache};
pub use inbox::MeteredInbox;
pub use outbox::{MeteredOutbox, OutboxGauges};
pub use sink::MeteredSink;
pub use source::MeteredSource;
