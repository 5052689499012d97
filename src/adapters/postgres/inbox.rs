//! What consumers have read, for any number of them on one database.
//!
//! The row of a partition is locked for as long as a batch of it is applied,
//! and its fence checked under the lock. All events of an order are in one
//! partition, so what is known of an order cannot change meanwhile; the sums of
//! a day are shared by all partitions, and are locked in the order of their
//! keys, so that no two batches wait for each other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

use super::error::Failure;
use super::inbox_sql as sql;
use super::inbox_write::{KeepEvents, KeepUnknown};
use super::pool::on_connection;
use super::sql::Sql;
use super::store::PostgresStore;
use crate::adapters::rows::{PartitionRow, SeenRow, StatisticsRow, inbox};
use crate::domain::OrderId;
use crate::ports::{
    Applied, DayStatistics, Gap, Gaps, Inbox, Intake, Offset, PortError, Progress, Share, StatisticsFilter,
    StatisticsPage,
};

#[async_trait]
impl Inbox for PostgresStore {
    async fn share(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
    ) -> Result<Vec<Share>, PortError> {
        on_connection!(self.writers, |connection| share(
            &mut connection,
            source,
            partitions,
            consumer,
            time_to_live
        ))
    }

    async fn leave(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| leave(&mut connection, source, consumer))
    }

    /// Tried once: whoever calls it again after a failure finds what was
    /// applied among the events that are known.
    async fn apply(&self, share: &Share, intake: &Intake) -> Result<Applied, PortError> {
        let mut connection = self.writers.take().await?;
        let applied = self.writers.bound(apply_in_transaction(&mut connection, share, intake)).await?;
        connection.give_back();
        Ok(applied)
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| rewind(&mut connection, source, partition, to))
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        on_connection!(self.readers, |connection| progress(&mut connection, source))
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        on_connection!(self.readers, |connection| gaps(&mut connection, limit))
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        let query = sql::statistics(filter, page);
        on_connection!(self.readers, |connection| load_statistics(&mut connection, &query))
    }
}

async fn share(
    connection: &mut AsyncPgConnection,
    source: &str,
    named: &BTreeSet<u32>,
    consumer: &str,
    time_to_live: Duration,
) -> Result<Vec<Share>, Failure> {
    connection
        .transaction(async |connection| {
            let _: bool = sql::share_alone(source).get_result(connection).await?;
            let now: i64 = sql::now().get_result(connection).await?;
            let time_to_live = i64::try_from(time_to_live.as_micros()).unwrap_or(i64::MAX);
            let expires_at = now.saturating_add(time_to_live);
            sql::add_partitions(source, named).execute(connection).await?;
            let mut rows: Vec<PartitionRow> = sql::partitions(source).load(connection).await?;
            sql::join(source, consumer, expires_at).execute(connection).await?;
            sql::forget(source, now).execute(connection).await?;
            let consumers: i64 = sql::consumers(source).get_result(connection).await?;
            rows.retain(|row| named.contains(&row.number()));
            let fences: HashMap<i32, i64> = rows.iter().map(|row| (row.partition, row.fence)).collect();
            let consumers = usize::try_from(consumers).unwrap_or(1);
            let mut shares = Vec::new();
            for row in inbox::share_out(&mut rows, consumer, consumers, now, expires_at) {
                let before = fences.get(&row.partition).copied().unwrap_or_default();
                let lent: Vec<Option<i64>> = sql::lend(source, row, before).load(connection).await?;
                // A batch may have moved the position since it was read.
                let mine = lent.into_iter().next().filter(|_| row.consumer.as_deref() == Some(consumer));
                shares.extend(
                    mine.map(|position| Share {
                        position: position.map(Offset),
                        ..row.share(source, consumer)
                    }),
                );
            }
            Ok(shares)
        })
        .await
}

async fn leave(connection: &mut AsyncPgConnection, source: &str, consumer: &str) -> Result<(), Failure> {
    sql::give_back(source, consumer).execute(connection).await?;
    sql::part(source, consumer).execute(connection).await?;
    Ok(())
}

