//! The ports: what the application needs of the world, named by role.
//!
//! Rules of all ports:
//! - A port is a trait of `Send + Sync` objects, held as `Arc<dyn Port>` and
//!   chosen at run time by configuration. No technology's word stands here.
//! - `None` means "there is none", never "could not tell": that is an error.
//! - The only error is [`PortError`]. An adapter turns its driver's errors into
//!   it in one file. It never retries; whoever calls it does, if
//!   [`PortError::retryable`] says so.
//! - What must be atomic is one call. [`OrderStore::transact`] writes rows,
//!   events and idempotency records together, or nothing.
//! - "Off" is an adapter too, and an in-memory one is a product, not a mock.
//! - Every port has a contract suite in `tests/it/contract`, run on every
//!   adapter. To add a port: the trait here, the suite, an adapter, a line in
//!   `compose.rs`.

mod clock;
mod commit_notifications;
mod error;
mod event_log;
mod event_sink;
mod event_source;
mod ids;
mod inbox;
mod order_store;
mod outbox;

pub use clock::Clock;
pub use commit_notifications::{CommitNotifications, CommitNotifier};
pub use error::{ErrorKind, PortError, chain};
pub use event_log::{EventLog, LoggedEvent, Position};
pub use event_sink::{Delivery, EventSink, Receipt};
pub use event_source::{Content, EventSource, Fetched, Offset, SourceRecord, Start, Undecodable};
pub use ids::Ids;
pub use inbox::{
    Applied, DayStatistics, Gap, Gaps, Inbox, Intake, Progress, Share, StatisticsFilter, StatisticsPage,
};
pub use order_store::{
    AuditedOrder, Batch, BatchDecision, CommandResult, Decide, IdempotencyKey, IdempotencyRecord, Loaded,
    OrderFilter, OrderStore, Outcome, Page, SortedKeys, Writes,
};
pub use outbox::{DeadLetter, LeaderStatus, Lease, LeaseToken, LeaseWrite, Outbox, OutboxStatus, Resolution};
