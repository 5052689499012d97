//! Verification of a store: every row is the fold of its events, sequences have no gaps, and no
//! history is impossible (`docs/reliability.md`, The oracle: b, c, e).

use crate::domain::{Event, Order, OrderId, evolve};
use crate::ports::{AuditedOrder, OrderStore, PortError};

/// Number of orders read in one step.
const STEP: usize = 500;
/// Maximum number of differences that a report lists. It counts all of them.
const LISTED: usize = 20;

/// An order that does not match its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The order.
    pub order_id: OrderId,
    /// The problem, a sentence.
    pub what: String,
}

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of verified orders.
    pub orders: u64,
    /// The number of verified events.
    pub events: u64,
    /// The number of orders whose first events were detached. They are verified from the
    /// remaining events.
    pub archived: u64,
    /// The number of orders that do not match their events.
    pub differing: u64,
    /// The first differences, by order id.
    pub differences: Vec<Difference>,
}

/// Verifies every order of a store, in constant memory. It is safe while the store is written,
/// because each order is read as of one instant.
///
/// # Errors
/// Returns an error if the store cannot be read.
pub async fn verify(store: &dyn OrderStore, mut progress: impl FnMut(&Report)) -> Result<Report, PortError> {
    let mut report = Report::default();
    let mut after: Option<OrderId> = None;
    loop {
        let page = store.audit(after.as_ref(), STEP).await?;
        let Some(last) = page.last() else { return Ok(report) };
        after = Some(last.order_id.clone());
        for audited in page {
            report.orders += 1;
            report.events += audited.events.as_ref().map_or(0, |events| events.len() as u64);
            report.archived += u64::from(is_archived(&audited));
            if let Err(what) = check(&audited) {
                report.differing += 1;
                if report.differences.len() < LISTED {
                    report.differences.push(Difference { order_id: audited.order_id, what });
                }
            }
        }
        progress(&report);
    }
}

fn check(audited: &AuditedOrder) -> Result<(), String> {
    let row = audited.row.as_ref().map_err(|why| format!("its row cannot be read: {why}"))?;
    let events = audited.events.as_ref().map_err(|why| format!("its events cannot be read: {why}"))?;
    let archived = is_archived(audited);
    let folded = fold(events, archived)?;
    match (row, folded) {
        (None, None) => Ok(()),
        (Some(_), None) if archived => Ok(()),
        (Some(_), None) => Err("it has a row but no events".to_owned()),
        (None, Some(_)) => Err("it has events but no row".to_owned()),
        (Some(row), Some(folded)) if *row == folded => Ok(()),
        (Some(row), Some(folded)) => {
            Err(format!("its row is not the fold of its events: {}", compare(row, &folded)))
        }
    }
}

/// Returns true if the first events of the order are missing because they were detached.
fn is_archived(audited: &AuditedOrder) -> bool {
    let first = audited.events.as_ref().ok().map(|events| events.first().map(|first| first.sequence));
    audited.archived && first.is_some_and(|first| first != Some(1))
}

/// Returns the fold of the events. If the first events are missing, the fold starts with the
/// order inside the first remaining event.
fn fold(events: &[Event], archived: bool) -> Result<Option<Order>, String> {
    let begin = events.first().filter(|_| archived);
    let mut order: Option<Order> = begin.map(|first| first.order.clone());
    for event in &events[usize::from(begin.is_some())..] {
        order = Some(evolve(order.as_ref(), event).map_err(|error| error.to_string())?);
    }
    Ok(order)
}

/// Returns the first difference between a row and the fold.
fn compare(row: &Order, folded: &Order) -> String {
    let differs = |name: &str, row: String, folded: String| {
        (row != folded).then(|| format!("{name} is {row}, and should be {folded}"))
    };
    differs("version", row.version.to_string(), folded.version.to_string())
        .or_else(|| differs("state", format!("{:?}", row.state), format!("{:?}", folded.state)))
        .or_else(|| differs("customer_id", row.customer_id.to_string(), folded.customer_id.to_string()))
        .or_else(|| differs("storage_until", row.storage_until.to_string(), folded.storage_until.to_string()))
        .unwrap_or_else(|| "another field that never changes is different".to_owned())
}
