//! Readers of rows: the select lists, and rows as values of the domain.

use diesel::sql_types::BigInt;

use super::error::Failure;
use super::sql::Sql;
use crate::adapters::rows::{EventRow, IdempotencyRow, OrderRow, TableRow};
use crate::domain::Order;
use crate::ports::{IdempotencyKey, IdempotencyRecord, LoggedEvent};

/// The SQL types of an [`OrderRow`].
pub(super) type OrderColumns = <OrderRow as TableRow>::SqlTypes;

/// The SQL types of an [`IdempotencyRow`].
pub(super) type RecordColumns = <IdempotencyRow as TableRow>::SqlTypes;

/// The SQL types of a position and an [`EventRow`]. The id of an event is a
/// `uuid` here, whose binary format is the 16 bytes of the row.
pub(super) type EventColumns = (BigInt, <EventRow as TableRow>::SqlTypes);

/// The position of an event and its row.
pub(super) type PositionedRow = (i64, EventRow);

/// Begins a statement that reads orders.
pub(super) fn select_orders() -> Sql<OrderColumns> {
    select_order_columns().sql(" FROM orders")
}

/// Begins a statement that reads orders: `FROM` and the rest follow.
pub(super) fn select_order_columns() -> Sql<OrderColumns> {
    Sql::new("SELECT ").sql(OrderRow::COLUMNS)
}

/// Begins a statement that reads idempotency records.
pub(super) fn select_records() -> Sql<RecordColumns> {
    Sql::new("SELECT ").sql(IdempotencyRow::COLUMNS).sql(" FROM idempotency")
}

/// Begins a statement that reads events.
pub(super) fn select_events() -> Sql<EventColumns> {
    Sql::new("SELECT position, ").sql(EventRow::COLUMNS).sql(" FROM order_events")
}

/// Returns the order of a row, or the invariant that the row breaks.
pub(super) fn order(row: OrderRow) -> Result<Order, Failure> {
    let key = row.order_id.clone();
    row.try_into().map_err(|fault| Failure::row("orders", &key, &fault))
}

/// Returns the idempotency record of a row, or the invariant that the row
/// breaks.
pub(super) fn record(row: IdempotencyRow) -> Result<(IdempotencyKey, IdempotencyRecord), Failure> {
    let key = format!("{}/{}", row.scope, row.request_id);
    row.try_into().map_err(|fault| Failure::row("idempotency", &key, &fault))
}

/// Returns the event of a row, or the invariant that the row breaks.
pub(super) fn logged((position, row): PositionedRow) -> Result<LoggedEvent, Failure> {
    let fault = |fault| Failure::row("order_events", &format!("position {position}"), &fault);
    row.logged(position).map_err(fault)
}
