//! The statements of the inbox whose parameters are single values or short
//! arrays.

use std::collections::BTreeSet;

use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text, Uuid};

use super::sql::Sql;
use crate::domain::{DayStatistics, OrderId, OrderProgress, PartitionLease};
use crate::ports::{Assignment, InboxBatch, LastEvent, Offset, StatisticsFilter, StatisticsPage};

type PartitionColumns =
    (Integer, Nullable<BigInt>, Nullable<Text>, BigInt, BigInt, Nullable<BigInt>, Nullable<Binary>);
type UnknownColumns = (BigInt, Text, Nullable<Binary>, Nullable<Binary>, Text);
pub(super) type StatisticsColumns =
    (Text, Integer, Text, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt);

/// Returns the clock of the database, which all consumers of an inbox share.
pub(super) fn now() -> Sql<BigInt> {
    Sql::new("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
}

pub(super) fn add_partitions(source: &str, partitions: &BTreeSet<u32>) -> Sql<()> {
    Sql::new("INSERT INTO inbox_partitions (source, partition, fence, expires_at) SELECT ")
        .text(source)
        .sql(", number, 0, 0 FROM unnest(")
        .integers(partitions.iter().map(|partition| i64::from(*partition)).collect())
        // ON CONFLICT alone would wait for a transaction that moves a position.
        .sql(") AS number WHERE NOT EXISTS (SELECT FROM inbox_partitions AS there WHERE there.source = ")
        .text(source)
        .sql(" AND there.partition = number) ORDER BY number ON CONFLICT DO NOTHING")
}

pub(super) fn partitions(source: &str) -> Sql<PartitionColumns> {
    let query = Sql::new(
        "SELECT partition, position, consumer, fence, expires_at, last_event_offset, uuid_send(last_event_id) \
         FROM inbox_partitions WHERE source = ",
    );
    query.text(source).sql(" ORDER BY partition")
}

/// Serializes the assignment of a source's partitions. The rows of the
/// partitions are not locked for this: they are locked while batches are applied.
pub(super) fn lock_assignment(source: &str) -> Sql<Bool> {
    let query = Sql::new("SELECT pg_advisory_xact_lock(7370363, hashtext(");
    query.text(source).sql(")) IS NULL")
}

pub(super) fn register(source: &str, consumer: &str, expires_at: i64) -> Sql<()> {
    Sql::new("INSERT INTO inbox_consumers (source, consumer, expires_at) VALUES (")
        .text(source)
        .sql(", ")
        .text(consumer)
        .sql(", ")
        .integer(expires_at)
        .sql(") ON CONFLICT (source, consumer) DO UPDATE SET expires_at = excluded.expires_at")
}

pub(super) fn delete_expired_consumers(source: &str, now: i64) -> Sql<()> {
    let statement = Sql::new("DELETE FROM inbox_consumers WHERE source = ").text(source);
    statement.sql(" AND expires_at <= ").integer(now)
}

pub(super) fn count_consumers(source: &str) -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_consumers WHERE source = ").text(source)
}

/// Writes a lease unless its fencing token has changed, and returns the row. A lease
/// that is taken from a consumer that is applying a batch is skipped, not waited
/// for.
pub(super) fn write_lease(source: &str, lease: &PartitionLease, token_before: i64) -> Sql<PartitionColumns> {
    let statement = Sql::new("UPDATE inbox_partitions SET consumer = NULLIF(")
        .text(lease.consumer.as_deref().unwrap_or_default())
        .sql(", ''), fence = ")
        .integer(lease.fencing_token)
        .sql(", expires_at = ")
        .integer(lease.expires_at);
    // An array, because a subquery may be evaluated more than once.
    let statement = statement
        .sql(" WHERE source = ")
        .text(source)
        .sql(" AND partition = ANY (ARRAY(SELECT partition FROM inbox_partitions WHERE source = ")
        .text(source)
        .sql(" AND partition = ")
        .integer(lease.partition.into())
        .sql(" AND fence = ")
        .integer(token_before);
    let lock = if lease.fencing_token == token_before { " FOR UPDATE" } else { " FOR UPDATE SKIP LOCKED" };
    statement.sql(lock).sql(
        ")) RETURNING partition, position, consumer, fence, expires_at, last_event_offset, \
         uuid_send(last_event_id)",
    )
}

pub(super) fn release(source: &str, consumer: &str) -> Sql<()> {
    let statement = Sql::new("UPDATE inbox_partitions SET consumer = NULL WHERE source = ").text(source);
    statement.sql(" AND consumer = ").text(consumer)
}

pub(super) fn unregister(source: &str, consumer: &str) -> Sql<()> {
    let statement = Sql::new("DELETE FROM inbox_consumers WHERE source = ").text(source);
    statement.sql(" AND consumer = ").text(consumer)
}

/// Locks the row of the partition, and sets the position and the last event if the batch has them.
/// Changes no row if the lease was lost.
pub(super) fn move_position(assignment: &Assignment, batch: &InboxBatch) -> Sql<()> {
    let statement = match batch.next {
        Some(next) => Sql::new("UPDATE inbox_partitions SET position = ").integer(next.0),
        None => Sql::new("UPDATE inbox_partitions SET position = position"),
    };
    let statement = match batch.last_event {
        Some(LastEvent { offset, event_id }) => statement
            .sql(", last_event_offset = ")
            .integer(offset.0)
            .sql(", last_event_id = (")
            .text(event_id.to_string())
            .sql(")::uuid"),
        None => statement,
    };
    statement
        .sql(" WHERE source = ")
        .text(assignment.source.as_str())
        .sql(" AND partition = ")
        .integer(assignment.partition.into())
        .sql(" AND fence = ")
        .integer(assignment.fencing_token)
        .sql(" AND consumer = ")
        .text(assignment.consumer.as_str())
}

