//! The inbox of a consumer. One process at a time opens the file for writing, so
//! there are no races; leases and fencing tokens are kept as on any other store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use diesel::{RunQueryDsl as _, SqliteConnection};

use super::SqliteStore;
use super::error::Failure;
use super::inbox_sql as statements;
use super::inbox_tables::{ConflictRow, InboxEventRow, UnknownRow};
use super::sql::{Sql, insert};
use super::write::{immediate, json};
use crate::adapters::rows::{
    EventRow, Fault, OrderProgressRow, PartitionRow, StatisticsRow, UnknownEventRow, event_id_of,
};
use crate::domain::{
    DayStatistics, Event, EventId, OrderId, OrderProgress, PartitionClaim, PartitionLease, ReceivedBefore,
};
use crate::ports::{
    Applied, Assignment, AssignmentRule, Conflict, Conflicts, Gap, Gaps, Inbox, InboxBatch, Offset,
    PortError, Progress, ReceptionRule, StatisticsFilter, StatisticsPage, UndecodedRecord,
};

#[async_trait]
impl Inbox for SqliteStore {
    async fn assign(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
        rule: AssignmentRule,
    ) -> Result<Vec<Assignment>, PortError> {
        let (source, consumer, partitions) = (source.to_owned(), consumer.to_owned(), partitions.clone());
        let assign = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| {
                assign(connection, &source, &partitions, &consumer, time_to_live, rule)
            })
        };
        self.writers.write(assign).await
    }

    async fn release(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        let (source, consumer) = (source.to_owned(), consumer.to_owned());
        let release = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| {
                statements::release(&source, &consumer).execute(connection)?;
                statements::unregister(&source, &consumer).execute(connection)?;
                Ok(())
            })
        };
        self.writers.write(release).await
    }

    async fn apply(
        &self,
        assignment: &Assignment,
        batch: &InboxBatch,
        rule: ReceptionRule,
    ) -> Result<Applied, PortError> {
        let (assignment, batch) = (assignment.clone(), batch.clone());
        let apply = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| apply(connection, &assignment, &batch, rule))
        };
        self.writers.write(apply).await
    }

    async fn unknown_events(
        &self,
        source: &str,
        partition: u32,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Vec<UndecodedRecord>, PortError> {
        let query = statements::unknown_events(source, partition, after, limit);
        let load = |connection: &mut SqliteConnection| {
            let rows: Vec<UnknownEventRow> = query.load(connection)?;
            rows.into_iter().map(unknown_event).collect()
        };
        self.readers.points.read(load).await
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        let source = source.to_owned();
        let rewind = move |connection: &mut SqliteConnection| {
            immediate(connection, |connection| {
                statements::add_partition(&source, partition).execute(connection)?;
                statements::rewind(&source, partition, to).execute(connection)?;
                Ok(())
            })
        };
        self.writers.write(rewind).await
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        let source = source.to_owned();
        let progress = move |connection: &mut SqliteConnection| {
            let now: i64 = statements::now().get_result(connection)?;
            let rows: Vec<PartitionRow> = statements::partitions(&source).load(connection)?;
            rows.iter()
                .map(|row| row.progress(now).map_err(|fault| partition_fault(&source, row, &fault)))
                .collect()
        };
        self.readers.points.read(progress).await
    }

    async fn known_events(&self, events: &[(OrderId, i64)]) -> Result<HashSet<(OrderId, i64)>, PortError> {
        let keys: Vec<(&str, i64)> =
            events.iter().map(|(order_id, sequence)| (order_id.as_str(), *sequence)).collect();
        let query = statements::received_events(json(&keys)?);
        let load = |connection: &mut SqliteConnection| {
            let rows: Vec<(String, i64, Vec<u8>)> = query.load(connection)?;
            let known = |(order_id, sequence, _): (String, i64, Vec<u8>)| {
                Ok((parse("inbox_events", &order_id)?, sequence))
            };
            rows.into_iter().map(known).collect()
        };
        self.readers.points.read(load).await
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        self.readers.lists.read(move |connection| gaps(connection, limit)).await
    }

    async fn conflicts(&self, limit: usize) -> Result<Conflicts, PortError> {
        self.readers.lists.read(move |connection| conflicts(connection, limit)).await
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        let query: Sql<statements::StatisticsColumns> = statements::statistics(filter, page);
        let load = |connection: &mut SqliteConnection| {
            let rows: Vec<StatisticsRow> = query.load(connection)?;
            rows.into_iter().map(day_statistics).collect()
        };
        self.readers.lists.read(load).await
    }
}

