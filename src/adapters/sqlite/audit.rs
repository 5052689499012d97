//! The audit: reads rows and events as stored, including damaged ones.

use diesel::sql_types::Text;
use diesel::{RunQueryDsl as _, SqliteConnection};

use super::error::{Failure, describe};
use super::sql::Sql;
use super::tables::{EventColumns, OrderColumns};
use super::{read, write};
use crate::adapters::rows::{EventRow, Fault, OrderRow};
use crate::domain::{Event, Order, OrderId};
use crate::ports::AuditedOrder;

/// Reads a page in one snapshot.
pub(super) fn page(
    connection: &mut SqliteConnection,
    after: Option<&OrderId>,
    limit: usize,
) -> Result<Vec<AuditedOrder>, Failure> {
    write::snapshot(connection, |connection| {
        let found: Vec<String> = ids(after, limit).load(connection)?;
        found.iter().map(|order_id| audited(connection, order_id)).collect()
    })
}

/// Selects the ids of orders and of events, ascending: an order without events
/// is a finding, and so are events without an order.
pub(super) fn ids(after: Option<&OrderId>, limit: usize) -> Sql<Text> {
    // No id is empty, so every id is greater than the empty string.
    let after = after.map(OrderId::as_str).unwrap_or_default();
    Sql::new("SELECT order_id FROM orders WHERE is_awaited() AND order_id > ")
        .text(after)
        .sql(" UNION SELECT order_id FROM order_events WHERE is_awaited() AND order_id > ")
        .text(after)
        .sql(" ORDER BY order_id LIMIT ")
        .limit(limit)
}

/// Reads one order at a time, so that a value that cannot be read affects no
/// other order.
fn audited(connection: &mut SqliteConnection, order_id: &str) -> Result<AuditedOrder, Failure> {
    let order_id = OrderId::parse(order_id).map_err(|why| {
        Failure::Inconsistent(format!("orders or order_events {order_id:?}: order_id {why}"))
    })?;
    let row = row(connection, read::order(&order_id))?;
    let events = events(connection, read::history(&order_id, i64::MIN, usize::MAX))?;
    Ok(AuditedOrder { order_id, row, events, archived: false })
}

fn row(
    connection: &mut SqliteConnection,
    query: Sql<OrderColumns>,
) -> Result<Result<Option<Order>, String>, Failure> {
    let rows: Result<Vec<OrderRow>, String> = readable(query.load(connection), "orders")?;
    Ok(rows.and_then(|rows| {
        let order = |row: OrderRow| {
            let key = row.order_id.clone();
            row.try_into().map_err(|fault: Fault| describe("orders", &key, &fault))
        };
        rows.into_iter().next().map(order).transpose()
    }))
}

fn events(
    connection: &mut SqliteConnection,
    query: Sql<EventColumns>,
) -> Result<Result<Vec<Event>, String>, Failure> {
    let rows: Result<Vec<(i64, EventRow)>, String> = readable(query.load(connection), "order_events")?;
    let event = |(position, row): (i64, EventRow)| {
        row.try_into()
            .map_err(|fault: Fault| describe("order_events", &format!("position {position}"), &fault))
    };
    Ok(rows.and_then(|rows| rows.into_iter().map(event).collect()))
}

/// Separates an unreadable value, which is a finding, from a failure.
fn readable<T>(loaded: diesel::QueryResult<T>, table: &str) -> Result<Result<T, String>, Failure> {
    match loaded {
        Ok(rows) => Ok(Ok(rows)),
        Err(diesel::result::Error::DeserializationError(error)) => Ok(Err(format!("{table}: {error}"))),
        Err(error) => Err(error.into()),
    }
}
