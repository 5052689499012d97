//! The columns of the tables, as they are read and written.

use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::error::Failure;
use crate::adapters::rows::{EventRow, IdempotencyRow, OrderRow};
use crate::domain::Order;
use crate::ports::{IdempotencyKey, IdempotencyRecord, LoggedEvent};

/// The columns of an [`OrderRow`].
pub(super) const ORDER: &str = "order_id, customer_id, pickup_point_id, state, storage_until, accepted_at, \
     issued_at, returned_at, handed_to_courier_at, weight_grams, price_minor, surcharge_minor, currency, \
     packaging, version";

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

/// The columns of a [`PositionedRow`].
pub(super) const EVENT: &str = "position, event_id, order_id, sequence, type, actor_kind, actor_id, \
     request_id, occurred_at, body, traceparent";

/// The types of [`EVENT`].
pub(super) type EventColumns =
    (BigInt, SqlUuid, Text, BigInt, Text, Text, Text, Nullable<Text>, BigInt, Binary, Nullable<Text>);

/// An event and its position, as the driver reads them.
pub(super) type PositionedRow =
    (i64, Uuid, String, i64, String, String, String, Option<String>, i64, Vec<u8>, Option<String>);

/// The columns of a [`IdempotencyRow`].
pub(super) const RECORD: &str = "scope, request_id, method, hashes, answer, created_at, later_hashes";

/// The types of [`RECORD`].
pub(super) type IdempotencyColumns = (Text, Text, Text, Binary, Binary, BigInt, Nullable<Binary>);

/// An order of a row, or what is wrong with the row.
pub(super) fn order(row: OrderRow) -> Result<Order, Failure> {
    let key = row.order_id.clone();
    row.try_into().map_err(|fault| Failure::row("orders", &key, &fault))
}

/// The record of a row, or what is wrong with the row.
pub(super) fn record(row: IdempotencyRow) -> Result<(IdempotencyKey, IdempotencyRecord), Failure> {
    let key = format!("{}/{}", row.scope, row.request_id);
    row.try_into().map_err(|fault| Failure::row("idempotency", &key, &fault))
}

/// The event of a row, or what is wrong with the row.
pub(super) fn logged(row: PositionedRow) -> Result<LoggedEvent, Failure> {
    let (position, row) = event_row(row);
    row.logged(position)
        .map_err(|fault| Failure::row("order_events", &format!("position {position}"), &fault))
}

/// The row in the form that all databases share.
pub(super) fn event_row(row: PositionedRow) -> (i64, EventRow) {
    let (
        position,
        event_id,
        order_id,
        sequence,
        event_type,
        actor_kind,
        actor_id,
        request_id,
        at,
        body,
        traceparent,
    ) = row;
    let row = EventRow {
        event_id: event_id.as_bytes().to_vec(),
        order_id,
        sequence,
        event_type,
        actor_kind,
        actor_id,
        request_id,
        occurred_at: at,
        body,
        traceparent,
    };
    (position, row)
}