async fn apply_in_transaction(
    connection: &mut AsyncPgConnection,
    share: &Share,
    intake: &Intake,
) -> Result<Applied, Failure> {
    connection.transaction(async |connection| apply(connection, share, intake).await).await
}

async fn apply(
    connection: &mut AsyncPgConnection,
    share: &Share,
    intake: &Intake,
) -> Result<Applied, Failure> {
    let moved = sql::move_position(share, intake.next).execute(connection).await?;
    if moved == 0 {
        return Ok(Applied::Fenced);
    }
    let events = &intake.events;
    let new = inbox::fresh(events, |_| false);
    let kept: Vec<(String, i64)> = KeepEvents::new(events, &new).load(connection).await?;
    let kept: HashSet<(String, i64)> = kept.into_iter().collect();
    let is_kept =
        |event: &crate::domain::Event| kept.contains(&(event.order.order_id.to_string(), event.sequence));
    let fresh: Vec<bool> = events.iter().zip(&new).map(|(event, new)| *new && is_kept(event)).collect();
    let ids: BTreeSet<&OrderId> = events.iter().map(|event| &event.order.order_id).collect();
    let before: Vec<SeenRow> = sql::seen(&ids).load(connection).await?;
    let seen = inbox::count(before, events, &fresh);
    sql::keep_seen(&seen.rows).execute(connection).await?;
    for sums in inbox::add_up(events, &fresh) {
        sql::add(&sums).execute(connection).await?;
    }
    if !intake.unknown.is_empty() {
        KeepUnknown::new(share, &intake.unknown).execute(connection).await?;
    }
    Ok(Applied::Done { fresh, opened: seen.opened, filled: seen.filled })
}

async fn rewind(
    connection: &mut AsyncPgConnection,
    source: &str,
    partition: u32,
    to: Offset,
) -> Result<(), Failure> {
    sql::add_partitions(source, &[partition].into()).execute(connection).await?;
    sql::rewind(source, &PartitionRow::new(partition), to).execute(connection).await?;
    Ok(())
}

async fn progress(connection: &mut AsyncPgConnection, source: &str) -> Result<Vec<Progress>, Failure> {
    let now: i64 = sql::now().get_result(connection).await?;
    let rows: Vec<PartitionRow> = sql::partitions(source).load(connection).await?;
    let progress = |row: &PartitionRow| Progress {
        partition: row.number(),
        position: row.position.map(Offset),
        consumer: row.reader(now).map(str::to_owned),
    };
    Ok(rows.iter().map(progress).collect())
}

async fn gaps(connection: &mut AsyncPgConnection, limit: usize) -> Result<Gaps, Failure> {
    let orders: i64 = sql::count_gaps().get_result(connection).await?;
    let rows: Vec<(String, i64, i64)> = sql::gaps(limit).load(connection).await?;
    let gap = |(order_id, missing, highest): (String, i64, i64)| match OrderId::parse(&order_id) {
        Ok(order_id) => Ok(Gap { order_id, missing, highest }),
        Err(why) => Err(Failure::Inconsistent(format!("inbox_orders {order_id:?}: order_id {why}"))),
    };
    let some = rows.into_iter().map(gap).collect::<Result<_, Failure>>()?;
    Ok(Gaps { orders: u64::try_from(orders).unwrap_or_default(), some })
}

async fn load_statistics(
    connection: &mut AsyncPgConnection,
    query: &Sql<sql::StatisticsColumns>,
) -> Result<Vec<DayStatistics>, Failure> {
    let rows: Vec<StatisticsRow> = query.load(connection).await?;
    let day = |row: StatisticsRow| {
        let key = format!("{}/{}", row.pickup_point_id, row.day);
        DayStatistics::try_from(row).map_err(|fault| Failure::row("inbox_statistics", &key, &fault))
    };
    rows.into_iter().map(day).collect()
}