fn partition_fault(source: &str, row: &PartitionRow, fault: &Fault) -> Failure {
    Failure::row("inbox_partitions", &format!("{source}/{}", row.partition), fault)
}

fn day_statistics(row: StatisticsRow) -> Result<DayStatistics, Failure> {
    let key = format!("{}/{}", row.pickup_point_id, row.day);
    DayStatistics::try_from(row).map_err(|fault| Failure::row("inbox_statistics", &key, &fault))
}

fn unknown_event(row: UnknownEventRow) -> Result<UndecodedRecord, Failure> {
    let key = row.offset.to_string();
    UndecodedRecord::try_from(row).map_err(|fault| Failure::row("inbox_unknown", &key, &fault))
}

fn assign(
    connection: &mut SqliteConnection,
    source: &str,
    requested: &BTreeSet<u32>,
    consumer: &str,
    time_to_live: Duration,
    rule: AssignmentRule,
) -> Result<Vec<Assignment>, Failure> {
    let now: i64 = statements::now().get_result(connection)?;
    let expires_at = now.saturating_add(i64::try_from(time_to_live.as_micros()).unwrap_or(i64::MAX));
    statements::register(source, consumer, expires_at).execute(connection)?;
    statements::delete_expired_consumers(source, now).execute(connection)?;
    let consumers: i64 = statements::count_consumers(source).get_result(connection)?;
    for partition in requested {
        statements::add_partition(source, *partition).execute(connection)?;
    }
    let load = |connection: &mut SqliteConnection| -> Result<Vec<PartitionRow>, Failure> {
        let mut rows: Vec<PartitionRow> = statements::partitions(source).load(connection)?;
        rows.retain(|row| requested.contains(&row.number()));
        Ok(rows)
    };
    let leases: Vec<PartitionLease> = load(connection)?.iter().map(PartitionRow::lease).collect();
    let consumers = usize::try_from(consumers).unwrap_or(1);
    let claim = PartitionClaim { consumer: consumer.to_owned(), consumers, now, expires_at };
    for lease in rule(&leases, &claim) {
        statements::write_lease(source, &lease).execute(connection)?;
    }
    let rows = load(connection)?;
    let assigned = rows.iter().filter(|row| row.consumer.as_deref() == Some(consumer));
    let assignment = |row: &PartitionRow| {
        row.assignment(source, consumer).map_err(|fault| partition_fault(source, row, &fault))
    };
    assigned.map(assignment).collect()
}

fn apply(
    connection: &mut SqliteConnection,
    assignment: &Assignment,
    batch: &InboxBatch,
    rule: ReceptionRule,
) -> Result<Applied, Failure> {
    if statements::move_position(assignment, batch).execute(connection)? == 0 {
        return Ok(Applied::Fenced);
    }
    let received = rule(&batch.events, &received_before(connection, &batch.events)?);
    let first = received.first(&batch.events);
    let events: Vec<InboxEventRow> = first.map(|event| InboxEventRow(EventRow::from(event))).collect();
    insert(connection, &events)?;
    let conflicts = received.conflicts(&batch.events);
    let conflicts: Vec<ConflictRow> = conflicts
        .map(|(event, applied)| ConflictRow::new(assignment, event, applied))
        .collect::<Result<_, Failure>>()?;
    insert(connection, &conflicts)?;
    let orders: Vec<OrderProgressRow> = received.orders.iter().map(OrderProgressRow::from).collect();
    insert(connection, &orders)?;
    for statistics in &received.statistics {
        statements::add_statistics(statistics).execute(connection)?;
    }
    if !batch.resolved.is_empty() {
        let offsets: Vec<i64> = batch.resolved.iter().map(|offset| offset.0).collect();
        statements::delete_unknown(assignment, json(&offsets)?).execute(connection)?;
    }
    let unknown: Vec<UnknownRow> =
        batch.unknown.iter().map(|record| UnknownRow::new(assignment, record)).collect();
    insert(connection, &unknown)?;
    Ok(Applied::Done {
        receptions: received.receptions,
        gaps_opened: received.gaps_opened,
        gaps_closed: received.gaps_closed,
    })
}

