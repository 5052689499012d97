//! The reads. Which index serves a list is known here, so what else it filters
//! by is written in a way that no other index can serve.

use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::rows::{self, EVENT, EventColumns, ORDER, OrderColumns, PositionedRow};
use super::sql::Sql;
use crate::adapters::rows::OrderRow;
use crate::domain::{Order, OrderId, PickupPointId, StateName};
use crate::ports::{LoggedEvent, OrderFilter, Page, Position};

pub(super) async fn load_orders(
    connection: &mut AsyncPgConnection,
    query: &Sql<OrderColumns>,
) -> Result<Vec<Order>, Failure> {
    let rows: Vec<OrderRow> = query.load(connection).await?;
    rows.into_iter().map(rows::order).collect()
}

pub(super) async fn load_events(
    connection: &mut AsyncPgConnection,
    query: &Sql<EventColumns>,
) -> Result<Vec<LoggedEvent>, Failure> {
    let rows: Vec<PositionedRow> = query.load(connection).await?;
    rows.into_iter().map(rows::logged).collect()
}

pub(super) fn order(order_id: &OrderId) -> Sql<OrderColumns> {
    select_orders().sql(" order_id = ").text(order_id.as_str())
}

fn select_orders() -> Sql<OrderColumns> {
    Sql::new("SELECT ").sql(ORDER).sql(" FROM orders WHERE")
}

/// A page of the orders that match; `None` if none can.
///
/// A customer's orders are few. What is at the point, stored or returned, does
/// not stay, so it is sorted when a list shows nothing else; every other list
/// is a walk along an index, newest first.
pub(super) fn orders(filter: &OrderFilter, page: &Page) -> Option<Sql<OrderColumns>> {
    let only_expired = matches!(filter.expired, Some((true, _)));
    if only_expired && !filter.states.is_empty() && !filter.states.contains(&StateName::Stored) {
        return None;
    }
    let only = |state| filter.states.iter().eq([&state]);
    let by_customer = filter.customer_id.is_some();
    // A walk through what a point has in stock ends soon, one through what all
    // points have does not: that is left to the index by acceptance.
    let in_stock = !by_customer
        && (only_expired
            || only(StateName::Returned)
            || only(StateName::Stored) && filter.pickup_point_id.is_some());
    let mut query = select_orders().sql(" TRUE");
    if let Some(customer_id) = &filter.customer_id {
        query = query.sql(" AND customer_id = ").text(customer_id.as_str());
    }
    if let Some(point) = &filter.pickup_point_id {
        query =
            query.sql(if by_customer { " AND pickup_point_id || '' = " } else { " AND pickup_point_id = " });
        query = query.text(point.as_str());
    }
    query = states(query, filter, in_stock);
    query = match filter.expired {
        Some((true, now)) if in_stock => query.sql(" AND storage_until <= ").integer(now.micros()),
        Some((true, now)) => query.sql(" AND storage_until + 0 <= ").integer(now.micros()),
        Some((false, now)) => {
            query.sql(" AND (state || '' <> 'STORED' OR storage_until > ").integer(now.micros()).sql(")")
        }
        None => query,
    };
    // An expression is no key of an index, so what is in stock is looked up by
    // its own index and then sorted.
    let key = if in_stock { "accepted_at + 0" } else { "accepted_at" };
    Some(newest(query, "accepted_at", key, page))
}

/// States are part of the text: there are 15 sets of them, and a partial index
/// is only found by the literal.
fn states(mut query: Sql<OrderColumns>, filter: &OrderFilter, in_stock: bool) -> Sql<OrderColumns> {
    if matches!(filter.expired, Some((true, _))) {
        return query.sql(if in_stock { " AND state = 'STORED'" } else { " AND state || '' = 'STORED'" });
    }
    if in_stock {
        let stored = filter.states.contains(&StateName::Stored);
        return query.sql(if stored { " AND state = 'STORED'" } else { " AND state = 'RETURNED'" });
    }
    let mut before = " AND state || '' IN (";
    for state in &filter.states {
        query = query.sql(before).sql(match state {
            StateName::Stored => "'STORED'",
            StateName::Issued => "'ISSUED'",
            StateName::Returned => "'RETURNED'",
            StateName::HandedToCourier => "'HANDED_TO_COURIER'",
        });
        before = ", ";
    }
    if filter.states.is_empty() { query } else { query.sql(")") }
}

/// A page of the orders in state RETURNED. Of all points, that is said in the
/// words of `orders_returned`, so that no other index can serve it.
pub(super) fn returns(point: Option<&PickupPointId>, page: &Page) -> Sql<OrderColumns> {
    let query = select_orders();
    let query = match point {
        Some(point) => query.sql(" state = 'RETURNED' AND pickup_point_id = ").text(point.as_str()),
        None => query.sql(" returned_at IS NOT NULL AND handed_to_courier_at IS NULL"),
    };
    newest(query, "returned_at", "returned_at", page)
}

/// The page, by `(instant, order_id)` descending.
fn newest(
    mut query: Sql<OrderColumns>,
    instant: &'static str,
    key: &'static str,
    page: &Page,
) -> Sql<OrderColumns> {
    if let Some((at, order_id)) = &page.below {
        query = query.sql(" AND (").sql(instant).sql(", order_id) < (");
        query = query.integer(at.micros()).sql(", ").text(order_id.as_str()).sql(")");
    }
    query.sql(" ORDER BY ").sql(key).sql(" DESC, order_id DESC LIMIT ").limit(page.limit)
}

pub(super) fn history(order_id: &OrderId, after: i64, limit: usize) -> Sql<EventColumns> {
    let query = Sql::new("SELECT ").sql(EVENT).sql(" FROM order_events WHERE order_id = ");
    let query = query.text(order_id.as_str()).sql(" AND sequence > ").integer(after);
    query.sql(" ORDER BY sequence LIMIT ").limit(limit)
}

/// Events by position: above the first, up to the second.
pub(super) fn between(after: Position, up_to: Position, limit: usize) -> Sql<EventColumns> {
    let query = Sql::new("SELECT ").sql(EVENT).sql(" FROM order_events WHERE position > ").integer(after.0);
    query.sql(" AND position <= ").integer(up_to.0).sql(" ORDER BY position LIMIT ").limit(limit)
}
