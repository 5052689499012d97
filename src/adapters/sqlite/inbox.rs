//! What a consumer has read. One process has the file, so nothing races; leases
//! and fences are kept all the same, for whoever had the file before.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::{RunQueryDsl as _, SqliteConnection};

use super::SqliteStore;
use super::error::Failure;
use super::inbox_tables::{Kept, UnknownRow};
use super::sql::{Sql, insert};
use super::write::{immediate, json};
use crate::adapters::rows::{EventRow, PartitionRow, SeenRow, StatisticsRow, inbox};
use crate::domain::{Event, OrderId};
use crate::ports::{
    Applied, DayStatistics, Gap, Gaps, Inbox, Intake, Offset, PortError, Progress, Share, StatisticsFilter,
    StatisticsPage,
};

type PartitionColumns = (Integer, Nullable<BigInt>, Nullable<Text>, BigInt, BigInt);
type StatisticsColumns =
    (Text, Integer, Text, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, BigInt);

#[async_trait]
impl Inbox for SqliteStore {
    async fn share(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
    ) -> Result<Vec<Share>, PortError> {
        let (source, consumer, partitions) = (source.to_owned(), consumer.to_owned(), partitions.clone());
        let share = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| {
                share(connection, &source, &partitions, &consumer, time_to_live)
            })
        };
        self.writers.run(share).await
    }

    async fn leave(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        let (source, consumer) = (source.to_owned(), consumer.to_owned());
        let leave = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| {
                let at = |sql| {
                    Sql::<()>::new(sql).text(source.as_str()).sql(" AND consumer = ").text(consumer.as_str())
                };
                at("UPDATE inbox_partitions SET consumer = NULL WHERE source = ").execute(connection)?;
                at("DELETE FROM inbox_consumers WHERE source = ").execute(connection)?;
                Ok(())
            })
        };
        self.writers.run(leave).await
    }

    async fn apply(&self, share: &Share, intake: &Intake) -> Result<Applied, PortError> {
        let (share, intake) = (share.clone(), intake.clone());
        let apply = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| apply(connection, &share, &intake))
        };
        self.writers.run(apply).await
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        let source = source.to_owned();
        let rewind = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| {
                let row = PartitionRow::new(partition);
                add_partition(&source, &row).execute(connection)?;
                rewind(&source, &row, to).execute(connection)?;
                Ok(())
            })
        };
        self.writers.run(rewind).await
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        let source = source.to_owned();
        let progress = move |connection: &mut SqliteConnection| {
            let now = now(connection)?;
            let rows: Vec<PartitionRow> = partitions(&source).load(connection)?;
            Ok(rows.iter().map(|row| progress(row, now)).collect())
        };
        self.readers.run(progress).await
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        self.readers.run(move |connection| gaps(connection, limit)).await
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        let query = statistics(filter, page);
        let load = |connection: &mut SqliteConnection| {
            let rows: Vec<StatisticsRow> = query.load(connection)?;
            rows.into_iter().map(day).collect()
        };
        self.readers.run(load).await
    }
}

fn day(row: StatisticsRow) -> Result<DayStatistics, Failure> {
    let key = format!("{}/{}", row.pickup_point_id, row.day);
    DayStatistics::try_from(row).map_err(|fault| Failure::row("inbox_statistics", &key, &fault))
}

fn progress(row: &PartitionRow, now: i64) -> Progress {
    Progress {
        partition: row.number(),
        position: row.position.map(Offset),
        consumer: row.reader(now).map(str::to_owned),
    }
}

/// The time of the database, like any other's who shares an inbox.
fn now(connection: &mut SqliteConnection) -> Result<i64, Failure> {
    Ok(Sql::<BigInt>::new("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)").get_result(connection)?)
}

