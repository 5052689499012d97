//! The statement that writes a batch on the locking path. Its text does not
//! depend on the size of the batch.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};

use super::columns::{Columns as _, Placeholders, StatementText, columns};
use super::tables::{
    EventDetailsArrays, EventKindArrays, OrderAcceptanceArrays, OrderStatusArrays, RecordContentArrays,
    RecordKeyArrays,
};
use crate::ports::{IdempotencyKey, Writes};

columns! {
    /// The version of a record that was loaded under the key; NULL if there was
    /// none. Records have no version, but each replacement has another instant.
    LoadedRecord in LoadedRecordArrays {
        loaded_at("loaded_created_at"): Nullable<BigInt> = Option<i64>,
    }
}

columns! {
    /// The key of an updated order and the version that was loaded.
    UpdatedOrder<'a> in UpdatedOrderArrays {
        order_id: Text = &'a str,
        loaded_version: BigInt = i64,
    }
}

/// The guarded write of a batch.
///
/// The parts run in the order orders, idempotency records, updates, events:
/// each waits for the row counts of the parts before it. So all batches insert
/// in the order (table, key), and no cycle of lock waits can form. If a part
/// wrote fewer rows than it was given, because another batch committed first,
/// the later parts write nothing, and the last line raises an error, so that
/// the transaction cannot commit.
///
/// An expired idempotency record is replaced only if it is still the record
/// that was loaded. A record that was inserted since the load was loaded as
/// absent: NULL, which equals nothing, so the batch has lost the race.
#[derive(Debug)]
pub(super) struct LockingWrite<'a> {
    inserted: OrderAcceptanceArrays<'a>,
    inserted_status: OrderStatusArrays,
    record_keys: RecordKeyArrays<'a>,
    record_contents: RecordContentArrays,
    loaded_records: LoadedRecordArrays,
    updated: UpdatedOrderArrays<'a>,
    updated_status: OrderStatusArrays,
    events: EventDetailsArrays<'a>,
    event_kinds: EventKindArrays,
}

impl<'a> LockingWrite<'a> {
    /// Returns the statement that writes these. `loaded_at` returns the
    /// creation time of the record that was loaded under a key.
    pub(super) fn new(writes: &'a Writes, loaded_at: impl Fn(&IdempotencyKey) -> Option<i64>) -> Self {
        let Writes { inserted, updated, events, records } = writes;
        let mut statement = Self {
            inserted: OrderAcceptanceArrays::with_capacity(inserted.len()),
            inserted_status: OrderStatusArrays::with_capacity(inserted.len()),
            record_keys: RecordKeyArrays::with_capacity(records.len()),
            record_contents: RecordContentArrays::with_capacity(records.len()),
            loaded_records: LoadedRecordArrays::with_capacity(records.len()),
            updated: UpdatedOrderArrays::with_capacity(updated.len()),
            updated_status: OrderStatusArrays::with_capacity(updated.len()),
            events: EventDetailsArrays::with_capacity(events.len()),
            event_kinds: EventKindArrays::with_capacity(events.len()),
        };
        for order in inserted {
            statement.inserted.push(order.into());
            statement.inserted_status.push(order.into());
        }
        for (key, record) in records {
            statement.record_keys.push(key.into());
            statement.record_contents.push(record.into());
            statement.loaded_records.push(LoadedRecord { loaded_at: loaded_at(key) });
        }
        for (loaded_version, order) in updated {
            let order_id = order.order_id.as_str();
            statement.updated.push(UpdatedOrder { order_id, loaded_version: *loaded_version });
            statement.updated_status.push(order.into());
        }
        for event in events {
            statement.events.push(event.into());
            statement.event_kinds.push(event.into());
        }
        statement
    }

