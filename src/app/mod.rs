//! The use cases, independent of transports and storage technologies.

mod caller;
mod decide_batch;
mod import_orders;
mod ingest_events;
mod ingest_partition;
mod maintenance;
mod notify_replicas;
mod outbox;
mod page_token;
mod queue;
mod read_events;
mod read_orders;
mod read_statistics;
mod readiness;
mod refuse;
mod relay_batch;
mod relay_dead_letters;
mod relay_events;
mod verify;
mod writer;

pub use caller::Caller;
pub use decide_batch::{BatchDecider, Entry};
pub use import_orders::{ImportOrders, ImportRequest, ImportResult};
pub use ingest_events::{IngestEvents, IngestOptions, Ingested};
pub use maintenance::Maintenance;
pub use notify_replicas::NotifyReplicas;
pub use outbox::{DeadLetterPage, OperateOutbox, OutboxReport};
pub use page_token::{PageTokens, page_limit};
pub use read_events::{EventPage, ReadEvents};
pub use read_orders::{ListOrders, ListReturns, OrderPage, PageSpec, ReadOrders};
pub use read_statistics::{OpenInbox, ReadStatistics, StatisticsFound};
pub use readiness::{Readiness, Ready};
pub use refuse::refuse;
pub use relay_events::{RelayEvents, RelayOptions};
pub use verify::{Difference, Report, verify};
pub use writer::{Admission, Committed, Writer, WriterLimits};
