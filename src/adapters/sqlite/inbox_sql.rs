//! The statements of the inbox.

use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};

use super::sql::Sql;
use crate::domain::{DayStatistics, PartitionLease};
use crate::ports::{Assignment, InboxBatch, LastEvent, Offset, StatisticsFilter, StatisticsPage};

type PartitionColumns =
    (Integer, Nullable<BigInt>, Nullable<Text>, BigInt, BigInt, Nullable<BigInt>, Nullable<Binary>);
type UnknownColumns = (BigInt, Text, Nullable<Binary>, Nullable<Binary>, Text);
pub(super) type StatisticsColumns =
    (Text, Integer, Text, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt);

/// Returns the clock of the database, which all consumers of an inbox share.
pub(super) fn now() -> Sql<BigInt> {
    Sql::new("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)")
}

pub(super) fn register(source: &str, consumer: &str, expires_at: i64) -> Sql<()> {
    Sql::new("INSERT OR REPLACE INTO inbox_consumers (source, consumer, expires_at) VALUES (")
        .text(source)
        .sql(", ")
        .text(consumer)
        .sql(", ")
        .integer(expires_at)
        .sql(")")
}

pub(super) fn delete_expired_consumers(source: &str, now: i64) -> Sql<()> {
    let statement = Sql::new("DELETE FROM inbox_consumers WHERE source = ").text(source);
    statement.sql(" AND expires_at <= ").integer(now)
}

pub(super) fn count_consumers(source: &str) -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_consumers WHERE source = ").text(source)
}

pub(super) fn unregister(source: &str, consumer: &str) -> Sql<()> {
    let statement = Sql::new("DELETE FROM inbox_consumers WHERE source = ").text(source);
    statement.sql(" AND consumer = ").text(consumer)
}

pub(super) fn add_partition(source: &str, partition: u32) -> Sql<()> {
    Sql::new("INSERT OR IGNORE INTO inbox_partitions (source, partition, fence, expires_at) VALUES (")
        .text(source)
        .sql(", ")
        .integer(partition.into())
        .sql(", 0, 0)")
}

pub(super) fn partitions(source: &str) -> Sql<PartitionColumns> {
    let query = Sql::new(
        "SELECT partition, position, consumer, fence, expires_at, last_event_offset, last_event_id \
         FROM inbox_partitions WHERE source = ",
    );
    query.text(source).sql(" ORDER BY partition")
}

pub(super) fn write_lease(source: &str, lease: &PartitionLease) -> Sql<()> {
    let statement = match &lease.consumer {
        Some(consumer) => Sql::new("UPDATE inbox_partitions SET consumer = ").text(consumer.as_str()),
        None => Sql::new("UPDATE inbox_partitions SET consumer = NULL"),
    };
    let statement = statement.sql(", fence = ").integer(lease.fencing_token).sql(", expires_at = ");
    let statement = statement.integer(lease.expires_at).sql(" WHERE source = ").text(source);
    statement.sql(" AND partition = ").integer(lease.partition.into())
}

pub(super) fn release(source: &str, consumer: &str) -> Sql<()> {
    let statement = Sql::new("UPDATE inbox_partitions SET consumer = NULL WHERE source = ").text(source);
    statement.sql(" AND consumer = ").text(consumer)
}

