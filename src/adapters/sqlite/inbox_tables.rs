//! The rows of the inbox that are inserted in bulk.

use diesel::QueryResult;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::error::Failure;
use super::sql::{Insert, values};
use crate::adapters::rows::{EventRow, OrderProgressRow, TableRow as _, UnknownEventRow, event_json};
use crate::domain::{Event, EventId};
use crate::ports::{Assignment, UndecodedRecord};

/// A received event.
pub(super) struct InboxEventRow(pub(super) EventRow);

impl Insert for InboxEventRow {
    const HEAD: &'static [&'static str] = &["INSERT OR FAIL INTO inbox_events (", EventRow::COLUMNS, ")"];

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.0.values(out)
    }
}

/// An event that was put aside because of a conflict.
pub(super) struct ConflictRow {
    order_id: String,
    sequence: i64,
    event_id: Vec<u8>,
    applied_event_id: Vec<u8>,
    source: String,
    partition: i64,
    event: String,
}

impl ConflictRow {
    /// Returns the row of an event of an assigned partition.
    pub(super) fn new(assignment: &Assignment, event: &Event, applied: EventId) -> Result<Self, Failure> {
        let order_id = String::from(&event.order.order_id);
        let json = event_json(event).map_err(|fault| Failure::row("inbox_conflicts", &order_id, &fault))?;
        Ok(Self {
            order_id,
            sequence: event.sequence,
            event_id: event.event_id.0.to_be_bytes().to_vec(),
            applied_event_id: applied.0.to_be_bytes().to_vec(),
            source: assignment.source.clone(),
            partition: assignment.partition.into(),
            event: json,
        })
    }
}

impl Insert for ConflictRow {
    const HEAD: &'static [&'static str] = &["INSERT OR IGNORE INTO inbox_conflicts (order_id, sequence, \
        event_id, applied_event_id, source, partition, event)"];

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        values!(
            out, self,
            order_id: Text,
            sequence: BigInt,
            event_id: Binary,
            applied_event_id: Binary,
            source: Text,
            partition: BigInt,
            event: Text,
        );
        Ok(())
    }
}

impl Insert for OrderProgressRow {
    const HEAD: &'static [&'static str] = &["INSERT OR REPLACE INTO inbox_orders (order_id, seen, highest)"];

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        values!(out, self, order_id: Text, seen: BigInt, highest: BigInt);
        Ok(())
    }
}

/// An event that only a later release can read.
pub(super) struct UnknownRow {
    source: String,
    partition: i64,
    offset: i64,
    cause: String,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: String,
}

impl UnknownRow {
    pub(super) fn new(assignment: &Assignment, record: &UndecodedRecord) -> Self {
        let (source, partition) = (assignment.source.clone(), assignment.partition.into());
        let UnknownEventRow { offset, cause, key, value, headers } = record.into();
        Self { source, partition, offset, cause, key, value, headers }
    }
}

impl Insert for UnknownRow {
    const HEAD: &'static [&'static str] =
        &["INSERT OR REPLACE INTO inbox_unknown (source, partition, \"offset\", cause, key, value, headers)"];

    fn values<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        values!(
            out, self,
            source: Text,
            partition: BigInt,
            offset: BigInt,
            cause: Text,
            key: Nullable<Binary>,
            value: Nullable<Binary>,
            headers: Text,
        );
        Ok(())
    }
}