fn share(
    connection: &mut SqliteConnection,
    source: &str,
    named: &BTreeSet<u32>,
    consumer: &str,
    time_to_live: Duration,
) -> Result<Vec<Share>, Failure> {
    let now = now(connection)?;
    let expires_at = now.saturating_add(i64::try_from(time_to_live.as_micros()).unwrap_or(i64::MAX));
    Sql::<()>::new("INSERT OR REPLACE INTO inbox_consumers (source, consumer, expires_at) VALUES (")
        .text(source)
        .sql(", ")
        .text(consumer)
        .sql(", ")
        .integer(expires_at)
        .sql(")")
        .execute(connection)?;
    Sql::<()>::new("DELETE FROM inbox_consumers WHERE source = ")
        .text(source)
        .sql(" AND expires_at <= ")
        .integer(now)
        .execute(connection)?;
    let consumers: i64 = Sql::<BigInt>::new("SELECT count(*) FROM inbox_consumers WHERE source = ")
        .text(source)
        .get_result(connection)?;
    for partition in named {
        add_partition(source, &PartitionRow::new(*partition)).execute(connection)?;
    }
    let mut rows: Vec<PartitionRow> = partitions(source).load(connection)?;
    rows.retain(|row| named.contains(&row.number()));
    let consumers = usize::try_from(consumers).unwrap_or(1);
    for row in inbox::share_out(&mut rows, consumer, consumers, now, expires_at) {
        let statement = match &row.consumer {
            Some(consumer) => {
                Sql::<()>::new("UPDATE inbox_partitions SET consumer = ").text(consumer.as_str())
            }
            None => Sql::new("UPDATE inbox_partitions SET consumer = NULL"),
        };
        let statement = statement.sql(", fence = ").integer(row.fence).sql(", expires_at = ");
        let statement = statement.integer(row.expires_at).sql(" WHERE source = ").text(source);
        statement.sql(" AND partition = ").integer(row.partition.into()).execute(connection)?;
    }
    let mine = rows.iter().filter(|row| row.consumer.as_deref() == Some(consumer));
    Ok(mine.map(|row| row.share(source, consumer)).collect())
}

fn add_partition(source: &str, row: &PartitionRow) -> Sql<()> {
    Sql::new("INSERT OR IGNORE INTO inbox_partitions (source, partition, fence, expires_at) VALUES (")
        .text(source)
        .sql(", ")
        .integer(row.partition.into())
        .sql(", 0, 0)")
}

/// Whoever reads the partition meanwhile is fenced.
fn rewind(source: &str, row: &PartitionRow, to: Offset) -> Sql<()> {
    Sql::new("UPDATE inbox_partitions SET fence = fence + 1, consumer = NULL, position = ")
        .integer(to.0)
        .sql(" WHERE source = ")
        .text(source)
        .sql(" AND partition = ")
        .integer(row.partition.into())
}

fn partitions(source: &str) -> Sql<PartitionColumns> {
    Sql::new("SELECT partition, position, consumer, fence, expires_at FROM inbox_partitions WHERE source = ")
        .text(source)
        .sql(" ORDER BY partition")
}

fn apply(connection: &mut SqliteConnection, share: &Share, intake: &Intake) -> Result<Applied, Failure> {
    let moved = Sql::<()>::new("UPDATE inbox_partitions SET position = ")
        .integer(intake.next.0)
        .sql(" WHERE source = ")
        .text(share.source.as_str())
        .sql(" AND partition = ")
        .integer(share.partition.into())
        .sql(" AND fence = ")
        .integer(share.fence)
        .sql(" AND consumer = ")
        .text(share.consumer.as_str())
        .execute(connection)?;
    if moved == 0 {
        return Ok(Applied::Fenced);
    }
    let events = &intake.events;
    let known = known(connection, events)?;
    let fresh = inbox::fresh(events, |key| known.contains(key));
    let kept = events.iter().zip(&fresh).filter(|(_, fresh)| **fresh);
    let kept: Vec<Kept> = kept.map(|(event, _)| Kept(EventRow::from(event))).collect();
    insert(connection, &kept)?;
    let seen = inbox::count(seen(connection, events)?, events, &fresh);
    insert(connection, &seen.rows)?;
    for sums in inbox::add_up(events, &fresh) {
        add(&sums).execute(connection)?;
    }
    let unknown: Vec<UnknownRow> =
        intake.unknown.iter().map(|record| UnknownRow::new(share, record)).collect();
    insert(connection, &unknown)?;
    Ok(Applied::Done { fresh, opened: seen.opened, filled: seen.filled })
}

