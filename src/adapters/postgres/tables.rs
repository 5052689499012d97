//! The columns of the tables as batches write them. The rows of
//! `adapters/rows` say how the same columns are read.
//!
//! To add a column, add it to a list here and to the row. A field of the domain
//! that no list takes does not compile, because the values are destructured
//! exhaustively; a list without a column of the row does not compile either.
//!
//! Each table has two lists, because some statements omit columns: an update
//! changes only the status of an order, and the optimistic insert writes what
//! is the same for all new orders as constants.

use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::columns::{Columns, columns};
use crate::adapters::rows::{
    EventRow, IdempotencyRow, OrderRow, TableRow, answer_bytes, event_body, later_hash_bytes, type_text,
};
use crate::domain::{
    Actor, ActorId, Event, EventType, Grams, Order, RequestId, StateName, Timestamp, Traceparent,
};
use crate::ports::{IdempotencyKey, IdempotencyRecord};

columns! {
    /// The columns of an order that its acceptance fixes.
    OrderAcceptance<'a> in OrderAcceptanceArrays {
        order_id: Text = &'a str,
        customer_id: Text = &'a str,
        pickup_point_id: Text = &'a str,
        storage_until: BigInt = i64,
        accepted_at: BigInt = i64,
        weight_grams: Nullable<BigInt> = Option<i64>,
        price_minor: BigInt = i64,
        surcharge_minor: BigInt = i64,
        currency: Text = &'a str,
        packaging: Text = String,
    }
}

columns! {
    /// The columns of an order that later events change.
    constant OrderStatus in OrderStatusArrays {
        state: Text = &'static str,
        issued_at: Nullable<BigInt> = Option<i64>,
        returned_at: Nullable<BigInt> = Option<i64>,
        handed_to_courier_at: Nullable<BigInt> = Option<i64>,
        version: BigInt = i64,
    }
}

columns! {
    /// The primary key of an idempotency record.
    RecordKey<'a> in RecordKeyArrays {
        scope: Text = &'a str,
        request_id: Text = &'a str,
    }
}

columns! {
    /// The other columns of an idempotency record.
    RecordContent in RecordContentArrays {
        method: Text = &'static str,
        hashes: Binary = Vec<u8>,
        answer: Binary = Vec<u8>,
        created_at: BigInt = i64,
        later_hashes: Nullable<Binary> = Option<Vec<u8>>,
    }
}

columns! {
    /// The columns of an event that differ between events of one kind.
    EventDetails<'a> in EventDetailsArrays {
        event_id: SqlUuid = Uuid,
        order_id: Text = &'a str,
        actor_kind: Text = &'static str,
        actor_id: Text = &'a str,
        request_id: Nullable<Text> = Option<&'a str>,
        occurred_at: BigInt = i64,
        body: Binary = Vec<u8>,
        traceparent: Nullable<Text> = Option<&'a str>,
    }
}

columns! {
    /// The columns of an event that are the same for the first event of every
    /// order.
    constant EventKind in EventKindArrays {
        event_type("type"): Text = &'static str,
        sequence: BigInt = i64,
    }
}

