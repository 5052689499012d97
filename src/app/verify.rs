//! Verification of a store: every row is the fold of its events, sequences have no gaps, and no
//! history is impossible (`docs/reliability.md`, The oracle: b, c, e).

use crate::domain::{CustomerId, Event, Order, OrderId, PackagingCode, PickupPointId, Timestamp, evolve};
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
    /// The number of orders whose first events were detached. They are verified from the remaining
    /// events. If there are none, only the row must be readable.
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

fn show_codes(codes: &[PackagingCode]) -> String {
    let codes: Vec<&str> = codes.iter().map(PackagingCode::as_str).collect();
    format!("[{}]", codes.join(", "))
}

/// Returns every field in which a row differs from the fold, with both values.
fn compare(row: &Order, folded: &Order) -> String {
    fn differs<T: PartialEq>(name: &str, row: &T, folded: &T, show: impl Fn(&T) -> String) -> Option<String> {
        (row != folded).then(|| format!("{name} is {}, but should be {}", show(row), show(folded)))
    }
    // Every field is named, so a field that is added does not compile until it is compared.
    let Order {
        order_id,
        customer_id,
        pickup_point_id,
        state,
        storage_until,
        accepted_at,
        weight,
        price,
        surcharge,
        currency,
        packaging,
        version,
    } = folded;
    let differences = [
        differs("version", &row.version, version, i64::to_string),
        differs("state", &row.state, state, |state| format!("{state:?}")),
        differs("order_id", &row.order_id, order_id, OrderId::to_string),
        differs("customer_id", &row.customer_id, customer_id, CustomerId::to_string),
        differs("pickup_point_id", &row.pickup_point_id, pickup_point_id, PickupPointId::to_string),
        differs("storage_until", &row.storage_until, storage_until, Timestamp::to_string),
        differs("accepted_at", &row.accepted_at, accepted_at, Timestamp::to_string),
        differs("weight_grams", &row.weight, weight, |weight| {
            weight.map_or_else(|| "absent".to_owned(), |weight| weight.to_string())
        }),
        differs("price_minor", &row.price, price, |price| price.minor().to_string()),
        differs("surcharge_minor", &row.surcharge, surcharge, |surcharge| surcharge.minor().to_string()),
        differs("currency", &row.currency, currency, |currency| currency.as_str().to_owned()),
        differs("packaging", &row.packaging, packaging, |codes| show_codes(codes)),
    ];
    differences.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Currency, Grams, Money, OrderState};

    fn order() -> Order {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        Order {
            order_id: OrderId::parse("o1").unwrap(),
            customer_id: CustomerId::parse("c1").unwrap(),
            pickup_point_id: PickupPointId::parse("main").unwrap(),
            state: OrderState::Stored,
            storage_until: at(2),
            accepted_at: at(1),
            weight: None,
            price: Money::ZERO,
            surcharge: Money::ZERO,
            currency: Currency::RUB,
            packaging: [PackagingCode::new("bag")].into(),
            version: 1,
        }
    }

    #[test]
    fn every_differing_field_is_named_with_both_values() {
        let at = Timestamp::from_micros(3).unwrap();
        let money = Money::price(5).unwrap();
        let rows = [
            (Order { version: 2, ..order() }, "version is 2, but should be 1"),
            (
                Order { state: OrderState::Issued { issued_at: at }, ..order() },
                "state is Issued { issued_at: Timestamp(3) }, but should be Stored",
            ),
            (
                Order { order_id: OrderId::parse("o2").unwrap(), ..order() },
                "order_id is o2, but should be o1",
            ),
            (
                Order { customer_id: CustomerId::parse("c2").unwrap(), ..order() },
                "customer_id is c2, but should be c1",
            ),
            (
                Order { pickup_point_id: PickupPointId::parse("other").unwrap(), ..order() },
                "pickup_point_id is other, but should be main",
            ),
            (
                Order { storage_until: at, ..order() },
                "storage_until is 1970-01-01T00:00:00.000003Z, but should be 1970-01-01T00:00:00.000002Z",
            ),
            (
                Order { accepted_at: at, ..order() },
                "accepted_at is 1970-01-01T00:00:00.000003Z, but should be 1970-01-01T00:00:00.000001Z",
            ),
            (Order { weight: Grams::new(7).ok(), ..order() }, "weight_grams is 7, but should be absent"),
            (Order { price: money, ..order() }, "price_minor is 5, but should be 0"),
            (Order { surcharge: money, ..order() }, "surcharge_minor is 5, but should be 0"),
            (
                Order { currency: Currency::parse("EUR").unwrap(), ..order() },
                "currency is EUR, but should be RUB",
            ),
            (Order { packaging: [].into(), ..order() }, "packaging is [], but should be [bag]"),
            (
                Order { price: money, version: 3, ..order() },
                "version is 3, but should be 1; price_minor is 5, but should be 0",
            ),
        ];
        for (row, expected) in rows {
            assert_eq!(compare(&row, &order()), expected);
        }
    }
}
