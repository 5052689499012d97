//! Periodic maintenance in bounded steps. An advisory lock lets one replica at a
//! time do each step; the others skip it.

use diesel::sql_types::{BigInt, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::feed;
use super::sql::Sql;
use crate::domain::Timestamp;

/// The first number of the advisory locks of this program, "pvz" in ASCII. They
/// have two numbers: locks with one number belong to the low-water mark of the
/// feed. The second number is used for one purpose only:
/// - 1: applying migrations;
/// - 2: deleting expired idempotency records;
/// - 3: creating partitions;
/// - 4: leading the relays;
/// - 5: dropping an empty partition, taken by `order_events_drop_empty`.
///
/// The assignment of partitions (`inbox_sql`) and the check of sessions (`session_check`)
/// have the next two classes.
pub(super) const LOCK_CLASS: i32 = 0x70_76_7a;

/// Partitions of the log that exist ahead of the last position, of ten million
/// events each.
const PARTITIONS_AHEAD: i64 = 2;

/// Deletes idempotency records, oldest first. Records that a batch has locked to
/// replace them are skipped; a later run deletes what is left.
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

/// Runs the deletion and returns the number of deleted records.
pub(super) async fn expire(
    connection: &mut AsyncPgConnection,
    statement: &Sql<()>,
) -> Result<usize, Failure> {
    Ok(statement.execute(connection).await?)
}

/// Creates partitions for future events and drops a partition that will stay
/// empty.
pub(super) async fn partitions(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    create_partitions(connection).await?;
    drop_empty_partition(connection).await
}

/// Creates the partitions of future positions, unless another replica is doing
/// it.
async fn create_partitions(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    let query = Sql::<Nullable<BigInt>>::new(
        "SELECT CASE WHEN pg_try_advisory_xact_lock(7370362, 3) THEN order_events_make_room(",
    )
    .integer(PARTITIONS_AHEAD)
    .sql(") END");
    let created: Option<i64> = query.get_result(connection).await?;
    if let Some(partitions) = created.filter(|created| *created > 0) {
        tracing::info!(partitions, "maintenance created partitions for future events");
    }
    Ok(())
}

/// Drops a partition that is empty and will stay empty, unless another replica
/// is doing it or the log is in use.
async fn drop_empty_partition(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    let mark = feed::low_water_mark(connection).await?;
    let query = Sql::<BigInt>::new("SELECT order_events_drop_empty(").integer(mark).sql(")");
    let dropped: i64 = query.get_result(connection).await?;
    if dropped > 0 {
        tracing::info!("maintenance dropped an empty partition of the event log");
    }
    Ok(())
}
