//! The contract suites: one for each port, run on every adapter of the port.

mod clock;
mod commit_notifications;
mod event_log;
mod event_sink;
mod event_source;
pub mod fixtures;
mod ids;
mod inbox;
mod lists;
mod order_cache;
mod order_store;
mod outbox;
mod paging;
mod releases;
mod sqlite;
