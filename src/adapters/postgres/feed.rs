//! The feed of events: by position, up to a low-water mark.
//!
//! Positions are assigned before their transactions commit, so a smaller
//! position may become visible after a larger one. Every transaction that
//! inserts events therefore holds a shared advisory lock, from before its first
//! position is assigned until after its commit is visible. The number of the
//! lock is the last position that was assigned before. So no event will ever
//! appear at or below the lowest such number. If there is no lock, no event will
//! appear at or below the last position that was assigned before the locks were
//! read. These are three statements in this order, each with its own snapshot.

use diesel::sql_types::{BigInt, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::read;
use super::sql::Sql;
use crate::ports::{LoggedEvent, Position};

/// Reads up to `limit` events after a position.
pub(super) async fn page(
    connection: &mut AsyncPgConnection,
    after: Position,
    limit: usize,
) -> Result<Vec<LoggedEvent>, Failure> {
    let mark = low_water_mark(connection).await?;
    if mark <= after.0 {
        return Ok(Vec::new());
    }
    read::load_events(connection, &read::between(after, Position(mark), limit)).await
}

/// Reads the position of the last event of the feed. That is not the mark: after
/// a crash of the database, positions above the last row are assigned again.
pub(super) async fn head(connection: &mut AsyncPgConnection) -> Result<Position, Failure> {
    let mark = low_water_mark(connection).await?;
    let last = Sql::<BigInt>::new("SELECT position FROM order_events WHERE position <= ")
        .integer(mark)
        .sql(" ORDER BY position DESC LIMIT 1");
    let found: Vec<i64> = last.load(connection).await?;
    match found.as_slice().first() {
        Some(position) => Ok(Position(*position)),
        None => oldest(connection).await,
    }
}

/// Reads the position before the oldest partition. Partitions before it were
/// detached.
pub(super) async fn oldest(connection: &mut AsyncPgConnection) -> Result<Position, Failure> {
    let begin = Sql::<Nullable<BigInt>>::new(
        "SELECT min((regexp_match(pg_get_expr(part.relpartbound, part.oid), \
         'FROM \\(''(\\d+)''\\)'))[1]::bigint) - 1 \
         FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid \
         WHERE inhparent = 'order_events'::regclass",
    );
    let begin: Option<i64> = begin.get_result(connection).await?;
    Ok(Position(begin.unwrap_or_default()))
}

/// Reads the low-water mark: every event at or below it that will ever exist is
/// visible now.
pub(super) async fn low_water_mark(connection: &mut AsyncPgConnection) -> Result<i64, Failure> {
    let assigned: i64 = last_assigned_position().get_result(connection).await?;
    let locked: Option<i64> = lowest_lock().get_result(connection).await?;
    Ok(locked.map_or(assigned, |locked| locked.min(assigned)))
}

fn last_assigned_position() -> Sql<BigInt> {
    Sql::new("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM order_events_position_seq")
}

/// Reads the lowest number of the locks of the writers. Advisory locks with one
/// 64-bit number have objsubid 1 and the upper half of the number in classid.
/// Locks with two numbers, as all others here, have objsubid 2.
fn lowest_lock() -> Sql<Nullable<BigInt>> {
    Sql::new(
        "SELECT min((classid::bigint << 32) | objid::bigint) - (1::bigint << 62) FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1 AND classid >= (1::bigint << 30)::oid \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
}
