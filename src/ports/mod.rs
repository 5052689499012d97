//! The ports: the external capabilities that the application needs, named by role.
//!
//! Rules of all ports:
//! - A port is a `Send + Sync` trait, held as `Arc<dyn Port>`. Configuration chooses the adapter
//!   at run time. No port names a technology.
//! - `None` means "does not exist". A failed look-up is an error.
//! - The only error is [`PortError`]. Each adapter converts its driver's errors in one file.
//!   Adapters do not retry; callers retry if [`PortError::retryable`] allows it.
//! - An atomic operation is one call: [`OrderStore::transact`] writes rows, events and
//!   idempotency records together.
//! - "Off" is an adapter too. In-memory adapters are part of the product, not mocks.
//! - Each port has a contract suite in `tests/it/contract`, run on every adapter. A new port
//!   needs the trait here, the suite, an adapter and a line in `compose.rs`.

mod clock;
mod commit_notifications;
mod error;
mod event_log;
mod event_sink;
mod event_source;
mod ids;
mod inbox;
mod order_cache;
mod order_store;
mod outage;
mod outbox;

pub use clock::Clock;
pub use commit_notifications::{ChangedOrders, CommitNotifications, CommitNotifier};
pub use error::{ErrorKind, PortError, chain};
pub use event_log::{EventLog, LoggedEvent, Position};
pub use event_sink::{Delivery, EventSink, PublishedEvent, Receipt, SinkTail};
pub use event_source::{EventSource, Fetched, Offset, RecordContent, SourceRecord, Start, UndecodedRecord};
pub use ids::Ids;
pub use inbox::{
    Applied, Assignment, AssignmentRule, Conflict, Conflicts, Gap, Gaps, Inbox, InboxBatch, LastEvent,
    Progress, ReceptionRule, StatisticsFilter, StatisticsPage,
};
pub use order_cache::{
    Announcements, CacheStatistics, CacheUpdates, CachedOrder, Epoch, Fence, OrderCache, OrderSource,
    StaleOrder,
};
pub use order_store::{
    AuditedOrder, Batch, BatchDecision, CommandResult, Decide, IdempotencyKey, IdempotencyRecord, Loaded,
    OrderFilter, OrderStore, Outcome, Page, SortedKeys, Writes,
};
pub use outage::Outage;
pub use outbox::{
    DeadLetter, KnownSink, LeaderStatus, Lease, LeaseToken, LeaseWrite, Outbox, OutboxStatus, Resolution,
};
