//! Reads. The index that serves each list is chosen here: other filters are
//! written as expressions that no index can serve.

use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::rows::{self, EventColumns, OrderColumns, PositionedRow, select_events, select_orders};
use super::sql::Sql;
use crate::adapters::rows::OrderRow;
use crate::domain::{Order, OrderId, PickupPointId, StateName};
use crate::ports::{LoggedEvent, OrderFilter, Page, Position};

/// Loads orders.
pub(super) async fn load_orders(
    connection: &mut AsyncPgConnection,
    query: &Sql<OrderColumns>,
) -> Result<Vec<Order>, Failure> {
    let rows: Vec<OrderRow> = query.load(connection).await?;
    rows.into_iter().map(rows::order).collect()
}

/// Loads events.
pub(super) async fn load_events(
    connection: &mut AsyncPgConnection,
    query: &Sql<EventColumns>,
) -> Result<Vec<LoggedEvent>, Failure> {
    let rows: Vec<PositionedRow> = query.load(connection).await?;
    rows.into_iter().map(rows::logged).collect()
}

/// Reads an order.
pub(super) fn order(order_id: &OrderId) -> Sql<OrderColumns> {
    select_orders().sql(" WHERE order_id = ").text(order_id.as_str())
}

/// Reads a page of the orders that match; `None` if no order can match.
///
/// A customer has few orders. Orders at a pickup point, stored or returned, are
/// few as well, because they do not stay: if a list shows only those, they are
/// looked up by their own index and sorted. Every other list is a scan of an
/// index, newest first.
pub(super) fn orders(filter: &OrderFilter, page: &Page) -> Option<Sql<OrderColumns>> {
    let only_expired = matches!(filter.expired, Some((true, _)));
    if only_expired && !filter.states.is_empty() && !filter.states.contains(&StateName::Stored) {
        return None;
    }
    let only = |state| filter.states.iter().eq([&state]);
    let by_customer = filter.customer_id.is_some();
    // The orders at one pickup point are few, the orders at all points are not:
    // those are left to the index by acceptance.
    let at_point = !by_customer
        && (only_expired
            || only(StateName::Returned)
            || only(StateName::Stored) && filter.pickup_point_id.is_some());
    let mut query = select_orders().sql(" WHERE TRUE");
    if let Some(customer_id) = &filter.customer_id {
        query = query.sql(" AND customer_id = ").text(customer_id.as_str());
    }
    if let Some(point) = &filter.pickup_point_id {
        query =
            query.sql(if by_customer { " AND pickup_point_id || '' = " } else { " AND pickup_point_id = " });
        query = query.text(point.as_str());
    }
    query = states(query, filter, at_point);
    query = match filter.expired {
        Some((true, now)) if at_point => query.sql(" AND storage_until <= ").integer(now.micros()),
        Some((true, now)) => query.sql(" AND storage_until + 0 <= ").integer(now.micros()),
        Some((false, now)) => {
            query.sql(" AND (state || '' <> 'STORED' OR storage_until > ").integer(now.micros()).sql(")")
        }
        None => query,
    };
    // The index by acceptance cannot serve an expression, so orders at a pickup
    // point are looked up by their own index and then sorted.
    let key = if at_point { "accepted_at + 0" } else { "accepted_at" };
    Some(newest_first(query, "accepted_at", key, page))
}

/// Adds the filter by states as literals, because a partial index is used only
/// for a literal. There are 15 sets of states, so there are few texts.
fn states(mut query: Sql<OrderColumns>, filter: &OrderFilter, at_point: bool) -> Sql<OrderColumns> {
    if matches!(filter.expired, Some((true, _))) {
        return query.sql(if at_point { " AND state = 'STORED'" } else { " AND state || '' = 'STORED'" });
    }
    if at_point {
        let stored = filter.states.contains(&StateName::Stored);
        return query.sql(if stored { " AND state = 'STORED'" } else { " AND state = 'RETURNED'" });
    }
    let mut separator = " AND state || '' IN (";
    for state in &filter.states {
        query = query.sql(separator).sql(match state {
            StateName::Stored => "'STORED'",
            StateName::Issued => "'ISSUED'",
            StateName::Returned => "'RETURNED'",
            StateName::HandedToCourier => "'HANDED_TO_COURIER'",
        });
        separator = ", ";
    }
    if filter.states.is_empty() { query } else { query.sql(")") }
}

/// Reads a page of the orders in state RETURNED. For all pickup points, the state
/// is expressed by the predicate of the index `orders_returned`, so that no other
/// index can serve it.
pub(super) fn returns(point: Option<&PickupPointId>, page: &Page) -> Sql<OrderColumns> {
    let query = select_orders();
    let query = match point {
        Some(point) => query.sql(" WHERE state = 'RETURNED' AND pickup_point_id = ").text(point.as_str()),
        None => query.sql(" WHERE returned_at IS NOT NULL AND handed_to_courier_at IS NULL"),
    };
    newest_first(query, "returned_at", "returned_at", page)
}

/// Adds the limits of the page and the order `(instant, order_id)`, descending.
fn newest_first(
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

/// Reads the events of an order after a sequence.
pub(super) fn history(order_id: &OrderId, after: i64, limit: usize) -> Sql<EventColumns> {
    let query = select_events().sql(" WHERE order_id = ");
    let query = query.text(order_id.as_str()).sql(" AND sequence > ").integer(after);
    query.sql(" ORDER BY sequence LIMIT ").limit(limit)
}

/// Reads events by position, in `(after, up_to]`.
pub(super) fn between(after: Position, up_to: Position, limit: usize) -> Sql<EventColumns> {
    let query = select_events().sql(" WHERE position > ").integer(after.0);
    query.sql(" AND position <= ").integer(up_to.0).sql(" ORDER BY position LIMIT ").limit(limit)
}
