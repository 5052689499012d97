//! The feed of events: by position, up to a low-water mark.
//!
//! Positions are given before their transactions commit, so one that is visible
//! may have smaller ones still to come. Every transaction that inserts events
//! holds a shared advisory lock from before its first position to after its
//! commit became visible, and the lock's number is the last position given
//! before. So no event will ever appear at or below the lowest such number, nor,
//! without a lock, at or below the last position given before the locks were
//! looked at. Three statements, in this order, each with its own snapshot.

use diesel::sql_types::{BigInt, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::read;
use super::sql::Sql;
use crate::ports::{LoggedEvent, Position};

/// Up to `limit` events after that position.
pub(super) async fn page(
    connection: &mut AsyncPgConnection,
    after: Position,
    limit: usize,
) -> Result<Vec<LoggedEvent>, Failure> {
    let mark = mark(connection).await?;
    if mark <= after.0 {
        return Ok(Vec::new());
    }
    read::load_events(connection, &read::between(after, Position(mark), limit)).await
}

/// The position of the last event that the feed has. Not the mark: after a
/// crash of the database, positions above the last row are given again.
pub(super) async fn head(connection: &mut AsyncPgConnection) -> Result<Position, Failure> {
    let mark = mark(connection).await?;
    let last = Sql::<BigInt>::new("SELECT position FROM order_events WHERE position <= ")
        .integer(mark)
        .sql(" ORDER BY position DESC LIMIT 1");
    let found: Vec<i64> = last.load(connection).await?;
    match found.as_slice().first() {
        Some(position) => Ok(Position(*position)),
        None => oldest(connection).await,
    }
}

/// Where the oldest partition begins: what was before it was detached.
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

/// No event will ever appear at or below it that is not visible now.
pub(super) async fn mark(connection: &mut AsyncPgConnection) -> Result<i64, Failure> {
    let given: i64 = last_given().get_result(connection).await?;
    let held: Option<i64> = lowest_held().get_result(connection).await?;
    Ok(held.map_or(given, |held| held.min(given)))
}

pub(super) fn last_given() -> Sql<BigInt> {
    Sql::new("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM order_events_position_seq")
}

/// Locks with a number of 64 bits have the objsubid 1, and the upper half in
/// classid; those with two numbers, which everything else here uses, have 2.
pub(super) fn lowest_held() -> Sql<Nullable<BigInt>> {
    Sql::new(
        "SELECT min((classid::bigint << 32) | objid::bigint) - (1::bigint << 62) FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1 AND classid >= (1::bigint << 30)::oid \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
}
