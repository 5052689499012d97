//! The two statements that write a batch, over arrays: with guards, and for one
//! that only makes orders. Their texts are the same whatever its size.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::adapters::record::{OrderRow, answer_bytes, event_body, type_text};
use crate::domain::{Event, Grams, Order, RequestId, Timestamp, Traceparent};
use crate::ports::{Record, RecordKey, Writes};

/// Arrays, of which each is a column of rows.
pub(super) trait Columns {
    /// Adds the arrays, with commas between.
    fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// Adds them as columns of a select list, which gives a row for each
    /// element.
    fn rows<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

/// Declares a struct of columns, and how they become binds, in their order.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $($column:ident: $sql:ty = $rust:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        struct $name $(<$life>)? {
            $($column: Vec<$rust>,)+
        }

        impl $(<$life>)? $crate::adapters::postgres::statement::Columns for $name $(<$life>)? {
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

            fn rows<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
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
    /// Idempotency records: placeholders 16 to 21.
    Kept<'a> {
        scope: Text = &'a str,
        request_id: Text = &'a str,
        method: Text = &'static str,
        hashes: Binary = Vec<u8>,
        answer: Binary = Vec<u8>,
        created_at: BigInt = i64,
    }
}

columns! {
    /// When the record that was loaded under the same key was made, if there was one: placeholder 22.
    Replaced {
        created_at: Nullable<BigInt> = Option<i64>,
    }
}

columns! {
    /// Changed orders, and what an event may change of one: placeholders 23 to
    /// 29.
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
    /// Events: placeholders 30 to 39 of the guarded write.
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
    fresh: Fresh<'a>,
    replaced: Replaced,
    updated: Updated<'a>,
}

/// The rows that a batch makes.
#[derive(Debug)]
struct Fresh<'a> {
    inserted: Inserted<'a>,
    kept: Kept<'a>,
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
    INSERT INTO idempotency AS kept (scope, request_id, method, hashes, answer, created_at)
    SELECT scope, request_id, method, hashes, answer, created_at FROM unnest(";

const UPDATE_ORDERS: &str = ") AS new (scope, request_id, method, hashes, answer, created_at, replaced)
    WHERE (SELECT count(*) FROM new_orders) = cardinality($1)
    ORDER BY new.scope COLLATE \"C\", new.request_id COLLATE \"C\"
    ON CONFLICT (scope, request_id) DO UPDATE SET method = excluded.method, hashes = excluded.hashes,
        answer = excluded.answer, created_at = excluded.created_at
    WHERE kept.created_at = (
        SELECT loaded.created_at FROM unnest($16, $17, $22) AS loaded (scope, request_id, created_at)
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
        AND (SELECT count(*) FROM changed_orders) = cardinality($23)
    ORDER BY new.number
    RETURNING 1
)
SELECT CASE WHEN (SELECT count(*) FROM new_events) = cardinality($30)
        AND (SELECT count(*) FROM changed_orders) = cardinality($23)
        AND (SELECT count(*) FROM new_records) = cardinality($16)
        AND (SELECT count(*) FROM new_orders) = cardinality($1)
    THEN '' ELSE lost_race() END";

impl<'a> WriteBatch<'a> {
    /// The write of these. `replaced` tells of a record's key when the one that
    /// was loaded under it was made.
    pub(super) fn new(writes: &'a Writes, replaced: impl Fn(&RecordKey) -> Option<i64>) -> Self {
        let created_at = writes.records.iter().map(|(key, _)| replaced(key)).collect();
        let mut updated = Updated::default();
        for (loaded, order) in &writes.updated {
            updated.push(*loaded, order);
        }
        Self { fresh: Fresh::of(writes), replaced: Replaced { created_at }, updated }
    }
}

impl<'a> Fresh<'a> {
    fn of(writes: &'a Writes) -> Self {
        let mut fresh =
            Self { inserted: Inserted::default(), kept: Kept::default(), appended: Appended::default() };
        for order in &writes.inserted {
            fresh.inserted.push(order);
        }
        for (key, record) in &writes.records {
            fresh.kept.push(key, record);
        }
        for event in &writes.events {
            fresh.appended.push(event);
        }
        fresh
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
    fn push(&mut self, key: &'a RecordKey, record: &Record) {
        self.scope.push(&key.scope);
        self.request_id.push(key.request_id.as_str());
        self.method.push(record.method.name());
        self.hashes.push(record.hashes.concat());
        self.answer.push(answer_bytes(&record.answer));
        self.created_at.push(record.created_at.micros());
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
        self.actor_id.push(&event.actor.id);
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
        self.fresh.inserted.bind(&mut out)?;
        out.push_sql(KEEP_RECORDS);
        self.fresh.kept.bind(&mut out)?;
        out.push_sql(", ");
        self.replaced.bind(&mut out)?;
        out.push_sql(UPDATE_ORDERS);
        self.updated.bind(&mut out)?;
        out.push_sql(APPEND_EVENTS);
        out.push_sql(INSERT_EVENTS);
        out.push_sql(SELECT_EVENTS);
        self.fresh.appended.bind(&mut out)?;
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

/// The write of a batch that only makes orders, if none of them and no record
/// is there.
///
/// The keys of the tables are its guard: a row that is there is a unique
/// violation, which undoes all of it. The parts run in the order of the guarded
/// write, each by the count of the one before, so it waits as that one does.
/// It leaves out what the guarded write pays for and this one never needs: the
/// look for a conflict before each row and its second record in the log, and
/// the update, which PostgreSQL sets up even when there is nothing to update.
///
/// Nor does it sort: [`Writes`] are in the order of their keys, and a select
/// list gives its rows in the order of its arrays, one after the other, where
/// FROM puts each array into a table of its own first. Both together were an
/// eighth of the statement. If rows ever came in another order, two batches might
/// wait for each other, which PostgreSQL notices, and one of them is run again;
/// the log would not tell, because there is one event an order.
#[derive(Debug)]
pub(super) struct InsertBatch<'a>(Fresh<'a>);

const ADD_RECORDS: &str = "
    RETURNING 1
), new_records AS (
    INSERT INTO idempotency (scope, request_id, method, hashes, answer, created_at)
    SELECT * FROM (SELECT ";

const ADD_EVENTS: &str = ") AS new
    WHERE (SELECT count(*) FROM new_orders) = cardinality($1)
    RETURNING 1
)
";

const AFTER_RECORDS: &str = ") AS new
WHERE (SELECT count(*) FROM new_records) = cardinality($16)";

impl<'a> InsertBatch<'a> {
    /// The write of these, of which nothing changes an order.
    pub(super) fn new(writes: &'a Writes) -> Self {
        Self(Fresh::of(writes))
    }
}

impl QueryFragment<Pg> for InsertBatch<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(INSERT_ORDERS);
        self.0.inserted.rows(&mut out)?;
        out.push_sql(ADD_RECORDS);
        self.0.kept.rows(&mut out)?;
        out.push_sql(ADD_EVENTS);
        out.push_sql(INSERT_EVENTS);
        out.push_sql("SELECT * FROM (SELECT ");
        self.0.appended.rows(&mut out)?;
        out.push_sql(AFTER_RECORDS);
        Ok(())
    }
}

impl QueryId for InsertBatch<'_> {
    /// One text, so one statement to prepare.
    type QueryId = InsertBatch<'static>;
}
