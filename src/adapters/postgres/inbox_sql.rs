//! The short statements of the inbox.

use std::collections::BTreeSet;

use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

use super::sql::Sql;
use crate::adapters::rows::{PartitionRow, SeenRow};
use crate::domain::OrderId;
use crate::ports::{DayStatistics, Offset, Share, StatisticsFilter, StatisticsPage};

type PartitionColumns = (Integer, Nullable<BigInt>, Nullable<Text>, BigInt, BigInt);
pub(super) type StatisticsColumns =
    (Text, Integer, Text, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt);

/// The database's time, so that all who share a source agree.
pub(super) fn now() -> Sql<BigInt> {
    Sql::new("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
}

pub(super) fn add_partitions(source: &str, partitions: &BTreeSet<u32>) -> Sql<()> {
    Sql::new("INSERT INTO inbox_partitions (source, partition, fence, expires_at) SELECT ")
        .text(source)
        .sql(", number, 0, 0 FROM unnest(")
        .integers(partitions.iter().map(|partition| i64::from(*partition)).collect())
        // ON CONFLICT alone would wait for whoever moves a position.
        .sql(") AS number WHERE NOT EXISTS (SELECT FROM inbox_partitions AS there WHERE there.source = ")
        .text(source)
        .sql(" AND there.partition = number) ORDER BY number ON CONFLICT DO NOTHING")
}

pub(super) fn partitions(source: &str) -> Sql<PartitionColumns> {
    let query = Sql::new(
        "SELECT partition, position, consumer, fence, expires_at FROM inbox_partitions WHERE source = ",
    );
    query.text(source).sql(" ORDER BY partition")
}

/// Who shares out the partitions of a source does so alone. No row of theirs
/// is locked for it: those are locked while batches are applied.
pub(super) fn share_alone(source: &str) -> Sql<Bool> {
    let query = Sql::new("SELECT pg_advisory_xact_lock(7370363, hashtext(");
    query.text(source).sql(")) IS NULL")
}

pub(super) fn join(source: &str, consumer: &str, expires_at: i64) -> Sql<()> {
    Sql::new("INSERT INTO inbox_consumers (source, consumer, expires_at) VALUES (")
        .text(source)
        .sql(", ")
        .text(consumer)
        .sql(", ")
        .integer(expires_at)
        .sql(") ON CONFLICT (source, consumer) DO UPDATE SET expires_at = excluded.expires_at")
}

pub(super) fn forget(source: &str, now: i64) -> Sql<()> {
    let statement = Sql::new("DELETE FROM inbox_consumers WHERE source = ").text(source);
    statement.sql(" AND expires_at <= ").integer(now)
}

pub(super) fn consumers(source: &str) -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_consumers WHERE source = ").text(source)
}

/// Writes a lease, if it is still as it was, and answers the position. One that
/// is taken from another, who still applies a batch, is not waited for.
pub(super) fn lend(source: &str, row: &PartitionRow, fence_before: i64) -> Sql<Nullable<BigInt>> {
    let statement = Sql::new("UPDATE inbox_partitions SET consumer = NULLIF(")
        .text(row.consumer.as_deref().unwrap_or_default())
        .sql(", ''), fence = ")
        .integer(row.fence)
        .sql(", expires_at = ")
        .integer(row.expires_at);
    // An array, because a subquery may be run more than once.
    let statement = statement
        .sql(" WHERE source = ")
        .text(source)
        .sql(" AND partition = ANY (ARRAY(SELECT partition FROM inbox_partitions WHERE source = ")
        .text(source)
        .sql(" AND partition = ")
        .integer(row.partition.into())
        .sql(" AND fence = ")
        .integer(fence_before);
    let lock = if row.fence == fence_before { " FOR UPDATE" } else { " FOR UPDATE SKIP LOCKED" };
    statement.sql(lock).sql(")) RETURNING position")
}

pub(super) fn give_back(source: &str, consumer: &str) -> Sql<()> {
    let statement = Sql::new("UPDATE inbox_partitions SET consumer = NULL WHERE source = ").text(source);
    statement.sql(" AND consumer = ").text(consumer)
}

pub(super) fn part(source: &str, consumer: &str) -> Sql<()> {
    let statement = Sql::new("DELETE FROM inbox_consumers WHERE source = ").text(source);
    statement.sql(" AND consumer = ").text(consumer)
}

/// Locks the partition, if the lease is still good.
pub(super) fn move_position(share: &Share, next: Offset) -> Sql<()> {
    Sql::new("UPDATE inbox_partitions SET position = ")
        .integer(next.0)
        .sql(" WHERE source = ")
        .text(share.source.as_str())
        .sql(" AND partition = ")
        .integer(share.partition.into())
        .sql(" AND fence = ")
        .integer(share.fence)
        .sql(" AND consumer = ")
        .text(share.consumer.as_str())
}

