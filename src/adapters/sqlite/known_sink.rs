//! The record of a sink beside its cursor, and moving the cursor back.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{RunQueryDsl as _, SqliteConnection};

use super::error::Failure;
use super::sql::Sql;
use crate::adapters::rows::KnownSinkRow;
use crate::ports::{KnownSink, Position};

/// The SQL types of a [`KnownSinkRow`].
type KnownSinkColumns = (Nullable<BigInt>, Nullable<Text>);

pub(super) fn known_sink(sink: &str) -> Sql<KnownSinkColumns> {
    Sql::new("SELECT partitions, accepted_events FROM outbox_cursors WHERE sink = ").text(sink)
}

pub(super) fn load(
    connection: &mut SqliteConnection,
    query: Sql<KnownSinkColumns>,
    sink: &str,
) -> Result<Option<KnownSink>, Failure> {
    let rows: Vec<KnownSinkRow> = query.load(connection)?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    row.known().map_err(|fault| Failure::row("outbox_cursors", sink, &fault))
}

pub(super) fn record_sink(sink: &str, known: &KnownSink) -> Sql<()> {
    Sql::new("INSERT INTO outbox_cursors (sink, fence, position, partitions, accepted_events) VALUES (")
        .text(sink)
        .sql(", 1, 0, ")
        .limit(known.partitions)
        .sql(", ")
        .text(KnownSinkRow::accepted_text(&known.accepted))
        .sql(
            ") ON CONFLICT (sink) DO UPDATE SET partitions = excluded.partitions, \
             accepted_events = excluded.accepted_events",
        )
}

/// Moves the cursor back under a new fencing token, so the present leader loses its lease.
pub(super) fn republish(sink: &str, after: Position) -> Sql<()> {
    Sql::new("UPDATE outbox_cursors SET fence = fence + 1, position = ")
        .integer(after.0)
        .sql(" WHERE sink = ")
        .text(sink)
        .sql(" AND position > ")
        .integer(after.0)
}
