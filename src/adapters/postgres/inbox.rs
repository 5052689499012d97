//! The inbox. Any number of consumers share one database.
//!
//! Applying a batch locks the row of its partition and checks the fencing token
//! under that lock. All events of an order are in one partition, so the progress
//! of an order cannot change during the transaction. The statistics of a day are
//! shared by all partitions; their rows are locked in the order of their keys, so
//! that two batches cannot deadlock.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::error::Failure;
use super::inbox_sql as statements;
use super::inbox_write::{InsertConflicts, InsertEvents, InsertUnknown};
use super::pool::on_connection;
use super::sql::Sql;
use super::store::PostgresStore;
use crate::adapters::rows::{Fault, OrderProgressRow, PartitionRow, StatisticsRow, UnknownEventRow};
use crate::domain::{
    DayStatistics, Event, EventId, OrderId, OrderProgress, PartitionClaim, PartitionLease, ReceivedBefore,
};
use crate::ports::{
    Applied, Assignment, AssignmentRule, Conflict, Conflicts, Gap, Gaps, Inbox, InboxBatch, Offset,
    PortError, Progress, ReceptionRule, StatisticsFilter, StatisticsPage, UndecodedRecord,
};

#[async_trait]
impl Inbox for PostgresStore {
    async fn assign(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
        rule: AssignmentRule,
    ) -> Result<Vec<Assignment>, PortError> {
        on_connection!(self.writers, |connection| assign(
            &mut connection,
            source,
            partitions,
            consumer,
            time_to_live,
            rule
        ))
    }

    async fn release(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| release(&mut connection, source, consumer))
    }

    /// Does not retry: if the caller retries after a failure, events that were
    /// committed are found to be duplicates.
    async fn apply(
        &self,
        assignment: &Assignment,
        batch: &InboxBatch,
        rule: ReceptionRule,
    ) -> Result<Applied, PortError> {
        let mut connection = self.writers.acquire().await?;
        let apply = apply_in_transaction(&mut connection, assignment, batch, rule);
        match self.writers.with_timeout(apply).await {
            Ok(applied) => {
                connection.release();
                self.writers.last_commit().record_commit();
                Ok(applied)
            }
            Err(failure) => {
                self.writers.retire(connection);
                Err(failure.into())
            }
        }
    }

    async fn unknown_events(
        &self,
        source: &str,
        partition: u32,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Vec<UndecodedRecord>, PortError> {
        on_connection!(self.readers.points, |connection| unknown_events(
            &mut connection,
            source,
            partition,
            after,
            limit
        ))
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| rewind(&mut connection, source, partition, to))
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        on_connection!(self.readers.points, |connection| progress(&mut connection, source))
    }

    async fn known_events(&self, events: &[(OrderId, i64)]) -> Result<HashSet<(OrderId, i64)>, PortError> {
        on_connection!(self.readers.points, |connection| known_events(&mut connection, events))
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        on_connection!(self.readers.lists, |connection| gaps(&mut connection, limit))
    }

    async fn conflicts(&self, limit: usize) -> Result<Conflicts, PortError> {
        on_connection!(self.readers.lists, |connection| conflicts(&mut connection, limit))
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        let query = statements::statistics(filter, page);
        on_connection!(self.readers.lists, |connection| load_statistics(&mut connection, &query))
    }
}

async fn assign(
    connection: &mut AsyncPgConnection,
    source: &str,
    requested: &BTreeSet<u32>,
    consumer: &str,
    time_to_live: Duration,
    rule: AssignmentRule,
) -> Result<Vec<Assignment>, Failure> {
    connection
        .transaction(async |connection| {
            let _: bool = statements::lock_assignment(source).get_result(connection).await?;
            let now: i64 = statements::now().get_result(connection).await?;
            let time_to_live = i64::try_from(time_to_live.as_micros()).unwrap_or(i64::MAX);
            let expires_at = now.saturating_add(time_to_live);
            statements::add_partitions(source, requested).execute(connection).await?;
            let mut rows: Vec<PartitionRow> = statements::partitions(source).load(connection).await?;
            statements::register(source, consumer, expires_at).execute(connection).await?;
            statements::delete_expired_consumers(source, now).execute(connection).await?;
            let consumers: i64 = statements::count_consumers(source).get_result(connection).await?;
            rows.retain(|row| requested.contains(&row.number()));
            let leases: Vec<PartitionLease> = rows.iter().map(PartitionRow::lease).collect();
            let fencing_tokens: HashMap<u32, i64> =
                leases.iter().map(|lease| (lease.partition, lease.fencing_token)).collect();
            let consumers = usize::try_from(consumers).unwrap_or(1);
            let claim = PartitionClaim { consumer: consumer.to_owned(), consumers, now, expires_at };
            let mut assignments = Vec::new();
            for lease in rule(&leases, &claim) {
                let before = fencing_tokens.get(&lease.partition).copied().unwrap_or_default();
                // A batch may have moved the position since the row was read.
                let written: Vec<PartitionRow> =
                    statements::write_lease(source, &lease, before).load(connection).await?;
                for row in written.iter().filter(|row| row.consumer.as_deref() == Some(consumer)) {
                    let assignment = row.assignment(source, consumer);
                    assignments.push(assignment.map_err(|fault| partition_fault(source, row, &fault))?);
                }
            }
            Ok(assignments)
        })
        .await
}

