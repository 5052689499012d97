//! The client commands, a file for each family. They send what they were
//! given: which fields are required, and what ids look like, is for the server
//! to say, so that all faults are reported at once.

mod accept;
mod accept_return;
mod batch;
mod events;
mod fields;
mod follow;
mod get;
mod history;
mod list;
mod outbox;
mod packaging;
mod returns;
mod stats;

pub(super) use fields::{packaging as packaging_codes, price, weight};

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

/// How many items a page has when all pages are asked for: the most there can
/// be.
const LARGEST_PAGE: i32 = 1_000;

/// The size of a page: as given, or as large as can be when all are wanted.
fn page_size(given: Option<i32>, all: bool) -> i32 {
    given.unwrap_or(if all { LARGEST_PAGE } else { 0 })
}
