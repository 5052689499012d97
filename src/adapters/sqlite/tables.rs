//! The columns of the tables, as they are read and written.
//!
//! Rows are inserted OR FAIL: a fault undoes the whole batch anyway, and SQLite
//! then need not copy every page that the statement changes, to be able to undo
//! the statement alone. For the same reason the foreign key is deferred.

use diesel::QueryResult;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::sql::{Insert, values};
use crate::adapters::rows::{EventRow, IdempotencyRow, OrderRow};

/// The columns of an [`OrderRow`].
pub(super) const ORDER: &str = "orders.order_id, customer_id, pickup_point_id, state, storage_until, \
     accepted_at, issued_at, returned_at, handed_to_courier_at, weight_grams, price_minor, \
     surcharge_minor, currency, packaging, version";

/// The types of [`ORDER`].
pub(super) type OrderColumns = (
    Text,
    Text,
    Text,
    Text,
    BigInt,
    BigInt,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    BigInt,
    BigInt,
    Text,
    Text,
    BigInt,
);

/// The columns of a position and its [`EventRow`].
pub(super) const EVENT: &str = "position, event_id, order_id, sequence, type, actor_kind, actor_id, \
     request_id, occurred_at, body, traceparent";

/// The types of [`EVENT`].
pub(super) type EventColumns =
    (BigInt, (Binary, Text, BigInt, Text, Text, Text, Nullable<Text>, BigInt, Binary, Nullable<Text>));

/// The columns of a [`IdempotencyRow`].
pub(super) const RECORD: &str =
    "idempotency.scope, idempotency.request_id, method, hashes, answer, created_at, later_hashes";

/// The types of [`RECORD`].
pub(super) type IdempotencyColumns = (Text, Text, Text, Binary, Binary, BigInt, Nullable<Binary>);

impl Insert for OrderRow {
    const HEAD: &'static str = "INSERT OR FAIL INTO orders (order_id, customer_id, pickup_point_id, state, \
         storage_until, accepted_at, issued_at, returned_at, handed_to_courier_at, weight_grams, \
         price_minor, surcharge_minor, currency, packaging, version)";
    const TAIL: &'static str = "";

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        values!(
            out, self,
            order_id: Text,
            customer_id: Text,
            pickup_point_id: Text,
            state: Text,
            storage_until: BigInt,
            accepted_at: BigInt,
            issued_at: Nullable<BigInt>,
            returned_at: Nullable<BigInt>,
            handed_to_courier_at: Nullable<BigInt>,
            weight_grams: Nullable<BigInt>,
            price_minor: BigInt,
            surcharge_minor: BigInt,
            currency: Text,
            packaging: Text,
            version: BigInt,
        );
        Ok(())
    }
}

impl Insert for EventRow {
    const HEAD: &'static str = "INSERT OR FAIL INTO order_events (event_id, order_id, sequence, type, actor_kind, \
         actor_id, request_id, occurred_at, body, traceparent)";
    const TAIL: &'static str = "";

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        values!(
            out, self,
            event_id: Binary,
            order_id: Text,
            sequence: BigInt,
            event_type: Text,
            actor_kind: Text,
            actor_id: Text,
            request_id: Nullable<Text>,
            occurred_at: BigInt,
            body: Binary,
            traceparent: Nullable<Text>,
        );
        Ok(())
    }
}

/// A [`IdempotencyRow`] whose key is not there yet.
pub(super) struct NewIdempotencyRecord(pub(super) IdempotencyRow);

impl Insert for NewIdempotencyRecord {
    const HEAD: &'static str = IdempotencyRow::HEAD;
    const TAIL: &'static str = "";

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.0.values(out)
    }
}

impl Insert for IdempotencyRow {
    const HEAD: &'static str = "INSERT OR FAIL INTO idempotency (scope, request_id, method, hashes, answer, created_at, \
         later_hashes)";
    const TAIL: &'static str = " ON CONFLICT (scope, request_id) DO UPDATE SET method = excluded.method, \
         hashes = excluded.hashes, answer = excluded.answer, created_at = excluded.created_at, \
         later_hashes = excluded.later_hashes";

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        values!(
            out, self,
            scope: Text,
            request_id: Text,
            method: Text,
            hashes: Binary,
            answer: Binary,
            created_at: BigInt,
            later_hashes: Nullable<Binary>,
        );
        Ok(())
    }
}
