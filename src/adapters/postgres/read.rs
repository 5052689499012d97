//! Reads. The index that serves each list is chosen here: other filters are
//! written as expressions that no index can serve.

use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::rows::{
    self, EventColumns, OrderColumns, PositionedRow, select_events, select_order_columns, select_orders,
};
use super::sql::Sql;
use crate::adapters::rows::OrderRow;
use crate::domain::{Order, OrderId, PickupPointId, StateName, Timestamp};
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
/// A customer has few orders, and few orders are expired at a time. A list of either uses a
/// separate index and sorts the result. Every other list merges one index scan per state, newest
/// first. So it visits no order in a state that it does not show.
pub(super) fn orders(filter: &OrderFilter, page: &Page) -> Option<Sql<OrderColumns>> {
    if filter.customer_id.is_some() {
        return orders_of_customer(filter, page);
    }
    if let Some((true, now)) = filter.expired {
        let shows_stored = filter.states.is_empty() || filter.states.contains(&StateName::Stored);
        return shows_stored.then(|| expired_orders(filter, now, page));
    }
    let shown = |state: &StateName| filter.states.is_empty() || filter.states.contains(state);
    let lists = StateName::ALL.into_iter().filter(shown).map(|state| orders_in_state(state, filter, page));
    let merged = lists.reduce(|lists, list| lists.sql(") UNION ALL (").then(list))?;
    let columns = select_order_columns().sql(" FROM ((").then(merged).sql(")) AS orders");
    Some(ordered(columns, "accepted_at", page))
}

/// Reads the expired orders. The expressions keep the planner from using the index by state and
/// acceptance.
fn expired_orders(filter: &OrderFilter, now: Timestamp, page: &Page) -> Sql<OrderColumns> {
    let mut query = select_orders().sql(" WHERE state = 'STORED'");
    if let Some(point) = &filter.pickup_point_id {
        query = query.sql(" AND pickup_point_id = ").text(point.as_str());
    }
    let query = query.sql(" AND storage_until <= ").integer(now.micros());
    ordered(below(query, "accepted_at", page), "accepted_at + 0", page)
}

/// Reads the orders of a customer. The expressions leave the planner only the index by customer.
fn orders_of_customer(filter: &OrderFilter, page: &Page) -> Option<Sql<OrderColumns>> {
    let mut query = select_orders().sql(" WHERE TRUE");
    if let Some(customer_id) = &filter.customer_id {
        query = query.sql(" AND customer_id = ").text(customer_id.as_str());
    }
    if let Some(point) = &filter.pickup_point_id {
        query = query.sql(" AND pickup_point_id || '' = ").text(point.as_str());
    }
    let only_expired = matches!(filter.expired, Some((true, _)));
    if only_expired && !filter.states.is_empty() && !filter.states.contains(&StateName::Stored) {
        return None;
    }
    if !only_expired {
        query = states(query, filter);
    }
    query = match filter.expired {
        Some((true, now)) => {
            query.sql(" AND '' || state = 'STORED' AND storage_until + 0 <= ").integer(now.micros())
        }
        Some((false, now)) => {
            query.sql(" AND ('' || state <> 'STORED' OR storage_until > ").integer(now.micros()).sql(")")
        }
        None => query,
    };
    Some(newest_first(query, "accepted_at", page))
}

/// Adds the filter by states as literals. There are only 15 sets of states, so there are few
/// distinct statements.
fn states(mut query: Sql<OrderColumns>, filter: &OrderFilter) -> Sql<OrderColumns> {
    let mut separator = " AND '' || state IN (";
    for state in &filter.states {
        query = literal(query.sql(separator), *state);
        separator = ", ";
    }
    if filter.states.is_empty() { query } else { query.sql(")") }
}

/// Reads a page of the orders in one state. The limit keeps the planner from sorting all of them.
fn orders_in_state(state: StateName, filter: &OrderFilter, page: &Page) -> Sql<OrderColumns> {
    let mut query = literal(select_orders().sql(" WHERE state || '' = "), state);
    if let Some(point) = &filter.pickup_point_id {
        query = query.sql(" AND pickup_point_id = ").text(point.as_str());
    }
    if let (Some((false, now)), StateName::Stored) = (filter.expired, state) {
        query = query.sql(" AND storage_until > ").integer(now.micros());
    }
    newest_first(query, "accepted_at", page)
}

/// Adds a state as a literal, because a generic plan does not know the value of a parameter.
fn literal(query: Sql<OrderColumns>, state: StateName) -> Sql<OrderColumns> {
    query.sql("'").sql(OrderRow::state_text(state)).sql("'")
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
    newest_first(query, "returned_at", page)
}

/// Adds the limits of the page and the order `(instant, order_id)`, descending.
fn newest_first(query: Sql<OrderColumns>, instant: &'static str, page: &Page) -> Sql<OrderColumns> {
    ordered(below(query, instant, page), instant, page)
}

/// Adds the condition that selects the rows after the previous page.
fn below(query: Sql<OrderColumns>, instant: &'static str, page: &Page) -> Sql<OrderColumns> {
    let Some((at, order_id)) = &page.below else { return query };
    let query = query.sql(" AND (").sql(instant).sql(", order_id) < (").integer(at.micros());
    query.sql(", ").text(order_id.as_str()).sql(")")
}

/// Adds `ORDER BY (key, order_id)`, descending, and the page size.
fn ordered(query: Sql<OrderColumns>, key: &'static str, page: &Page) -> Sql<OrderColumns> {
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