/// Moves the position, forgets the last event and revokes the lease: writes of the
/// consumer that holds it have no effect.
pub(super) fn rewind(source: &str, partition: u32, to: Offset) -> Sql<()> {
    let statement = Sql::new(
        "UPDATE inbox_partitions SET fence = fence + 1, consumer = NULL, last_event_offset = NULL, \
         last_event_id = NULL, position = ",
    );
    let statement = statement.integer(to.0).sql(" WHERE source = ").text(source);
    statement.sql(" AND partition = ").integer(partition.into())
}

/// Returns the ids of the events that the inbox already has, by order and sequence.
pub(super) fn received_events<'a>(
    events: impl Iterator<Item = (&'a OrderId, i64)>,
) -> Sql<(Text, BigInt, Uuid)> {
    let (orders, sequences) = events.map(|(order_id, sequence)| (order_id.to_string(), sequence)).unzip();
    Sql::new(
        "SELECT order_id, sequence, event_id FROM inbox_events WHERE (order_id, sequence) IN \
         (SELECT * FROM unnest(",
    )
    .texts(orders)
    .sql(", ")
    .integers(sequences)
    .sql("))")
}

pub(super) fn order_progress(ids: &BTreeSet<&OrderId>) -> Sql<(Text, BigInt, BigInt)> {
    Sql::new("SELECT order_id, seen, highest FROM inbox_orders WHERE order_id = ANY(")
        .texts(ids.iter().map(ToString::to_string).collect())
        .sql(")")
}

pub(super) fn write_order_progress(orders: &[OrderProgress]) -> Sql<()> {
    Sql::new("INSERT INTO inbox_orders (order_id, seen, highest) SELECT * FROM unnest(")
        .texts(orders.iter().map(|order| order.order_id.to_string()).collect())
        .sql(", ")
        .integers(orders.iter().map(|order| order.received).collect())
        .sql(", ")
        .integers(orders.iter().map(|order| order.highest).collect())
        .sql(
            ") AS new ON CONFLICT (order_id) DO UPDATE SET seen = excluded.seen, \
             highest = excluded.highest",
        )
}

pub(super) fn add_statistics(statistics: &DayStatistics) -> Sql<()> {
    let statement = Sql::new(
        "INSERT INTO inbox_statistics AS old (pickup_point_id, day, currency, accepted, issued, returned, \
         handed_to_courier, surcharge_minor, accepted_minor, issued_minor, returned_minor) VALUES (",
    );
    let statement =
        statement.text(statistics.pickup_point_id.as_str()).sql(", ").integer(statistics.day.0.into());
    let statement = statement.sql(", ").text(statistics.currency.as_str());
    let counts = [statistics.accepted, statistics.issued, statistics.returned, statistics.handed_to_courier];
    let amounts = [
        statistics.surcharge_minor,
        statistics.accepted_minor,
        statistics.issued_minor,
        statistics.returned_minor,
    ];
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

pub(super) fn delete_unknown(assignment: &Assignment, offsets: &[Offset]) -> Sql<()> {
    Sql::new("DELETE FROM inbox_unknown WHERE source = ")
        .text(assignment.source.as_str())
        .sql(" AND partition = ")
        .integer(assignment.partition.into())
        .sql(" AND \"offset\" = ANY(")
        .integers(offsets.iter().map(|offset| offset.0).collect())
        .sql(")")
}

pub(super) fn unknown_events(
    source: &str,
    partition: u32,
    after: Option<Offset>,
    limit: usize,
) -> Sql<UnknownColumns> {
    let query = Sql::new("SELECT \"offset\", cause, key, value, headers FROM inbox_unknown WHERE source = ")
        .text(source);
    let query = query.sql(" AND partition = ").integer(partition.into());
    let query = match after {
        Some(after) => query.sql(" AND \"offset\" > ").integer(after.0),
        None => query,
    };
    query.sql(" ORDER BY \"offset\" LIMIT ").limit(limit)
}

pub(super) fn count_gaps() -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_orders WHERE seen < highest")
}

/// The lowest missing sequence is the successor of a received one, or 1.
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

pub(super) fn count_conflicts() -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_conflicts")
}

pub(super) fn conflicts(limit: usize) -> Sql<(Text, BigInt, Uuid, Uuid)> {
    let query = Sql::new("SELECT order_id, sequence, event_id, applied_event_id FROM inbox_conflicts");
    query.sql(" ORDER BY order_id, sequence, event_id LIMIT ").limit(limit)
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
        // Days descend while the other columns ascend: compare negated days.
        query = query.sql(" AND (pickup_point_id, -day, currency) > (").text(point.as_str()).sql(", -");
        query = query.integer(day.0.into()).sql(", ").text(currency.as_str()).sql(")");
    }
    query.sql(" ORDER BY pickup_point_id, day DESC, currency LIMIT ").limit(page.limit)
}
