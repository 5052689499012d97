//! The tables as the store reads and writes them. The columns come from the
//! lists in `adapters/rows/`.
//!
//! Rows are inserted OR FAIL: an error rolls the whole batch back anyway, and SQLite then need not
//! copy every page that the statement changes in order to undo the statement alone. For the same
//! reason the foreign key is deferred.

use diesel::QueryResult;
use diesel::query_builder::AstPass;
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;

use super::sql::{Insert, Sql};
use crate::adapters::rows::{BindRow, EventRow, IdempotencyRow, OrderRow, TableRow};

/// The SQL types of an [`OrderRow`].
pub(super) type OrderColumns = <OrderRow as TableRow>::SqlTypes;

/// The SQL types of a position and its [`EventRow`].
pub(super) type EventColumns = (BigInt, <EventRow as TableRow>::SqlTypes);

/// The SQL types of an [`IdempotencyRow`].
pub(super) type IdempotencyColumns = <IdempotencyRow as TableRow>::SqlTypes;

/// Begins a query of order rows: `FROM` and the rest follow.
pub(super) fn select_orders() -> Sql<OrderColumns> {
    Sql::new("SELECT ").sql(OrderRow::QUALIFIED)
}

/// Begins a query of positions and event rows.
pub(super) fn select_events() -> Sql<EventColumns> {
    Sql::new("SELECT position, ").sql(EventRow::COLUMNS).sql(" FROM order_events")
}

/// Begins a query of idempotency rows: `FROM` and the rest follow.
pub(super) fn select_idempotency_records() -> Sql<IdempotencyColumns> {
    Sql::new("SELECT ").sql(IdempotencyRow::QUALIFIED)
}

impl Insert for OrderRow {
    const HEAD: &'static [&'static str] = &["INSERT OR FAIL INTO orders (", Self::COLUMNS, ")"];

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.bind(out)
    }
}

impl Insert for EventRow {
    const HEAD: &'static [&'static str] = &["INSERT OR FAIL INTO order_events (", Self::COLUMNS, ")"];

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.bind(out)
    }
}

/// An idempotency record whose key must not exist.
pub(super) struct NewIdempotencyRecord(pub(super) IdempotencyRow);

impl Insert for NewIdempotencyRecord {
    const HEAD: &'static [&'static str] = IdempotencyRow::HEAD;

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.0.bind(out)
    }
}

/// Replaces the record of the key, if there is one.
impl Insert for IdempotencyRow {
    const HEAD: &'static [&'static str] = &["INSERT OR FAIL INTO idempotency (", Self::COLUMNS, ")"];
    const TAIL: &'static [&'static str] =
        &[" ON CONFLICT (scope, request_id) DO UPDATE SET ", Self::EXCLUDED];

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.bind(out)
    }
}
