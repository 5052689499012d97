//! What must be done now and then: by one replica at a time, in bounded steps.

use diesel::sql_types::{BigInt, Bool, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::feed;
use super::sql::Sql;
use crate::domain::Timestamp;

/// The first number of our advisory locks, "pvz" in ASCII. They have two
/// numbers: those with one belong to the low-water mark of the feed.
pub(super) const LOCK_CLASS: i32 = 0x70_76_7a;

/// Partitions of the log kept ahead of the last position: twenty million
/// events.
const AHEAD: i64 = 2;

/// Removes idempotency records, the oldest first. None that a batch is about to
/// replace is waited for: there is always a next time.
pub(super) fn expire_idempotency_records(before: Timestamp, limit: usize) -> Sql<()> {
    Sql::new(
        "DELETE FROM idempotency WHERE ctid = ANY (ARRAY(\
         SELECT ctid FROM idempotency WHERE (SELECT pg_try_advisory_xact_lock(7370362, 2)) AND created_at < ",
    )
    .integer(before.micros())
    .sql(" ORDER BY created_at LIMIT ")
    .limit(limit)
    .sql(" FOR UPDATE SKIP LOCKED))")
}

/// Says how many were removed.
pub(super) async fn expire(
    connection: &mut AsyncPgConnection,
    statement: &Sql<()>,
) -> Result<usize, Failure> {
    Ok(statement.execute(connection).await?)
}

/// Makes room for events to come, and drops what room is not needed.
pub(super) async fn partitions(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    make_room(connection).await?;
    drop_empty(connection).await
}

/// Makes the partitions for positions to come. Nothing is done, and no replica
/// waits, while another one is at it.
async fn make_room(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    let query = Sql::<Nullable<BigInt>>::new(
        "SELECT CASE WHEN pg_try_advisory_xact_lock(7370362, 3) THEN order_events_make_room(",
    )
    .integer(AHEAD)
    .sql(") END");
    let made: Option<i64> = query.get_result(connection).await?;
    if let Some(partitions) = made.filter(|made| *made > 0) {
        tracing::info!(partitions, "made room for events to come");
    }
    Ok(())
}

/// Drops a partition that is empty and will stay so. Nothing is done, and no
/// replica waits, while another one is at it, or somebody uses the log.
async fn drop_empty(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    let mark = feed::mark(connection).await?;
    let query = Sql::<Nullable<BigInt>>::new(
        "SELECT CASE WHEN pg_try_advisory_xact_lock(7370362, 4) THEN order_events_drop_empty(",
    )
    .integer(mark)
    .sql(") END");
    let dropped: Option<i64> = query.get_result(connection).await?;
    if dropped.is_some_and(|dropped| dropped > 0) {
        tracing::info!("an empty partition of the log was dropped");
    }
    Ok(())
}

/// Whether the database answers and takes writes.
pub(super) async fn ping(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    let query = Sql::<Bool>::new("SELECT current_setting('transaction_read_only')::boolean");
    let read_only: bool = query.get_result(connection).await?;
    if read_only {
        let cause = diesel::result::Error::QueryBuilderError("the database is read-only".into());
        return Err(Failure::Driver(cause));
    }
    Ok(())
}