fn received_before(connection: &mut SqliteConnection, events: &[Event]) -> Result<ReceivedBefore, Failure> {
    let keys: Vec<(&str, i64)> =
        events.iter().map(|event| (event.order.order_id.as_str(), event.sequence)).collect();
    let rows: Vec<(String, i64, Vec<u8>)> = statements::received_events(json(&keys)?).load(connection)?;
    let received = |(order_id, sequence, event_id): (String, i64, Vec<u8>)| {
        let event_id = parse_event_id("inbox_events", &order_id, "event_id", &event_id)?;
        Ok(((parse("inbox_events", &order_id)?, sequence), event_id))
    };
    let known = rows.into_iter().map(received).collect::<Result<HashMap<_, _>, Failure>>()?;
    let ids: BTreeSet<&str> = events.iter().map(|event| event.order.order_id.as_str()).collect();
    let rows: Vec<OrderProgressRow> = statements::order_progress(json(&ids)?).load(connection)?;
    let progress = |row: OrderProgressRow| {
        let key = row.order_id.clone();
        OrderProgress::try_from(row).map_err(|fault| Failure::row("inbox_orders", &key, &fault))
    };
    let orders = rows.into_iter().map(progress).collect::<Result<_, Failure>>()?;
    Ok(ReceivedBefore { events: known, orders })
}

fn parse(table: &str, order_id: &str) -> Result<OrderId, Failure> {
    let invalid = |why| Failure::Inconsistent(format!("{table} {order_id:?}: order_id {why}"));
    OrderId::parse(order_id).map_err(invalid)
}

fn parse_event_id(table: &str, order_id: &str, column: &str, bytes: &[u8]) -> Result<EventId, Failure> {
    event_id_of(column, bytes).map_err(|fault| Failure::row(table, order_id, &fault))
}

fn gaps(connection: &mut SqliteConnection, limit: usize) -> Result<Gaps, Failure> {
    let orders: i64 = statements::count_gaps().get_result(connection)?;
    let rows: Vec<(String, i64, i64)> = statements::gaps(limit).load(connection)?;
    let gap = |(order_id, missing, highest): (String, i64, i64)| {
        Ok(Gap { order_id: parse("inbox_orders", &order_id)?, missing, highest })
    };
    let first = rows.into_iter().map(gap).collect::<Result<_, Failure>>()?;
    Ok(Gaps { orders: u64::try_from(orders).unwrap_or_default(), first })
}

fn conflicts(connection: &mut SqliteConnection, limit: usize) -> Result<Conflicts, Failure> {
    let events: i64 = statements::count_conflicts().get_result(connection)?;
    let rows: Vec<(String, i64, Vec<u8>, Vec<u8>)> = statements::conflicts(limit).load(connection)?;
    let conflict = |(order_id, sequence, event_id, applied): (String, i64, Vec<u8>, Vec<u8>)| {
        let id = |column, bytes: &[u8]| parse_event_id("inbox_conflicts", &order_id, column, bytes);
        Ok(Conflict {
            order_id: parse("inbox_conflicts", &order_id)?,
            sequence,
            applied: id("applied_event_id", &applied)?,
            event_id: id("event_id", &event_id)?,
        })
    };
    let first = rows.into_iter().map(conflict).collect::<Result<_, Failure>>()?;
    Ok(Conflicts { events: u64::try_from(events).unwrap_or_default(), first })
}
