//! The audit: rows and events as stored, damaged ones included.

use std::collections::HashMap;

use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, TransactionManager as _};

use super::error::{Failure, describe};
use super::feed;
use super::rows::{self, EventColumns, OrderColumns, PositionedRow};
use super::session::Transactions;
use super::sql::Sql;
use crate::adapters::rows::{Fault, OrderRow};
use crate::domain::{Event, OrderId};
use crate::ports::{AuditedOrder, Position};

/// Reads a page in one snapshot.
pub(super) async fn page(
    connection: &mut AsyncPgConnection,
    after: Option<&OrderId>,
    limit: usize,
) -> Result<Vec<AuditedOrder>, Failure> {
    // After an error the connection is closed, which ends the transaction.
    Transactions::begin_transaction_sql(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let audited = load(connection, after, limit).await?;
    Transactions::commit_transaction(connection).await?;
    Ok(audited)
}

async fn load(
    connection: &mut AsyncPgConnection,
    after: Option<&OrderId>,
    limit: usize,
) -> Result<Vec<AuditedOrder>, Failure> {
    let archived = feed::oldest(connection).await? > Position(0);
    let found: Vec<String> = ids(after, limit).load(connection).await?;
    let rows: Vec<OrderRow> = orders(found.clone()).load(connection).await?;
    let mut rows: HashMap<String, OrderRow> =
        rows.into_iter().map(|row| (row.order_id.clone(), row)).collect();
    let logged: Vec<PositionedRow> = events(found.clone()).load(connection).await?;
    let mut events: HashMap<String, Vec<PositionedRow>> = HashMap::new();
    for (position, row) in logged {
        events.entry(row.order_id.clone()).or_default().push((position, row));
    }
    let audited = |order_id: String| {
        let row = rows
            .remove(&order_id)
            .map(|row| row.try_into().map_err(|fault: Fault| describe("orders", &order_id, &fault)));
        let events = events.remove(&order_id).unwrap_or_default();
        let parsed = OrderId::parse(&order_id);
        let parsed = parsed.map_err(|why| {
            Failure::Inconsistent(format!("orders or order_events {order_id:?}: order_id {why}"))
        })?;
        let events = events.into_iter().map(event).collect();
        Ok(AuditedOrder { order_id: parsed, row: row.transpose(), events, archived })
    };
    found.into_iter().map(audited).collect()
}

fn event((position, row): PositionedRow) -> Result<Event, String> {
    row.try_into().map_err(|fault: Fault| describe("order_events", &format!("position {position}"), &fault))
}

/// Reads the ids of orders and of events, ascending. An order without events or
/// events without an order are a finding, so either is enough. Each side has its
/// own limit, so that neither is read to its end.
fn ids(after: Option<&OrderId>, limit: usize) -> Sql<Text> {
    // No id is empty, so every id is greater than the empty string.
    let after = after.map(OrderId::as_str).unwrap_or_default();
    Sql::new("(SELECT order_id FROM orders WHERE order_id > ")
        .text(after)
        .sql(" ORDER BY order_id LIMIT ")
        .limit(limit)
        .sql(") UNION (SELECT DISTINCT order_id FROM order_events WHERE order_id > ")
        .text(after)
        .sql(" ORDER BY order_id LIMIT ")
        .limit(limit)
        .sql(") ORDER BY order_id LIMIT ")
        .limit(limit)
}

fn orders(ids: Vec<String>) -> Sql<OrderColumns> {
    rows::select_orders().sql(" WHERE order_id = ANY(").texts(ids).sql(")")
}

fn events(ids: Vec<String>) -> Sql<EventColumns> {
    rows::select_events().sql(" WHERE order_id = ANY(").texts(ids).sql(") ORDER BY order_id, sequence")
}
