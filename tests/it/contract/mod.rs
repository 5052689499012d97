//! The contract suites: what every adapter of a port must do, one suite a
//! port, each case run on every adapter.

mod clock;
mod commit_notifications;
mod event_log;
mod event_sink;
mod event_source;
pub mod given;
mod ids;
mod inbox;
mod lists;
mod order_store;
mod outbox;
mod paging;
mod releases;
mod sqlite;
mod system;
