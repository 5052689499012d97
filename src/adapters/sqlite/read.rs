//! The reads. Each list names its index, so that statistics of the planner
//! cannot change the choice. Reads of more than one row are [interrupted](super::interrupt) when
//! their caller no longer waits.

use diesel::sql_types::BigInt;
use diesel::{RunQueryDsl as _, SqliteConnection};

use super::error::Failure;
use super::sql::Sql;
use super::tables::{EventColumns, OrderColumns, select_events, select_orders};
use super::write;
use crate::adapters::rows::{EventRow, OrderRow};
use crate::domain::{Order, OrderId, PickupPointId, StateName};
use crate::ports::{LoggedEvent, OrderFilter, Page, Position};

pub(super) fn load_orders(
    connection: &mut SqliteConnection,
    query: Sql<OrderColumns>,
) -> Result<Vec<Order>, Failure> {
    let rows: Vec<OrderRow> = query.load(connection).map_err(Failure::load("orders"))?;
    rows.into_iter().map(write::order).collect()
}

pub(super) fn load_events(
    connection: &mut SqliteConnection,
    query: Sql<EventColumns>,
) -> Result<Vec<LoggedEvent>, Failure> {
    let rows: Vec<(i64, EventRow)> = query.load(connection).map_err(Failure::load("order_events"))?;
    let event = |(position, row): (i64, EventRow)| {
        row.logged(position)
            .map_err(|fault| Failure::row("order_events", &format!("position {position}"), &fault))
    };
    rows.into_iter().map(event).collect()
}

pub(super) fn load_position(
    connection: &mut SqliteConnection,
    query: Sql<BigInt>,
) -> Result<Position, Failure> {
    let positions: Vec<i64> = query.load(connection)?;
    Ok(Position(positions.first().copied().unwrap_or_default()))
}

pub(super) fn order(order_id: &OrderId) -> Sql<OrderColumns> {
    select_orders().sql(" FROM orders WHERE order_id = ").text(order_id.as_str())
}

/// Selects a page of the orders that match; `None` if none can match.
pub(super) fn orders(filter: &OrderFilter, page: &Page) -> Option<Sql<OrderColumns>> {
    let only_expired = matches!(filter.expired, Some((true, _)));
    if only_expired && !filter.states.is_empty() && !filter.states.contains(&StateName::Stored) {
        return None;
    }
    let mut query = select_orders().sql(" FROM orders INDEXED BY ").sql(index(filter));
    query = query.sql(" WHERE is_awaited()");
    if let Some(customer_id) = &filter.customer_id {
        query = query.sql(" AND customer_id = ").text(customer_id.as_str());
    }
    if let Some(point) = &filter.pickup_point_id {
        query = query.sql(" AND pickup_point_id = ").text(point.as_str());
    }
    query = match filter.expired {
        Some((true, now)) => query.sql(" AND state = 'STORED' AND storage_until <= ").integer(now.micros()),
        Some((false, now)) => {
            let query = states(query, filter);
            query.sql(" AND (state <> 'STORED' OR storage_until > ").integer(now.micros()).sql(")")
        }
        None => states(query, filter),
    };
    Some(newest(query, "accepted_at", page))
}

/// Returns the index for a filter. A customer has few orders. Expired and
/// returned orders are few and do not stay, so they are sorted; every other list
/// is a scan of an index, newest first.
fn index(filter: &OrderFilter) -> &'static str {
    let only_returned = filter.states.iter().eq([&StateName::Returned]);
    if filter.customer_id.is_some() {
        "orders_by_customer"
    } else if matches!(filter.expired, Some((true, _))) {
        "orders_by_deadline"
    } else if only_returned && filter.pickup_point_id.is_some() {
        "orders_returned_by_point"
    } else if only_returned {
        "orders_returned"
    } else if filter.pickup_point_id.is_some() {
        "orders_by_point"
    } else {
        "orders_by_acceptance"
    }
}

/// Adds the condition on states. States are literals: there are only 15 sets of
/// them, and SQLite uses partial indexes only for literals.
fn states(mut query: Sql<OrderColumns>, filter: &OrderFilter) -> Sql<OrderColumns> {
    let mut before = " AND state IN (";
    if filter.states.iter().eq([&StateName::Returned]) {
        return query.sql(" AND state = 'RETURNED'");
    }
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

/// Selects a page of the orders in state RETURNED.
pub(super) fn returns(point: Option<&PickupPointId>, page: &Page) -> Sql<OrderColumns> {
    let query = select_orders().sql(" FROM orders INDEXED BY ");
    let query = match point {
        Some(point) => query
            .sql("orders_returned_by_point WHERE is_awaited() AND state = 'RETURNED' AND pickup_point_id = ")
            .text(point.as_str()),
        None => query.sql("orders_returned WHERE is_awaited() AND state = 'RETURNED'"),
    };
    newest(query, "returned_at", page)
}

/// Adds the page: by `(instant, order_id)` descending.
fn newest(mut query: Sql<OrderColumns>, instant: &'static str, page: &Page) -> Sql<OrderColumns> {
    if let Some((at, order_id)) = &page.below {
        query = query.sql(" AND (").sql(instant).sql(", order_id) < (");
        query = query.integer(at.micros()).sql(", ").text(order_id.as_str()).sql(")");
    }
    query.sql(" ORDER BY ").sql(instant).sql(" DESC, order_id DESC LIMIT ").limit(page.limit)
}

pub(super) fn history(order_id: &OrderId, after: i64, limit: usize) -> Sql<EventColumns> {
    let query = select_events().sql(" WHERE is_awaited() AND order_id = ");
    let query = query.text(order_id.as_str()).sql(" AND sequence > ").integer(after);
    query.sql(" ORDER BY sequence LIMIT ").limit(limit)
}

/// Selects a page of the feed. One connection writes, and positions are given
/// inside its transaction, so they become visible in order.
pub(super) fn feed(after: Position, limit: usize) -> Sql<EventColumns> {
    let query = select_events().sql(" WHERE is_awaited() AND position > ");
    query.integer(after.0).sql(" ORDER BY position LIMIT ").limit(limit)
}

/// Selects the last position given, even if its row was archived since.
pub(super) fn head() -> Sql<BigInt> {
    Sql::new("SELECT seq FROM sqlite_sequence WHERE name = 'order_events'")
}

/// Selects the position before the oldest event. Positions have no gaps, so an
/// earlier event was archived; if there are no events, all were.
pub(super) fn oldest() -> Sql<BigInt> {
    Sql::new("SELECT coalesce((SELECT min(position) - 1 FROM order_events), ")
        .sql("(SELECT seq FROM sqlite_sequence WHERE name = 'order_events'), 0)")
}