async fn release(connection: &mut AsyncPgConnection, source: &str, consumer: &str) -> Result<(), Failure> {
    statements::release(source, consumer).execute(connection).await?;
    statements::unregister(source, consumer).execute(connection).await?;
    Ok(())
}

async fn apply_in_transaction(
    connection: &mut AsyncPgConnection,
    assignment: &Assignment,
    batch: &InboxBatch,
    rule: ReceptionRule,
) -> Result<Applied, Failure> {
    connection.transaction(async |connection| apply(connection, assignment, batch, rule).await).await
}

async fn apply(
    connection: &mut AsyncPgConnection,
    assignment: &Assignment,
    batch: &InboxBatch,
    rule: ReceptionRule,
) -> Result<Applied, Failure> {
    if statements::move_position(assignment, batch).execute(connection).await? == 0 {
        return Ok(Applied::Fenced);
    }
    let before = insert_events(connection, &batch.events).await?;
    let received = rule(&batch.events, &before);
    let conflicts: Vec<(&Event, EventId)> = received.conflicts(&batch.events).collect();
    if !conflicts.is_empty() {
        InsertConflicts::new(assignment, &conflicts)?.execute(connection).await?;
    }
    statements::write_order_progress(&received.orders).execute(connection).await?;
    for statistics in &received.statistics {
        statements::add_statistics(statistics).execute(connection).await?;
    }
    if !batch.resolved.is_empty() {
        statements::delete_unknown(assignment, &batch.resolved).execute(connection).await?;
    }
    if !batch.unknown.is_empty() {
        InsertUnknown::new(assignment, &batch.unknown).execute(connection).await?;
    }
    Ok(Applied::Done {
        receptions: received.receptions,
        gaps_opened: received.gaps_opened,
        gaps_closed: received.gaps_closed,
    })
}

/// Inserts the events that are new, and returns what was received before. The
/// insert is also the query: it skips the events that are in the inbox.
async fn insert_events(
    connection: &mut AsyncPgConnection,
    events: &[Event],
) -> Result<ReceivedBefore, Failure> {
    let inserted: Vec<(String, i64)> = InsertEvents::new(events).load(connection).await?;
    let inserted: HashSet<(String, i64)> = inserted.into_iter().collect();
    let is_known = |event: &&Event| !inserted.contains(&(event.order.order_id.to_string(), event.sequence));
    let known: Vec<&Event> = events.iter().filter(is_known).collect();
    let known = if known.is_empty() { HashMap::new() } else { received_events(connection, &known).await? };
    let ids: BTreeSet<&OrderId> = events.iter().map(|event| &event.order.order_id).collect();
    let rows: Vec<OrderProgressRow> = statements::order_progress(&ids).load(connection).await?;
    let progress = |row: OrderProgressRow| {
        let key = row.order_id.clone();
        OrderProgress::try_from(row).map_err(|fault| Failure::row("inbox_orders", &key, &fault))
    };
    let orders = rows.into_iter().map(progress).collect::<Result<_, Failure>>()?;
    Ok(ReceivedBefore { events: known, orders })
}

/// Returns the ids of the events that the inbox already has, by order and sequence.
async fn received_events(
    connection: &mut AsyncPgConnection,
    events: &[&Event],
) -> Result<HashMap<(OrderId, i64), EventId>, Failure> {
    let keys = events.iter().map(|event| (&event.order.order_id, event.sequence));
    let rows: Vec<(String, i64, Uuid)> = statements::received_events(keys).load(connection).await?;
    let ids: HashMap<(String, i64), Uuid> =
        rows.into_iter().map(|(order_id, sequence, event_id)| ((order_id, sequence), event_id)).collect();
    let received = |event: &&Event| {
        let (order_id, sequence) = (event.order.order_id.clone(), event.sequence);
        match ids.get(&(order_id.to_string(), sequence)) {
            Some(event_id) => Ok(((order_id, sequence), EventId(event_id.as_u128()))),
            // Deleted since the insert found it.
            None => Err(Failure::Inconsistent(format!("inbox_events {order_id} {sequence}: was deleted"))),
        }
    };
    events.iter().map(received).collect()
}

