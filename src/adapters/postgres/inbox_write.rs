//! The statements of the inbox that take arrays of rows: their texts are the
//! same whatever the size of a batch.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::statement::{Columns as _, columns};
use crate::adapters::rows::{EventRow, inbox};
use crate::domain::Event;
use crate::ports::{Share, Undecodable};

columns! {
    /// Events that were read.
    Kept {
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

/// Keeps the events that are not there yet, and answers which.
#[derive(Debug)]
pub(super) struct KeepEvents(Kept);

impl KeepEvents {
    /// Those of the events that are marked.
    pub(super) fn new(events: &[Event], marked: &[bool]) -> Self {
        let mut kept = Kept::with_capacity(events.len());
        for (event, _) in events.iter().zip(marked).filter(|(_, marked)| **marked) {
            let row = EventRow::from(event);
            kept.event_id.push(Uuid::from_u128(event.event_id.0));
            kept.order_id.push(row.order_id);
            kept.sequence.push(row.sequence);
            kept.event_type.push(row.event_type);
            kept.actor_kind.push(row.actor_kind);
            kept.actor_id.push(row.actor_id);
            kept.request_id.push(row.request_id);
            kept.occurred_at.push(row.occurred_at);
            kept.body.push(row.body);
            kept.traceparent.push(row.traceparent);
        }
        Self(kept)
    }
}

impl QueryFragment<Pg> for KeepEvents {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO inbox_events (event_id, order_id, sequence, type, actor_kind, actor_id, request_id, \
             occurred_at, body, traceparent) SELECT * FROM unnest(",
        );
        self.0.bind(&mut out)?;
        // In one order, for an order whose events stand in two partitions.
        out.push_sql(
            ") AS new (event_id, order_id, sequence) ORDER BY new.order_id COLLATE \"C\", new.sequence \
             ON CONFLICT DO NOTHING RETURNING order_id, sequence",
        );
        Ok(())
    }
}

impl QueryId for KeepEvents {
    type QueryId = Self;
}

impl Query for KeepEvents {
    type SqlType = (Text, BigInt);
}

columns! {
    /// Records that a later release may know how to read.
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

/// Keeps records that are no events as far as this release knows.
#[derive(Debug)]
pub(super) struct KeepUnknown(Unknown);

impl KeepUnknown {
    pub(super) fn new(share: &Share, records: &[Undecodable]) -> Self {
        let mut unknown = Unknown::with_capacity(records.len());
        for record in records {
            unknown.source.push(share.source.clone());
            unknown.partition.push(share.partition.into());
            unknown.offset.push(record.offset.0);
            unknown.cause.push(record.cause.clone());
            unknown.key.push(record.key.clone());
            unknown.value.push(record.value.clone());
            unknown.headers.push(inbox::headers_text(&record.headers));
        }
        Self(unknown)
    }
}

impl QueryFragment<Pg> for KeepUnknown {
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

impl QueryId for KeepUnknown {
    type QueryId = Self;
}
