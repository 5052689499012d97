//! Ports, measured: each wraps another adapter of its port and counts what it
//! answers. Handles are made once, because to look one up by its labels costs
//! more than to count.

mod inbox;
pub mod names;
mod outbox;
mod sink;
mod source;

pub use inbox::MeteredInbox;
pub use outbox::{MeteredOutbox, OutboxGauges};
pub use sink::MeteredSink;
pub use source::MeteredSource;
