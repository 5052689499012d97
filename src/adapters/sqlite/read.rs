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
use crate::domain::{Order, OrderId, PickupPointId, StateName, Timestamp};
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
///
/// A customer has few orders, and few orders are expired at a time. A list of either uses a
/// separate index, and a list of expired orders is sorted. Every other list merges one index scan
/// per state, newest first. So it visits no order in a state that it does not show.
pub(super) fn orders(filter: &OrderFilter, page: &Page) -> Option<Sql<OrderColumns>> {
    if let Some((true, now)) = filter.expired {
        let shows_stored = filter.states.is_empty() || filter.states.contains(&StateName::Stored);
        return shows_stored.then(|| expired_orders(filter, now, page));
    }
    if filter.customer_id.is_some() {
        return Some(orders_of_customer(filter, page));
    }
    let shown = |state: &StateName| filter.states.is_empty() || filter.states.contains(state);
    let lists = StateName::ALL.into_iter().filter(shown).map(|state| orders_in_state(state, filter, page));
    let merged = lists.reduce(|lists, list| lists.sql(" UNION ALL ").then(list))?;
    Some(newest_first(merged, "accepted_at", page))
}

fn expired_orders(filter: &OrderFilter, now: Timestamp, page: &Page) -> Sql<OrderColumns> {
    let index = if filter.customer_id.is_some() { "orders_by_customer" } else { "orders_by_deadline" };
    let query = at(filter, select_from(index)).sql(" AND state = 'STORED' AND storage_until <= ");
    newest(query.integer(now.micros()), "accepted_at", page)
}

fn orders_of_customer(filter: &OrderFilter, page: &Page) -> Sql<OrderColumns> {
    let mut query = at(filter, select_from("orders_by_customer"));
    let mut before = " AND state IN (";
    for state in &filter.states {
        query = literal(query.sql(before), *state);
        before = ", ";
    }
    if !filter.states.is_empty() {
        query = query.sql(")");
    }
    if let Some((false, now)) = filter.expired {
        query = query.sql(" AND (state <> 'STORED' OR storage_until > ").integer(now.micros()).sql(")");
    }
    newest(query, "accepted_at", page)
}

/// Selects the orders in one state after the previous page, without `LIMIT` and `ORDER BY`.
fn orders_in_state(state: StateName, filter: &OrderFilter, page: &Page) -> Sql<OrderColumns> {
    let at_point = filter.pickup_point_id.is_some();
    let index = if at_point { "orders_by_point_and_state" } else { "orders_by_state" };
    let mut query = literal(at(filter, select_from(index)).sql(" AND state = "), state);
    if let (Some((false, now)), StateName::Stored) = (filter.expired, state) {
        query = query.sql(" AND storage_until > ").integer(now.micros());
    }
    below(query, "accepted_at", page)
}

fn select_from(index: &'static str) -> Sql<OrderColumns> {
    select_orders().sql(" FROM orders INDEXED BY ").sql(index).sql(" WHERE is_awaited()")
}

/// Adds the conditions on customer and pickup point.
fn at(filter: &OrderFilter, mut query: Sql<OrderColumns>) -> Sql<OrderColumns> {
    if let Some(customer_id) = &filter.customer_id {
        query = query.sql(" AND customer_id = ").text(customer_id.as_str());
    }
    if let Some(point) = &filter.pickup_point_id {
        query = query.sql(" AND pickup_point_id = ").text(point.as_str());
    }
    query
}

/// Adds a state as a literal: SQLite uses partial indexes only for literals, and there are only
/// 15 sets of states.
fn literal(query: Sql<OrderColumns>, state: StateName) -> Sql<OrderColumns> {
    query.sql("'").sql(OrderRow::state_text(state)).sql("'")
}

/// Selects a page of the orders in state RETURNED.
pub(super) fn returns(point: Option<&PickupPointId>, page: &Page) -> Sql<OrderColumns> {
    let query = match point {
        Some(point) => {
            select_from("orders_returned_by_point").sql(" AND pickup_point_id = ").text(point.as_str())
        }
        None => select_from("orders_returned"),
    };
    newest(query.sql(" AND state = 'RETURNED'"), "returned_at", page)
}

/// Adds the page: by `(instant, order_id)` descending.
fn newest(query: Sql<OrderColumns>, instant: &'static str, page: &Page) -> Sql<OrderColumns> {
    newest_first(below(query, instant, page), instant, page)
}

/// Adds the condition that selects the rows after the previous page.
fn below(query: Sql<OrderColumns>, instant: &'static str, page: &Page) -> Sql<OrderColumns> {
    let Some((at, order_id)) = &page.below else { return query };
    let query = query.sql(" AND (").sql(instant).sql(", order_id) < (").integer(at.micros());
    query.sql(", ").text(order_id.as_str()).sql(")")
}

/// Adds `ORDER BY` and the page size.
fn newest_first(query: Sql<OrderColumns>, instant: &'static str, page: &Page) -> Sql<OrderColumns> {
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
