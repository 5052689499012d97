//! The inbox in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::{
    Day, DayStatistics, Event, EventId, OrderId, OrderProgress, PartitionClaim, PartitionLease,
    PickupPointId, ReceivedBefore,
};
use crate::ports::{
    Applied, Assignment, AssignmentRule, Conflict, Conflicts, Gap, Gaps, Inbox, InboxBatch, LastEvent,
    Offset, PortError, Progress, ReceptionRule, StatisticsFilter, StatisticsPage, UndecodedRecord,
};

impl MemoryStore {
    /// Locks the inbox. Ignores poisoning: no change of the inbox can panic
    /// halfway.
    fn inbox(&self) -> MutexGuard<'_, InboxState> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Inbox for MemoryStore {
    async fn assign(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
        rule: AssignmentRule,
    ) -> Result<Vec<Assignment>, PortError> {
        Ok(self.inbox().assign(source, partitions, consumer, time_to_live, rule))
    }

    async fn release(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        self.inbox().release(source, consumer);
        Ok(())
    }

    async fn apply(
        &self,
        assignment: &Assignment,
        batch: &InboxBatch,
        rule: ReceptionRule,
    ) -> Result<Applied, PortError> {
        Ok(self.inbox().apply(assignment, batch, rule))
    }

    async fn unknown_events(
        &self,
        source: &str,
        partition: u32,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Vec<UndecodedRecord>, PortError> {
        Ok(self.inbox().unknown_events(source, partition, after, limit))
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        self.inbox().rewind(source, partition, to);
        Ok(())
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        Ok(self.inbox().progress(source))
    }

    async fn known_events(&self, events: &[(OrderId, i64)]) -> Result<HashSet<(OrderId, i64)>, PortError> {
        let inbox = self.inbox();
        Ok(events.iter().filter(|key| inbox.events.contains_key(*key)).cloned().collect())
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        Ok(self.inbox().gaps(limit))
    }

    async fn conflicts(&self, limit: usize) -> Result<Conflicts, PortError> {
        Ok(self.inbox().conflicts(limit))
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        Ok(self.inbox().statistics(filter, page))
    }
}

/// A partition of a source.
#[derive(Debug)]
struct Partition {
    lease: PartitionLease,
    position: Option<Offset>,
    last_event: Option<LastEvent>,
}

impl Partition {
    fn new(number: u32) -> Self {
        Self { lease: PartitionLease::unassigned(number), position: None, last_event: None }
    }
}

/// The contents of the inbox. Instants are microseconds since it was created.
#[derive(Debug)]
pub(super) struct InboxState {
    created: Instant,
    partitions: HashMap<String, BTreeMap<u32, Partition>>,
    /// By source and consumer, the instant at which the registration expires.
    consumers: HashMap<String, HashMap<String, i64>>,
    events: BTreeMap<(OrderId, i64), Event>,
    /// By order, sequence and id.
    conflicts: BTreeMap<(OrderId, i64, EventId), Conflict>,
    orders: BTreeMap<OrderId, OrderProgress>,
    days: BTreeMap<(PickupPointId, Reverse<Day>, String), DayStatistics>,
    /// By source, partition and offset.
    unknown: BTreeMap<(String, u32, Offset), UndecodedRecord>,
}

impl Default for InboxState {
    fn default() -> Self {
        Self {
            created: Instant::now(),
            partitions: HashMap::new(),
            consumers: HashMap::new(),
            events: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            orders: BTreeMap::new(),
            days: BTreeMap::new(),
            unknown: BTreeMap::new(),
        }
    }
}

impl InboxState {
    fn now(&self) -> i64 {
        i64::try_from(self.created.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn assign(
        &mut self,
        source: &str,
        requested: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
        rule: AssignmentRule,
    ) -> Vec<Assignment> {
        let now = self.now();
        let expires_at = now.saturating_add(i64::try_from(time_to_live.as_micros()).unwrap_or(i64::MAX));
        let consumers = self.consumers.entry(source.to_owned()).or_default();
        consumers.insert(consumer.to_owned(), expires_at);
        consumers.retain(|_, expires_at| *expires_at > now);
        let claim =
            PartitionClaim { consumer: consumer.to_owned(), consumers: consumers.len(), now, expires_at };
        let partitions = self.partitions.entry(source.to_owned()).or_default();
        for number in requested {
            partitions.entry(*number).or_insert_with(|| Partition::new(*number));
        }
        let leases = partitions.iter().filter(|(number, _)| requested.contains(number));
        let leases: Vec<PartitionLease> = leases.map(|(_, partition)| partition.lease.clone()).collect();
        for lease in rule(&leases, &claim) {
            if let Some(partition) = partitions.get_mut(&lease.partition) {
                partition.lease = lease;
            }
        }
        let assigned = partitions.values().filter(|partition| {
            requested.contains(&partition.lease.partition)
                && partition.lease.consumer.as_deref() == Some(consumer)
        });
        let assignment = |partition: &Partition| Assignment {
            source: source.to_owned(),
            partition: partition.lease.partition,
            consumer: consumer.to_owned(),
            fencing_token: partition.lease.fencing_token,
            position: partition.position,
            last_event: partition.last_event,
        };
        assigned.map(assignment).collect()
    }

    fn release(&mut self, source: &str, consumer: &str) {
        for partition in self.partitions.entry(source.to_owned()).or_default().values_mut() {
            partition.lease.consumer.take_if(|holder| holder == consumer);
        }
        self.consumers.entry(source.to_owned()).or_default().remove(consumer);
    }

    fn apply(&mut self, assignment: &Assignment, batch: &InboxBatch, rule: ReceptionRule) -> Applied {
        let partitions = self.partitions.get_mut(&assignment.source);
        let partition = partitions.and_then(|partitions| partitions.get_mut(&assignment.partition));
        let holds = |lease: &PartitionLease| {
            lease.fencing_token == assignment.fencing_token
                && lease.consumer.as_deref() == Some(assignment.consumer.as_str())
        };
        let Some(partition) = partition.filter(|partition| holds(&partition.lease)) else {
            return Applied::Fenced;
        };
        partition.position = batch.next.or(partition.position);
        partition.last_event = batch.last_event.or(partition.last_event);
        let key = |event: &Event| (event.order.order_id.clone(), event.sequence);
        let ids: BTreeSet<&OrderId> = batch.events.iter().map(|event| &event.order.order_id).collect();
        let known = |key: (OrderId, i64)| {
            let event_id = self.events.get(&key)?.event_id;
            Some((key, event_id))
        };
        let before = ReceivedBefore {
            events: batch.events.iter().map(key).filter_map(known).collect(),
            orders: ids.into_iter().filter_map(|order_id| self.orders.get(order_id)).cloned().collect(),
        };
        let received = rule(&batch.events, &before);
        self.events.extend(received.first(&batch.events).map(|event| (key(event), event.clone())));
        for (event, applied) in received.conflicts(&batch.events) {
            let (order_id, sequence) = key(event);
            let conflict =
                Conflict { order_id: order_id.clone(), sequence, applied, event_id: event.event_id };
            self.conflicts.insert((order_id, sequence, event.event_id), conflict);
        }
        self.orders.extend(received.orders.into_iter().map(|order| (order.order_id.clone(), order)));
        for statistics in received.statistics {
            self.add(statistics);
        }
        let unknown_key = |offset: Offset| (assignment.source.clone(), assignment.partition, offset);
        for offset in &batch.resolved {
            self.unknown.remove(&unknown_key(*offset));
        }
        self.unknown.extend(batch.unknown.iter().map(|record| (unknown_key(record.offset), record.clone())));
        Applied::Done {
            receptions: received.receptions,
            gaps_opened: received.gaps_opened,
            gaps_closed: received.gaps_closed,
        }
    }

    fn add(&mut self, statistics: DayStatistics) {
        let key = (statistics.pickup_point_id.clone(), Reverse(statistics.day), statistics.currency.clone());
        match self.days.get_mut(&key) {
            Some(day) => *day += &statistics,
            None => _ = self.days.insert(key, statistics),
        }
    }

    fn unknown_events(
        &self,
        source: &str,
        partition: u32,
        after: Option<Offset>,
        limit: usize,
    ) -> Vec<UndecodedRecord> {
        let key = |offset| (source.to_owned(), partition, offset);
        let first = after.map_or(Bound::Included(key(Offset(i64::MIN))), |after| Bound::Excluded(key(after)));
        let range = self.unknown.range((first, Bound::Included(key(Offset(i64::MAX)))));
        range.take(limit).map(|(_, record)| record.clone()).collect()
    }

    fn rewind(&mut self, source: &str, number: u32, to: Offset) {
        let partitions = self.partitions.entry(source.to_owned()).or_default();
        let partition = partitions.entry(number).or_insert_with(|| Partition::new(number));
        partition.position = Some(to);
        partition.last_event = None;
        partition.lease.consumer = None;
        partition.lease.fencing_token += 1;
    }

    fn progress(&self, source: &str) -> Vec<Progress> {
        let now = self.now();
        let partitions = self.partitions.get(source).into_iter().flat_map(BTreeMap::values);
        let progress = |partition: &Partition| Progress {
            partition: partition.lease.partition,
            position: partition.position,
            last_event: partition.last_event,
            consumer: partition.lease.holder(now).map(str::to_owned),
        };
        partitions.map(progress).collect()
    }

    fn gaps(&self, limit: usize) -> Gaps {
        let with_gap = || self.orders.values().filter(|order| order.has_gap());
        let gap = |order: &OrderProgress| {
            let missing = (1..=order.highest)
                .find(|sequence| !self.events.contains_key(&(order.order_id.clone(), *sequence)))?;
            Some(Gap { order_id: order.order_id.clone(), missing, highest: order.highest })
        };
        Gaps { orders: with_gap().count() as u64, first: with_gap().take(limit).filter_map(gap).collect() }
    }

    fn conflicts(&self, limit: usize) -> Conflicts {
        Conflicts {
            events: self.conflicts.len() as u64,
            first: self.conflicts.values().take(limit).cloned().collect(),
        }
    }

    fn statistics(&self, filter: &StatisticsFilter, page: &StatisticsPage) -> Vec<DayStatistics> {
        let after = page.after.clone().map(|(point, day, currency)| (point, Reverse(day), currency));
        let matches = |day: &DayStatistics| {
            filter.pickup_point_id.as_ref().is_none_or(|point| *point == day.pickup_point_id)
                && filter.first_day.is_none_or(|first| day.day >= first)
                && filter.last_day.is_none_or(|last| day.day <= last)
        };
        let days = self.days.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
        days.map(|(_, day)| day).filter(|day| matches(day)).take(page.limit).cloned().collect()
    }
}