/// Whoever reads the partition meanwhile is fenced.
pub(super) fn rewind(source: &str, row: &PartitionRow, to: Offset) -> Sql<()> {
    let statement = Sql::new("UPDATE inbox_partitions SET fence = fence + 1, consumer = NULL, position = ");
    let statement = statement.integer(to.0).sql(" WHERE source = ").text(source);
    statement.sql(" AND partition = ").integer(row.partition.into())
}

pub(super) fn seen(ids: &BTreeSet<&OrderId>) -> Sql<(Text, BigInt, BigInt)> {
    Sql::new("SELECT order_id, seen, highest FROM inbox_orders WHERE order_id = ANY(")
        .texts(ids.iter().map(ToString::to_string).collect())
        .sql(")")
}

pub(super) fn keep_seen(rows: &[SeenRow]) -> Sql<()> {
    Sql::new("INSERT INTO inbox_orders (order_id, seen, highest) SELECT * FROM unnest(")
        .texts(rows.iter().map(|row| row.order_id.clone()).collect())
        .sql(", ")
        .integers(rows.iter().map(|row| row.seen).collect())
        .sql(", ")
        .integers(rows.iter().map(|row| row.highest).collect())
        .sql(
            ") AS new ON CONFLICT (order_id) DO UPDATE SET seen = excluded.seen, \
             highest = excluded.highest",
        )
}

pub(super) fn add(sums: &DayStatistics) -> Sql<()> {
    let statement = Sql::new(
        "INSERT INTO inbox_statistics AS old (pickup_point_id, day, currency, accepted, issued, returned, \
         handed_to_courier, surcharge_minor, accepted_minor, issued_minor, returned_minor) VALUES (",
    );
    let statement = statement.text(sums.pickup_point_id.as_str()).sql(", ").integer(sums.day.0.into());
    let statement = statement.sql(", ").text(sums.currency.as_str());
    let counts = [sums.accepted, sums.issued, sums.returned, sums.handed_to_courier];
    let amounts = [sums.surcharge_minor, sums.accepted_minor, sums.issued_minor, sums.returned_minor];
    let statement =
        counts.into_iter().chain(amounts).fold(statement, |statement, sum| statement.sql(", ").integer(sum));
    statement.sql(
        ") ON CONFLICT (pickup_point_id, day, currency) DO UPDATE SET \
         accepted = old.accepted + excluded.accepted, issued = old.issued + excluded.issued, \
         returned = old.returned + excluded.returned, \
         handed_to_courier = old.handed_to_courier + excluded.handed_to_courier, \
         surcharge_minor = old.surcharge_minor + excluded.surcharge_minor, \
         accepted_minor = old.accepted_minor + excluded.accepted_minor, \
         issued_minor = old.issued_minor + excluded.issued_minor, \
         returned_minor = old.returned_minor + excluded.returned_minor",
    )
}

pub(super) fn count_gaps() -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_orders WHERE seen < highest")
}

/// The first sequence that is missing follows one that is there, or is 1.
pub(super) fn gaps(limit: usize) -> Sql<(Text, BigInt, BigInt)> {
    Sql::new(
        "SELECT order_id, (SELECT min(before) + 1 FROM (SELECT 0 AS before UNION ALL SELECT sequence \
         FROM inbox_events WHERE order_id = gap.order_id) AS there WHERE NOT EXISTS (SELECT \
         FROM inbox_events AS next WHERE next.order_id = gap.order_id \
         AND next.sequence - 1 = before)), highest FROM inbox_orders AS gap WHERE seen < highest \
         ORDER BY order_id LIMIT ",
    )
    .limit(limit)
}

pub(super) fn statistics(filter: &StatisticsFilter, page: &StatisticsPage) -> Sql<StatisticsColumns> {
    let mut query = Sql::new(
        "SELECT pickup_point_id, day, currency, accepted, issued, returned, handed_to_courier, \
         surcharge_minor, accepted_minor, issued_minor, returned_minor FROM inbox_statistics WHERE TRUE",
    );
    if let Some(point) = &filter.pickup_point_id {
        query = query.sql(" AND pickup_point_id = ").text(point.as_str());
    }
    if let Some(day) = filter.first_day {
        query = query.sql(" AND day >= ").integer(day.0.into());
    }
    if let Some(day) = filter.last_day {
        query = query.sql(" AND day <= ").integer(day.0.into());
    }
    if let Some((point, day, currency)) = &page.after {
        // Days descend, so their negatives ascend with the rest.
        query = query.sql(" AND (pickup_point_id, -day, currency) > (").text(point.as_str()).sql(", -");
        query = query.integer(day.0.into()).sql(", ").text(currency.as_str()).sql(")");
    }
    query.sql(" ORDER BY pickup_point_id, day DESC, currency LIMIT ").limit(page.limit)
}