// Each row is covered by its two lists.
const _: () = {
    assert!(covers::<OrderRow, OrderAcceptanceArrays<'static>, OrderStatusArrays>());
    assert!(covers::<IdempotencyRow, RecordKeyArrays<'static>, RecordContentArrays>());
    assert!(covers::<EventRow, EventDetailsArrays<'static>, EventKindArrays>());
};

/// Returns true if two lists together have as many columns as the row.
const fn covers<R: TableRow, A: Columns, B: Columns>() -> bool {
    let names = R::COLUMNS.as_bytes();
    let mut columns = 1;
    let mut at = 0;
    while at < names.len() {
        if names[at] == b',' {
            columns += 1;
        }
        at += 1;
    }
    columns == A::NAMES.len() + B::NAMES.len()
}

impl<'a> From<&'a Order> for OrderAcceptance<'a> {
    fn from(order: &'a Order) -> Self {
        let Order {
            order_id,
            customer_id,
            pickup_point_id,
            storage_until,
            accepted_at,
            weight,
            price,
            surcharge,
            currency,
            // All codes are joined into one string.
            packaging: _,
            // Part of `OrderStatus`.
            state: _,
            version: _,
        } = order;
        Self {
            order_id: order_id.as_str(),
            customer_id: customer_id.as_str(),
            pickup_point_id: pickup_point_id.as_str(),
            storage_until: storage_until.micros(),
            accepted_at: accepted_at.micros(),
            weight_grams: weight.map(Grams::get),
            price_minor: price.minor(),
            surcharge_minor: surcharge.minor(),
            currency: currency.as_str(),
            packaging: order.packaging_text(),
        }
    }
}

impl OrderStatus {
    /// The status of an order that was just accepted.
    pub(super) const ACCEPTED: Self = Self {
        state: OrderRow::state_text(StateName::Stored),
        issued_at: None,
        returned_at: None,
        handed_to_courier_at: None,
        version: 1,
    };
}

impl From<&Order> for OrderStatus {
    fn from(order: &Order) -> Self {
        Self {
            state: OrderRow::state_text(order.state_name()),
            issued_at: order.issued_at().map(Timestamp::micros),
            returned_at: order.returned_at().map(Timestamp::micros),
            handed_to_courier_at: order.handed_to_courier_at().map(Timestamp::micros),
            version: order.version,
        }
    }
}

impl<'a> From<&'a IdempotencyKey> for RecordKey<'a> {
    fn from(key: &'a IdempotencyKey) -> Self {
        let IdempotencyKey { scope, request_id } = key;
        Self { scope, request_id: request_id.as_str() }
    }
}

impl From<&IdempotencyRecord> for RecordContent {
    fn from(record: &IdempotencyRecord) -> Self {
        let IdempotencyRecord { method, hashes, later_hashes, answer, created_at } = record;
        Self {
            method: method.name(),
            hashes: hashes.concat(),
            answer: answer_bytes(answer),
            created_at: created_at.micros(),
            later_hashes: later_hash_bytes(later_hashes),
        }
    }
}

impl<'a> From<&'a Event> for EventDetails<'a> {
    fn from(event: &'a Event) -> Self {
        let Event {
            event_id,
            occurred_at,
            actor: Actor { kind, id },
            request_id,
            traceparent,
            order,
            // Part of `EventKind`.
            event_type: _,
            sequence: _,
        } = event;
        Self {
            event_id: Uuid::from_u128(event_id.0),
            order_id: order.order_id.as_str(),
            actor_kind: kind.name(),
            actor_id: ActorId::as_str(id),
            request_id: request_id.as_ref().map(RequestId::as_str),
            occurred_at: occurred_at.micros(),
            body: event_body(event),
            traceparent: traceparent.as_ref().map(Traceparent::as_str),
        }
    }
}

impl EventKind {
    /// The kind of the first event of an order.
    pub(super) const ACCEPTED: Self = Self { event_type: type_text(EventType::Accepted), sequence: 1 };
}

impl From<&Event> for EventKind {
    fn from(event: &Event) -> Self {
        Self { event_type: type_text(event.event_type), sequence: event.sequence }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn same_names<R: TableRow, A: Columns, B: Columns>() {
        let row: BTreeSet<&str> = R::COLUMNS.split(", ").collect();
        let lists: BTreeSet<&str> = A::NAMES.iter().chain(B::NAMES).copied().collect();
        assert_eq!(row, lists, "{}", R::TABLE);
    }

    #[test]
    fn lists_and_rows_have_the_same_columns() {
        same_names::<OrderRow, OrderAcceptanceArrays<'_>, OrderStatusArrays>();
        same_names::<IdempotencyRow, RecordKeyArrays<'_>, RecordContentArrays>();
        same_names::<EventRow, EventDetailsArrays<'_>, EventKindArrays>();
    }
}
