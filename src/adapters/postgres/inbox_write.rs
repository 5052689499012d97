//! The statements of the inbox that insert arrays of rows. Their text does not
//! depend on the size of the batch, so each is prepared once per connection.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::columns::{Columns as _, columns};
use super::error::Failure;
use crate::adapters::rows::{EventRow, UnknownEventRow, event_json};
use crate::domain::{Event, EventId};
use crate::ports::{Assignment, UndecodedRecord};

columns! {
    /// Received events.
    InboxEvents {
        event_id: SqlUuid = Uuid,
        order_id: Text = String,
        sequence: BigInt = i64,
        event_type: Text = String,
        actor_kind: Text = String,
        actor_id: Text = String,
        request_id: Nullable<Text> = Option<String>,
        occurred_at: BigInt = i64,
        body: Binary = Vec<u8>,
        traceparent: Nullable<Text> = Option<String>,
    }
}

/// Inserts the events that are not in the inbox yet, and returns their order ids
/// and sequences.
#[derive(Debug)]
pub(super) struct InsertEvents(InboxEvents);

impl InsertEvents {
    pub(super) fn new(events: &[Event]) -> Self {
        let mut columns = InboxEvents::with_capacity(events.len());
        for event in events {
            let row = EventRow::from(event);
            columns.event_id.push(Uuid::from_u128(event.event_id.0));
            columns.order_id.push(row.order_id);
            columns.sequence.push(row.sequence);
            columns.event_type.push(row.event_type);
            columns.actor_kind.push(row.actor_kind);
            columns.actor_id.push(row.actor_id);
            columns.request_id.push(row.request_id);
            columns.occurred_at.push(row.occurred_at);
            columns.body.push(row.body);
            columns.traceparent.push(row.traceparent);
        }
        Self(columns)
    }
}

impl QueryFragment<Pg> for InsertEvents {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO inbox_events (event_id, order_id, sequence, type, actor_kind, actor_id, request_id, \
             occurred_at, body, traceparent) SELECT event_id, order_id, sequence, type, actor_kind, actor_id, \
             request_id, occurred_at, body, traceparent FROM unnest(",
        );
        self.0.bind(&mut out)?;
        // Rows are locked in the same order in every batch. This prevents deadlocks if a
        // repartitioned topic has events of an order in two partitions. If a batch has two events
        // with the same order and sequence, the first one is inserted.
        out.push_sql(
            ") WITH ORDINALITY AS new (event_id, order_id, sequence, type, actor_kind, actor_id, request_id, \
             occurred_at, body, traceparent, number) ORDER BY new.order_id COLLATE \"C\", new.sequence, \
             new.number ON CONFLICT DO NOTHING RETURNING order_id, sequence",
        );
        Ok(())
    }
}

impl QueryId for InsertEvents {
    type QueryId = Self;
}

impl Query for InsertEvents {
    type SqlType = (Text, BigInt);
}

columns! {
    /// Events that were put aside because of a conflict.
    Conflicts {
        order_id: Text = String,
        sequence: BigInt = i64,
        event_id: SqlUuid = Uuid,
        applied_event_id: SqlUuid = Uuid,
        source: Text = String,
        partition: BigInt = i64,
        event: Text = String,
    }
}

/// Inserts events that were put aside because of a conflict.
#[derive(Debug)]
pub(super) struct InsertConflicts(Conflicts);

impl InsertConflicts {
    /// Returns the insert of events of an assigned partition, each with the id of the
    /// event that was applied.
    pub(super) fn new(assignment: &Assignment, events: &[(&Event, EventId)]) -> Result<Self, Failure> {
        let mut conflicts = Conflicts::with_capacity(events.len());
        for (event, applied) in events {
            let order_id = String::from(&event.order.order_id);
            let json =
                event_json(event).map_err(|fault| Failure::row("inbox_conflicts", &order_id, &fault))?;
            conflicts.order_id.push(order_id);
            conflicts.sequence.push(event.sequence);
            conflicts.event_id.push(Uuid::from_u128(event.event_id.0));
            conflicts.applied_event_id.push(Uuid::from_u128(applied.0));
            conflicts.source.push(assignment.source.clone());
            conflicts.partition.push(assignment.partition.into());
            conflicts.event.push(json);
        }
        Ok(Self(conflicts))
    }
}

impl QueryFragment<Pg> for InsertConflicts {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO inbox_conflicts (order_id, sequence, event_id, applied_event_id, source, partition, \
             event) SELECT * FROM unnest(",
        );
        self.0.bind(&mut out)?;
        out.push_sql(
            ") AS new (order_id, sequence, event_id) ORDER BY new.order_id COLLATE \"C\", new.sequence, \
             new.event_id ON CONFLICT DO NOTHING",
        );
        Ok(())
    }
}

impl QueryId for InsertConflicts {
    type QueryId = Self;
}

columns! {
    /// Events that only a later release can read.
    Unknown {
        source: Text = String,
        partition: BigInt = i64,
        offset: BigInt = i64,
        cause: Text = String,
        key: Nullable<Binary> = Option<Vec<u8>>,
        value: Nullable<Binary> = Option<Vec<u8>>,
        headers: Text = String,
    }
}

/// Inserts events that only a later release can read.
#[derive(Debug)]
pub(super) struct InsertUnknown(Unknown);

impl InsertUnknown {
    pub(super) fn new(assignment: &Assignment, records: &[UndecodedRecord]) -> Self {
        let mut unknown = Unknown::with_capacity(records.len());
        for record in records {
            unknown.source.push(assignment.source.clone());
            unknown.partition.push(assignment.partition.into());
            let row = UnknownEventRow::from(record);
            unknown.offset.push(row.offset);
            unknown.cause.push(row.cause);
            unknown.key.push(row.key);
            unknown.value.push(row.value);
            unknown.headers.push(row.headers);
        }
        Self(unknown)
    }
}

impl QueryFragment<Pg> for InsertUnknown {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO inbox_unknown (source, partition, \"offset\", cause, key, value, headers) \
             SELECT * FROM unnest(",
        );
        self.0.bind(&mut out)?;
        out.push_sql(") ON CONFLICT (source, partition, \"offset\") DO NOTHING");
        Ok(())
    }
}

impl QueryId for InsertUnknown {
    type QueryId = Self;
}
