//! The client commands, one file per family. They send the fields as given and
//! do not check required fields or the syntax of ids: the server does, and
//! reports all violations at once.

mod accept;
mod accept_return;
mod batch;
mod deadline;
mod events;
mod fields;
mod follow;
mod get;
mod history;
mod ids;
mod issue_all;
mod list;
mod outbox;
mod packaging;
mod returns;
mod stats;

pub(super) use deadline::in_file as deadline_in_file;
#[cfg(test)]
pub(super) use fields::state;
pub(super) use fields::{packaging as packaging_codes, price, weight};

use crate::proto::v1::Order;

pub use accept::Accept;
pub use accept_return::AcceptReturn;
pub use batch::{Issue, ReturnToCourier};
pub use events::Events;
pub use get::Get;
pub use history::History;
pub use list::List;
pub use outbox::{Dlq, Outbox};
pub use packaging::Packaging;
pub use returns::Returns;
pub use stats::Stats;

/// Largest page size that the server allows.
const MAX_PAGE_SIZE: i32 = 1_000;

/// Returns the page size to request: the given one, or the largest if all pages
/// are shown. Zero is the server's default.
fn page_size(given: Option<i32>, all: bool) -> i32 {
    given.unwrap_or(if all { MAX_PAGE_SIZE } else { 0 })
}

fn order_id(order: &Order) -> &str {
    &order.order_id
}