async fn unknown_events(
    connection: &mut AsyncPgConnection,
    source: &str,
    partition: u32,
    after: Option<Offset>,
    limit: usize,
) -> Result<Vec<UndecodedRecord>, Failure> {
    let query = statements::unknown_events(source, partition, after, limit);
    let rows: Vec<UnknownEventRow> = query.load(connection).await?;
    let record = |row: UnknownEventRow| {
        let key = row.offset.to_string();
        UndecodedRecord::try_from(row).map_err(|fault| Failure::row("inbox_unknown", &key, &fault))
    };
    rows.into_iter().map(record).collect()
}

async fn rewind(
    connection: &mut AsyncPgConnection,
    source: &str,
    partition: u32,
    to: Offset,
) -> Result<(), Failure> {
    statements::add_partitions(source, &[partition].into()).execute(connection).await?;
    statements::rewind(source, partition, to).execute(connection).await?;
    Ok(())
}

async fn progress(connection: &mut AsyncPgConnection, source: &str) -> Result<Vec<Progress>, Failure> {
    let now: i64 = statements::now().get_result(connection).await?;
    let rows: Vec<PartitionRow> = statements::partitions(source).load(connection).await?;
    rows.iter().map(|row| row.progress(now).map_err(|fault| partition_fault(source, row, &fault))).collect()
}

fn partition_fault(source: &str, row: &PartitionRow, fault: &Fault) -> Failure {
    Failure::row("inbox_partitions", &format!("{source}/{}", row.partition), fault)
}

async fn known_events(
    connection: &mut AsyncPgConnection,
    events: &[(OrderId, i64)],
) -> Result<HashSet<(OrderId, i64)>, Failure> {
    let keys = events.iter().map(|(order_id, sequence)| (order_id, *sequence));
    let rows: Vec<(String, i64, Uuid)> = statements::received_events(keys).load(connection).await?;
    let known: HashSet<(&str, i64)> =
        rows.iter().map(|(order_id, sequence, _)| (order_id.as_str(), *sequence)).collect();
    let is_known = |(order_id, sequence): &&(OrderId, i64)| known.contains(&(order_id.as_str(), *sequence));
    Ok(events.iter().filter(is_known).cloned().collect())
}

async fn gaps(connection: &mut AsyncPgConnection, limit: usize) -> Result<Gaps, Failure> {
    let orders: i64 = statements::count_gaps().get_result(connection).await?;
    let rows: Vec<(String, i64, i64)> = statements::gaps(limit).load(connection).await?;
    let gap = |(order_id, missing, highest): (String, i64, i64)| match OrderId::parse(&order_id) {
        Ok(order_id) => Ok(Gap { order_id, missing, highest }),
        Err(why) => Err(Failure::Inconsistent(format!("inbox_orders {order_id:?}: order_id {why}"))),
    };
    let first = rows.into_iter().map(gap).collect::<Result<_, Failure>>()?;
    Ok(Gaps { orders: u64::try_from(orders).unwrap_or_default(), first })
}

async fn conflicts(connection: &mut AsyncPgConnection, limit: usize) -> Result<Conflicts, Failure> {
    let events: i64 = statements::count_conflicts().get_result(connection).await?;
    let rows: Vec<(String, i64, Uuid, Uuid)> = statements::conflicts(limit).load(connection).await?;
    let conflict = |(order_id, sequence, event_id, applied): (String, i64, Uuid, Uuid)| {
        let ids = (EventId(event_id.as_u128()), EventId(applied.as_u128()));
        match OrderId::parse(&order_id) {
            Ok(order_id) => Ok(Conflict { order_id, sequence, event_id: ids.0, applied: ids.1 }),
            Err(why) => Err(Failure::Inconsistent(format!("inbox_conflicts {order_id:?}: order_id {why}"))),
        }
    };
    let first = rows.into_iter().map(conflict).collect::<Result<_, Failure>>()?;
    Ok(Conflicts { events: u64::try_from(events).unwrap_or_default(), first })
}

async fn load_statistics(
    connection: &mut AsyncPgConnection,
    query: &Sql<statements::StatisticsColumns>,
) -> Result<Vec<DayStatistics>, Failure> {
    let rows: Vec<StatisticsRow> = query.load(connection).await?;
    let day = |row: StatisticsRow| {
        let key = format!("{}/{}", row.pickup_point_id, row.day);
        DayStatistics::try_from(row).map_err(|fault| Failure::row("inbox_statistics", &key, &fault))
    };
    rows.into_iter().map(day).collect()
}
