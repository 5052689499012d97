//! The guarded statement that writes a batch, over arrays. Its text is the same
//! whatever its size.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::adapters::rows::{OrderRow, answer_bytes, event_body, later_hash_bytes, type_text};
use crate::domain::{Event, Grams, Order, RequestId, Timestamp, Traceparent};
use crate::ports::{IdempotencyKey, IdempotencyRecord, Writes};

/// Arrays, of which each is a column of rows.
pub(super) trait Columns {
    /// No rows yet, and room for so many.
    fn with_capacity(rows: usize) -> Self;

    /// Adds the arrays, with commas between.
    fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// Adds them as columns of a select list, which gives a row for each
    /// element.
    fn select<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

/// Declares a struct of columns, and how they become binds, in their order.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $($column:ident: $sql:ty = $rust:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name $(<$life>)? {
            $($column: Vec<$rust>,)+
        }

        impl $(<$life>)? $crate::adapters::postgres::statement::Columns for $name $(<$life>)? {
            fn with_capacity(rows: usize) -> Self {
                Self { $($column: Vec::with_capacity(rows),)+ }
            }

            fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                let mut comma = "";
                $(
                    out.push_sql(comma);
                    out.push_bind_param::<Array<$sql>, _>(&self.$column)?;
                    comma = ", ";
                )+
                let _ = comma;
                Ok(())
            }

            fn select<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                let mut before = "unnest(";
                $(
                    out.push_sql(before);
                    out.push_bind_param::<Array<$sql>, _>(&self.$column)?;
                    out.push_sql(concat!(") AS ", stringify!($column)));
                    before = ", unnest(";
                )+
                let _ = before;
                Ok(())
            }
        }
    };
}
pub(super) use columns;

columns! {
    /// New orders: placeholders 1 to 15.
    Inserted<'a> {
        order_id: Text = &'a str,
        customer_id: Text = &'a str,
        pickup_point_id: Text = &'a str,
        state: Text = &'static str,
        storage_until: BigInt = i64,
        accepted_at: BigInt = i64,
        issued_at: Nullable<BigInt> = Option<i64>,
        returned_at: Nullable<BigInt> = Option<i64>,
        handed_to_courier_at: Nullable<BigInt> = Option<i64>,
        weight_grams: Nullable<BigInt> = Option<i64>,
        price_minor: BigInt = i64,
        surcharge_minor: BigInt = i64,
        currency: Text = &'a str,
        packaging: Text = String,
        version: BigInt = i64,
    }
}

columns! {
    /// Idempotency records: placeholders 16 to 22 of the guarded write.
    Kept<'a> {
        scope: Text = &'a str,
        request_id: Text = &'a str,
        method: Text = &'static str,
        hashes: Binary = Vec<u8>,
        answer: Binary = Vec<u8>,
        created_at: BigInt = i64,
        later_hashes: Nullable<Binary> = Option<Vec<u8>>,
    }
}

columns! {
    /// When the record that was loaded under the same key was made, if there was one: placeholder 23.
    Replaced {
        created_at: Nullable<BigInt> = Option<i64>,
    }
}

columns! {
    /// Changed orders, and what an event may change of one: placeholders 24 to
    /// 30.
    Updated<'a> {
        order_id: Text = &'a str,
        loaded: BigInt = i64,
        state: Text = &'static str,
        issued_at: Nullable<BigInt> = Option<i64>,
        returned_at: Nullable<BigInt> = Option<i64>,
        handed_to_courier_at: Nullable<BigInt> = Option<i64>,
        version: BigInt = i64,
    }
}

columns! {
    /// Events: placeholders 31 to 40.
    Appended<'a> {
        event_id: SqlUuid = Uuid,
        order_id: Text = &'a str,
        sequence: BigInt = i64,
        event_type: Text = &'static str,
        actor_kind: Text = &'static str,
        actor_id: Text = &'a str,
        request_id: Nullable<Text> = Option<&'a str>,
        occurred_at: BigInt = i64,
        body: Binary = Vec<u8>,
        traceparent: Nullable<Text> = Option<&'a str>,
    }
}