/// Sets the position and the last event if the batch has them. Changes no row if the lease was
/// lost.
pub(super) fn move_position(assignment: &Assignment, batch: &InboxBatch) -> Sql<()> {
    let statement = match batch.next {
        Some(next) => Sql::new("UPDATE inbox_partitions SET position = ").integer(next.0),
        None => Sql::new("UPDATE inbox_partitions SET position = position"),
    };
    let statement = match batch.last_event {
        Some(LastEvent { offset, event_id }) => statement
            .sql(", last_event_offset = ")
            .integer(offset.0)
            .sql(", last_event_id = ")
            .bytes(event_id.0.to_be_bytes()),
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

/// Returns those of the events, a JSON array of order id and sequence, that are in
/// the inbox, with their ids. CROSS JOIN makes the array the outer loop, so that
/// each event is one index lookup.
pub(super) fn received_events(keys: String) -> Sql<(Text, BigInt, Binary)> {
    Sql::new("SELECT order_id, sequence, event_id FROM json_each(").text(keys).sql(
        ") AS named CROSS JOIN inbox_events ON order_id = named.value ->> 0 AND sequence = named.value ->> 1",
    )
}

/// Returns the progress of orders, a JSON array of ids.
pub(super) fn order_progress(ids: String) -> Sql<(Text, BigInt, BigInt)> {
    Sql::new("SELECT order_id, seen, highest FROM json_each(")
        .text(ids)
        .sql(") AS named CROSS JOIN inbox_orders ON order_id = named.value")
}

pub(super) fn add_statistics(statistics: &DayStatistics) -> Sql<()> {
    let statement = Sql::new(
        "INSERT INTO inbox_statistics (pickup_point_id, day, currency, accepted, issued, returned, \
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
        ") ON CONFLICT (pickup_point_id, day, currency) DO UPDATE SET accepted = accepted + excluded.accepted, \
         issued = issued + excluded.issued, returned = returned + excluded.returned, \
         handed_to_courier = handed_to_courier + excluded.handed_to_courier, \
         surcharge_minor = surcharge_minor + excluded.surcharge_minor, \
         accepted_minor = accepted_minor + excluded.accepted_minor, \
         issued_minor = issued_minor + excluded.issued_minor, \
         returned_minor = returned_minor + excluded.returned_minor",
    )
}

/// Deletes the unknown events at `offsets`, a JSON array.
pub(super) fn delete_unknown(assignment: &Assignment, offsets: String) -> Sql<()> {
    Sql::new("DELETE FROM inbox_unknown WHERE source = ")
        .text(assignment.source.as_str())
        .sql(" AND partition = ")
        .integer(assignment.partition.into())
        .sql(" AND \"offset\" IN (SELECT value FROM json_each(")
        .text(offsets)
        .sql("))")
}

pub(super) fn unknown_events(
    source: &str,
    partition: u32,
    after: Option<Offset>,
    limit: usize,
) -> Sql<UnknownColumns> {
    let query = Sql::new("SELECT \"offset\", cause, key, value, headers FROM inbox_unknown WHERE source = ")
        .text(source);
    let query = query.sql(" AND is_awaited() AND partition = ").integer(partition.into());
    let query = match after {
        Some(after) => query.sql(" AND \"offset\" > ").integer(after.0),
        None => query,
    };
    query.sql(" ORDER BY \"offset\" LIMIT ").limit(limit)
}

pub(super) fn count_gaps() -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_orders WHERE is_awaited() AND seen < highest")
}

/// Returns orders with a gap. The lowest missing sequence is the successor of the
/// lowest received one that has none, or 1.
pub(super) fn gaps(limit: usize) -> Sql<(Text, BigInt, BigInt)> {
    Sql::new(
        "SELECT order_id, (SELECT coalesce(min(sequence) + 1, 1) FROM inbox_events AS one \
         WHERE one.order_id = orders.order_id AND sequence >= 1 AND EXISTS (SELECT 1 FROM inbox_events \
         WHERE order_id = orders.order_id AND sequence = 1) AND NOT EXISTS (SELECT 1 FROM inbox_events \
         AS next WHERE next.order_id = orders.order_id AND next.sequence = one.sequence + 1)), highest \
         FROM inbox_orders AS orders WHERE is_awaited() AND seen < highest ORDER BY order_id LIMIT ",
    )
    .limit(limit)
}

pub(super) fn count_conflicts() -> Sql<BigInt> {
    Sql::new("SELECT count(*) FROM inbox_conflicts")
}

pub(super) fn conflicts(limit: usize) -> Sql<(Text, BigInt, Binary, Binary)> {
    let query = Sql::new("SELECT order_id, sequence, event_id, applied_event_id FROM inbox_conflicts");
    query.sql(" ORDER BY order_id, sequence, event_id LIMIT ").limit(limit)
}

pub(super) fn statistics(filter: &StatisticsFilter, page: &StatisticsPage) -> Sql<StatisticsColumns> {
    let mut query = Sql::new(
        "SELECT pickup_point_id, day, currency, accepted, issued, returned, handed_to_courier, \
         surcharge_minor, accepted_minor, issued_minor, returned_minor FROM inbox_statistics WHERE is_awaited()",
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