    fn insert_orders<'b>(&'b self, text: &mut StatementText<'_, 'b>) -> QueryResult<Placeholders> {
        let names = |text: &mut StatementText<'_, 'b>| {
            text.names::<OrderAcceptanceArrays<'_>>().sql(", ").names::<OrderStatusArrays>();
        };
        text.sql("WITH new_orders AS (\n    INSERT INTO orders (");
        names(text);
        text.sql(")\n    SELECT * FROM unnest(");
        let orders = text.bind(&self.inserted)?;
        text.sql(", ");
        text.bind(&self.inserted_status)?;
        text.sql(") AS new (");
        names(text);
        text.sql(
            ")\n    ORDER BY new.order_id COLLATE \"C\"\n    ON CONFLICT DO NOTHING\n    RETURNING 1\n), ",
        );
        Ok(orders)
    }

    fn insert_records<'b>(
        &'b self,
        text: &mut StatementText<'_, 'b>,
        orders: Placeholders,
    ) -> QueryResult<Placeholders> {
        let names = |text: &mut StatementText<'_, 'b>| {
            text.names::<RecordKeyArrays<'_>>().sql(", ").names::<RecordContentArrays>();
        };
        text.sql("new_records AS (\n    INSERT INTO idempotency AS kept (");
        names(text);
        text.sql(")\n    SELECT ");
        names(text);
        text.sql(" FROM unnest(");
        let keys = text.bind(&self.record_keys)?;
        text.sql(", ");
        text.bind(&self.record_contents)?;
        text.sql(", ");
        let loaded = text.bind(&self.loaded_records)?;
        text.sql(") AS new (");
        names(text);
        text.sql(", ").names::<LoadedRecordArrays>();
        text.sql(")\n    WHERE (SELECT count(*) FROM new_orders) = ").cardinality(orders);
        text.sql("\n    ORDER BY new.scope COLLATE \"C\", new.request_id COLLATE \"C\"");
        text.sql("\n    ON CONFLICT (").names::<RecordKeyArrays<'_>>();
        text.sql(") DO UPDATE SET ").assignments::<RecordContentArrays>("excluded");
        text.sql("\n    WHERE kept.created_at = (\n        SELECT loaded.loaded_created_at FROM unnest(");
        text.bound(keys).sql(", ").bound(loaded).sql(") AS loaded (").names::<RecordKeyArrays<'_>>();
        text.sql(", ").names::<LoadedRecordArrays>();
        text.sql(
            ")\n        WHERE loaded.scope = kept.scope AND loaded.request_id = kept.request_id)\n    \
             RETURNING 1\n), ",
        );
        Ok(keys)
    }

    fn update_orders<'b>(
        &'b self,
        text: &mut StatementText<'_, 'b>,
        orders: Placeholders,
        records: Placeholders,
    ) -> QueryResult<Placeholders> {
        text.sql("changed_orders AS (\n    UPDATE orders SET ").assignments::<OrderStatusArrays>("change");
        text.sql("\n    FROM unnest(");
        let updated = text.bind(&self.updated)?;
        text.sql(", ");
        text.bind(&self.updated_status)?;
        text.sql(") AS change (").names::<UpdatedOrderArrays<'_>>().sql(", ").names::<OrderStatusArrays>();
        text.sql(
            ")\n    WHERE orders.order_id = change.order_id AND orders.version = change.loaded_version\n        \
             AND (SELECT count(*) FROM new_orders) = ",
        );
        text.cardinality(orders).sql("\n        AND (SELECT count(*) FROM new_records) = ");
        text.cardinality(records).sql("\n    RETURNING 1\n), ");
        Ok(updated)
    }

    fn insert_events<'b>(
        &'b self,
        text: &mut StatementText<'_, 'b>,
        orders: Placeholders,
        records: Placeholders,
        updated: Placeholders,
    ) -> QueryResult<Placeholders> {
        let names = |text: &mut StatementText<'_, 'b>| {
            text.names::<EventDetailsArrays<'_>>().sql(", ").names::<EventKindArrays>();
        };
        text.sql("new_events AS (\n    INSERT INTO order_events (");
        names(text);
        text.sql(")\n    SELECT ");
        names(text);
        text.sql("\n    FROM unnest(");
        let events = text.bind(&self.events)?;
        text.sql(", ");
        text.bind(&self.event_kinds)?;
        text.sql(") WITH ORDINALITY AS new (");
        names(text);
        text.sql(", number)\n    WHERE (SELECT count(*) FROM new_orders) = ").cardinality(orders);
        text.sql("\n        AND (SELECT count(*) FROM new_records) = ").cardinality(records);
        text.sql("\n        AND (SELECT count(*) FROM changed_orders) = ").cardinality(updated);
        text.sql("\n    ORDER BY new.number\n    RETURNING 1\n)\n");
        Ok(events)
    }
}

impl QueryFragment<Pg> for LockingWrite<'_> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = StatementText::new(out);
        let orders = self.insert_orders(&mut text)?;
        let records = self.insert_records(&mut text, orders)?;
        let updated = self.update_orders(&mut text, orders, records)?;
        let events = self.insert_events(&mut text, orders, records, updated)?;
        text.sql("SELECT CASE WHEN (SELECT count(*) FROM new_events) = ").cardinality(events);
        text.sql("\n        AND (SELECT count(*) FROM changed_orders) = ").cardinality(updated);
        text.sql("\n        AND (SELECT count(*) FROM new_records) = ").cardinality(records);
        text.sql("\n        AND (SELECT count(*) FROM new_orders) = ").cardinality(orders);
        text.sql("\n    THEN '' ELSE lost_race() END");
        Ok(())
    }
}

impl QueryId for LockingWrite<'_> {
    /// The text is constant, so the prepared statement is found by the type.
    type QueryId = LockingWrite<'static>;
}

impl Query for LockingWrite<'_> {
    type SqlType = Text;
}