/// The guarded write of a batch.
///
/// Orders, then keys, then changes, then events: each part waits for the counts
/// of those before, so rows are inserted in (table, key) order by everybody,
/// and no cycle of waits can close. A part that came out short (another batch
/// was first) keeps the later ones from running, and the last line then raises
/// an error, so that nothing of it can ever be committed.
///
/// An idempotency record that was loaded, expired, is replaced only if it is
/// still the one that was loaded. One that appeared since was loaded as absent,
/// NULL, which equals nothing: a lost race.
#[derive(Debug)]
pub(super) struct WriteBatch<'a> {
    inserted: Inserted<'a>,
    kept: Kept<'a>,
    replaced: Replaced,
    updated: Updated<'a>,
    appended: Appended<'a>,
}

const INSERT_ORDERS: &str = "\
WITH new_orders AS (
    INSERT INTO orders (order_id, customer_id, pickup_point_id, state, storage_until, accepted_at,
        issued_at, returned_at, handed_to_courier_at, weight_grams, price_minor, surcharge_minor,
        currency, packaging, version)
    SELECT ";

const KEEP_RECORDS: &str = ") AS new (order_id)
    ORDER BY new.order_id COLLATE \"C\"
    ON CONFLICT DO NOTHING
    RETURNING 1
), new_records AS (
    INSERT INTO idempotency AS kept (scope, request_id, method, hashes, answer, created_at, later_hashes)
    SELECT scope, request_id, method, hashes, answer, created_at, later_hashes FROM unnest(";

const UPDATE_ORDERS: &str =
    ") AS new (scope, request_id, method, hashes, answer, created_at, later_hashes, replaced)
    WHERE (SELECT count(*) FROM new_orders) = cardinality($1)
    ORDER BY new.scope COLLATE \"C\", new.request_id COLLATE \"C\"
    ON CONFLICT (scope, request_id) DO UPDATE SET method = excluded.method, hashes = excluded.hashes,
        answer = excluded.answer, created_at = excluded.created_at, later_hashes = excluded.later_hashes
    WHERE kept.created_at = (
        SELECT loaded.created_at FROM unnest($16, $17, $23) AS loaded (scope, request_id, created_at)
        WHERE loaded.scope = kept.scope AND loaded.request_id = kept.request_id)
    RETURNING 1
), changed_orders AS (
    UPDATE orders SET state = change.state, issued_at = change.issued_at,
        returned_at = change.returned_at, handed_to_courier_at = change.handed_to_courier_at,
        version = change.version
    FROM unnest(";

const APPEND_EVENTS: &str =
    ") AS change (order_id, loaded, state, issued_at, returned_at, handed_to_courier_at, version)
    WHERE orders.order_id = change.order_id AND orders.version = change.loaded
        AND (SELECT count(*) FROM new_orders) = cardinality($1)
        AND (SELECT count(*) FROM new_records) = cardinality($16)
    RETURNING 1
), new_events AS (
    ";

const INSERT_EVENTS: &str = "\
INSERT INTO order_events (event_id, order_id, sequence, type, actor_kind, actor_id, request_id,
        occurred_at, body, traceparent)
    ";

const SELECT_EVENTS: &str = "\
SELECT event_id, order_id, sequence, type, actor_kind, actor_id, request_id, occurred_at, body, traceparent
    FROM unnest(";

const NUMBERED: &str = ") WITH ORDINALITY AS new (event_id, order_id, sequence, type, actor_kind, actor_id,
        request_id, occurred_at, body, traceparent, number)
    ";

const GUARD: &str = "\
WHERE (SELECT count(*) FROM new_orders) = cardinality($1)
        AND (SELECT count(*) FROM new_records) = cardinality($16)
        AND (SELECT count(*) FROM changed_orders) = cardinality($24)
    ORDER BY new.number
    RETURNING 1
)
SELECT CASE WHEN (SELECT count(*) FROM new_events) = cardinality($31)
        AND (SELECT count(*) FROM changed_orders) = cardinality($24)
        AND (SELECT count(*) FROM new_records) = cardinality($16)
        AND (SELECT count(*) FROM new_orders) = cardinality($1)
    THEN '' ELSE lost_race() END";

impl<'a> WriteBatch<'a> {
    /// The write of these. `replaced` tells of a record's key when the one that
    /// was loaded under it was made.
    pub(super) fn new(writes: &'a Writes, replaced: impl Fn(&IdempotencyKey) -> Option<i64>) -> Self {
        let mut inserted = Inserted::with_capacity(writes.inserted.len());
        for order in &writes.inserted {
            inserted.push(order);
        }
        let created_at = writes.records.iter().map(|(key, _)| replaced(key)).collect();
        let mut updated = Updated::with_capacity(writes.updated.len());
        for (loaded, order) in &writes.updated {
            updated.push(*loaded, order);
        }
        let mut appended = Appended::with_capacity(writes.events.len());
        for event in &writes.events {
            appended.push(event);
        }
        Self { inserted, kept: Kept::of(writes), replaced: Replaced { created_at }, updated, appended }
    }
}

impl<'a> Inserted<'a> {
    fn push(&mut self, order: &'a Order) {
        self.order_id.push(order.order_id.as_str());
        self.customer_id.push(order.customer_id.as_str());
        self.pickup_point_id.push(order.pickup_point_id.as_str());
        self.state.push(OrderRow::state_text(order.state_name()));
        self.storage_until.push(order.storage_until.micros());
        self.accepted_at.push(order.accepted_at.micros());
        self.issued_at.push(order.issued_at().map(Timestamp::micros));
        self.returned_at.push(order.returned_at().map(Timestamp::micros));
        self.handed_to_courier_at.push(order.handed_to_courier_at().map(Timestamp::micros));
        self.weight_grams.push(order.weight.map(Grams::get));
        self.price_minor.push(order.price.minor());
        self.surcharge_minor.push(order.surcharge.minor());
        self.currency.push(order.currency.as_str());
        self.packaging.push(order.packaging_text());
        self.version.push(order.version);
    }
}

impl<'a> Kept<'a> {
    /// The records of a batch.
    pub(super) fn of(writes: &'a Writes) -> Self {
        let mut kept = Self::with_capacity(writes.records.len());
        for (key, record) in &writes.records {
            kept.push(key, record);
        }
        kept
    }

    fn push(&mut self, key: &'a IdempotencyKey, record: &IdempotencyRecord) {
        self.scope.push(&key.scope);
        self.request_id.push(key.request_id.as_str());
        self.method.push(record.method.name());
        self.hashes.push(record.hashes.concat());
        self.answer.push(answer_bytes(&record.answer));
        self.created_at.push(record.created_at.micros());
        self.later_hashes.push(later_hash_bytes(&record.later_hashes));
    }
}

impl<'a> Updated<'a> {
    fn push(&mut self, loaded: i64, order: &'a Order) {
        self.order_id.push(order.order_id.as_str());
        self.loaded.push(loaded);
        self.state.push(OrderRow::state_text(order.state_name()));
        self.issued_at.push(order.issued_at().map(Timestamp::micros));
        self.returned_at.push(order.returned_at().map(Timestamp::micros));
        self.handed_to_courier_at.push(order.handed_to_courier_at().map(Timestamp::micros));
        self.version.push(order.version);
    }
}

impl<'a> Appended<'a> {
    fn push(&mut self, event: &'a Event) {
        self.event_id.push(Uuid::from_u128(event.event_id.0));
        self.order_id.push(event.order.order_id.as_str());
        self.sequence.push(event.sequence);
        self.event_type.push(type_text(event.event_type));
        self.actor_kind.push(event.actor.kind.name());
        self.actor_id.push(event.actor.id.as_str());
        self.request_id.push(event.request_id.as_ref().map(RequestId::as_str));
        self.occurred_at.push(event.occurred_at.micros());
        self.body.push(event_body(event));
        self.traceparent.push(event.traceparent.as_ref().map(Traceparent::as_str));
    }
}

impl QueryFragment<Pg> for WriteBatch<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(INSERT_ORDERS);
        out.push_sql("* FROM unnest(");
        self.inserted.bind(&mut out)?;
        out.push_sql(KEEP_RECORDS);
        self.kept.bind(&mut out)?;
        out.push_sql(", ");
        self.replaced.bind(&mut out)?;
        out.push_sql(UPDATE_ORDERS);
        self.updated.bind(&mut out)?;
        out.push_sql(APPEND_EVENTS);
        out.push_sql(INSERT_EVENTS);
        out.push_sql(SELECT_EVENTS);
        self.appended.bind(&mut out)?;
        out.push_sql(NUMBERED);
        out.push_sql(GUARD);
        Ok(())
    }
}

impl QueryId for WriteBatch<'_> {
    /// One text, so one statement to prepare.
    type QueryId = WriteBatch<'static>;
}

impl Query for WriteBatch<'_> {
    type SqlType = Text;
}