/// Which of the events are there already. CROSS JOIN keeps the array outside,
/// so that each is one search.
fn known(connection: &mut SqliteConnection, events: &[Event]) -> Result<HashSet<(OrderId, i64)>, Failure> {
    let keys: Vec<(&str, i64)> =
        events.iter().map(|event| (event.order.order_id.as_str(), event.sequence)).collect();
    let query =
        Sql::<(Text, BigInt)>::new("SELECT order_id, sequence FROM json_each(").text(json(&keys)?).sql(
            ") AS named CROSS JOIN inbox_events \
             ON order_id = named.value ->> 0 AND sequence = named.value ->> 1",
        );
    let rows: Vec<(String, i64)> = query.load(connection)?;
    rows.into_iter().map(|(order_id, sequence)| Ok((key("inbox_events", &order_id)?, sequence))).collect()
}

fn key(table: &str, order_id: &str) -> Result<OrderId, Failure> {
    let wrong = |why| Failure::Inconsistent(format!("{table} {order_id:?}: order_id {why}"));
    OrderId::parse(order_id).map_err(wrong)
}

fn seen(connection: &mut SqliteConnection, events: &[Event]) -> Result<Vec<SeenRow>, Failure> {
    let ids: BTreeSet<&str> = events.iter().map(|event| event.order.order_id.as_str()).collect();
    let query = Sql::<(Text, BigInt, BigInt)>::new("SELECT order_id, seen, highest FROM json_each(")
        .text(json(&ids)?)
        .sql(") AS named CROSS JOIN inbox_orders ON order_id = named.value");
    Ok(query.load(connection)?)
}

fn add(sums: &DayStatistics) -> Sql<()> {
    let statement = Sql::new(
        "INSERT INTO inbox_statistics (pickup_point_id, day, currency, accepted, issued, returned, \
         handed_to_courier, surcharge_minor, accepted_minor, issued_minor, returned_minor) VALUES (",
    );
    let statement = statement.text(sums.pickup_point_id.as_str()).sql(", ").integer(sums.day.0.into());
    let statement = statement.sql(", ").text(sums.currency.as_str());
    let counts = [sums.accepted, sums.issued, sums.returned, sums.handed_to_courier];
    let amounts = [sums.surcharge_minor, sums.accepted_minor, sums.issued_minor, sums.returned_minor];
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

fn gaps(connection: &mut SqliteConnection, limit: usize) -> Result<Gaps, Failure> {
    let count = Sql::<BigInt>::new("SELECT count(*) FROM inbox_orders WHERE seen < highest");
    let orders: i64 = count.get_result(connection)?;
    // The first sequence without an event: the first that does not follow.
    let some = Sql::<(Text, BigInt, BigInt)>::new(
        "SELECT order_id, (SELECT coalesce(min(sequence) + 1, 1) FROM inbox_events AS one \
         WHERE one.order_id = orders.order_id AND sequence >= 1 AND EXISTS (SELECT 1 FROM inbox_events \
         WHERE order_id = orders.order_id AND sequence = 1) AND NOT EXISTS (SELECT 1 FROM inbox_events \
         AS next WHERE next.order_id = orders.order_id AND next.sequence = one.sequence + 1)), highest \
         FROM inbox_orders AS orders WHERE seen < highest ORDER BY order_id LIMIT ",
    )
    .limit(limit);
    let rows: Vec<(String, i64, i64)> = some.load(connection)?;
    let gap = |(order_id, missing, highest): (String, i64, i64)| {
        Ok(Gap { order_id: key("inbox_orders", &order_id)?, missing, highest })
    };
    let some = rows.into_iter().map(gap).collect::<Result<_, Failure>>()?;
    Ok(Gaps { orders: u64::try_from(orders).unwrap_or_default(), some })
}

fn statistics(filter: &StatisticsFilter, page: &StatisticsPage) -> Sql<StatisticsColumns> {
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
