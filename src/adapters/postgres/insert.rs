//! The statement that writes a batch which only makes orders. Its text is the
//! same whatever the size of the batch.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::statement::{Columns, Kept, columns};
use crate::adapters::rows::event_body;
use crate::domain::{Event, EventType, Grams, Order, OrderState, RequestId, Traceparent};
use crate::ports::Writes;

columns! {
    /// Orders as they are accepted: placeholders 1 to 10.
    NewOrders<'a> {
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
    /// That they were accepted: placeholders 18 to 25.
    NewEvents<'a> {
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

/// The write of a batch that only makes orders, if none of them and no record
/// is there.
///
/// The keys of the tables are its guard: a row that is there is a unique
/// violation, which undoes all of it. The parts run in the order of the guarded
/// write, each by the count of the one before, so it waits as that one does.
/// It leaves out what the guarded write pays for and this one never needs: the
/// look for a conflict before each row and its second record in the log, the
/// update, which PostgreSQL sets up even when there is nothing to update, and
/// what is the same of all orders when they are new.
///
/// Nor does it sort: [`Writes`] are in the order of their keys, and a select
/// list gives its rows in the order of its arrays, one after the other, where
/// FROM puts each array into a table of its own first. Both together were an
/// eighth of the statement. If rows ever came in another order, two batches might
/// wait for each other, which PostgreSQL notices, and one of them is run again;
/// the log would not tell, because there is one event an order.
#[derive(Debug)]
pub(super) struct InsertBatch<'a> {
    orders: NewOrders<'a>,
    records: Kept<'a>,
    events: NewEvents<'a>,
}

const INSERT_ORDERS: &str = "\
WITH new_orders AS (
    INSERT INTO orders (order_id, customer_id, pickup_point_id, storage_until, accepted_at, weight_grams,
        price_minor, surcharge_minor, currency, packaging, state, version)
    SELECT ";

const INSERT_RECORDS: &str = ", 'STORED', 1
    RETURNING 1
), new_records AS (
    INSERT INTO idempotency (scope, request_id, method, hashes, answer, created_at, later_hashes)
    SELECT * FROM (SELECT ";

const INSERT_EVENTS: &str = ") AS new
    WHERE (SELECT count(*) FROM new_orders) = cardinality($1)
    RETURNING 1
)
INSERT INTO order_events (event_id, order_id, actor_kind, actor_id, request_id, occurred_at, body, traceparent,
    type, sequence)
SELECT *, 'ORDER_ACCEPTED', 1 FROM (SELECT ";

const AFTER_RECORDS: &str = ") AS new
WHERE (SELECT count(*) FROM new_records) = cardinality($11)";

impl<'a> InsertBatch<'a> {
    /// The write of these, if they are new orders, as they were accepted, and
    /// nothing else.
    pub(super) fn new(writes: &'a Writes) -> Option<Self> {
        let new = |order: &Order| order.version == 1 && order.state == OrderState::Stored;
        let accepted = |event: &Event| event.sequence == 1 && event.event_type == EventType::Accepted;
        let fits = writes.updated.is_empty()
            && writes.events.len() == writes.inserted.len()
            && writes.inserted.iter().all(new)
            && writes.events.iter().all(accepted);
        fits.then(|| Self {
            orders: NewOrders::of(&writes.inserted),
            records: Kept::of(writes),
            events: NewEvents::of(&writes.events),
        })
    }
}

impl<'a> NewOrders<'a> {
    fn of(orders: &'a [Order]) -> Self {
        let mut columns = Self::with_capacity(orders.len());
        for order in orders {
            columns.order_id.push(order.order_id.as_str());
            columns.customer_id.push(order.customer_id.as_str());
            columns.pickup_point_id.push(order.pickup_point_id.as_str());
            columns.storage_until.push(order.storage_until.micros());
            columns.accepted_at.push(order.accepted_at.micros());
            columns.weight_grams.push(order.weight.map(Grams::get));
            columns.price_minor.push(order.price.minor());
            columns.surcharge_minor.push(order.surcharge.minor());
            columns.currency.push(order.currency.as_str());
            columns.packaging.push(order.packaging_text());
        }
        columns
    }
}

impl<'a> NewEvents<'a> {
    fn of(events: &'a [Event]) -> Self {
        let mut columns = Self::with_capacity(events.len());
        for event in events {
            columns.event_id.push(Uuid::from_u128(event.event_id.0));
            columns.order_id.push(event.order.order_id.as_str());
            columns.actor_kind.push(event.actor.kind.name());
            columns.actor_id.push(event.actor.id.as_str());
            columns.request_id.push(event.request_id.as_ref().map(RequestId::as_str));
            columns.occurred_at.push(event.occurred_at.micros());
            columns.body.push(event_body(event));
            columns.traceparent.push(event.traceparent.as_ref().map(Traceparent::as_str));
        }
        columns
    }
}

impl QueryFragment<Pg> for InsertBatch<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(INSERT_ORDERS);
        self.orders.select(&mut out)?;
        out.push_sql(INSERT_RECORDS);
        self.records.select(&mut out)?;
        out.push_sql(INSERT_EVENTS);
        self.events.select(&mut out)?;
        out.push_sql(AFTER_RECORDS);
        Ok(())
    }
}

impl QueryId for InsertBatch<'_> {
    /// One text, so one statement to prepare.
    type QueryId = InsertBatch<'static>;
}
