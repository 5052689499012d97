//! What a consumer has read, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::MemoryStore;
use crate::adapters::rows::{PartitionRow, SeenRow, inbox};
use crate::domain::{Day, Event, OrderId, PickupPointId};
use crate::ports::{
    Applied, DayStatistics, Gap, Gaps, Inbox, Intake, Offset, PortError, Progress, Share, StatisticsFilter,
    StatisticsPage, Undecodable,
};

impl MemoryStore {
    /// Nothing can panic between two changes, so a poisoned lock protects what
    /// is whole.
    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Inbox for MemoryStore {
    async fn share(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
    ) -> Result<Vec<Share>, PortError> {
        Ok(self.read().share(source, partitions, consumer, time_to_live))
    }

    async fn leave(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        self.read().leave(source, consumer);
        Ok(())
    }

    async fn apply(&self, share: &Share, intake: &Intake) -> Result<Applied, PortError> {
        Ok(self.read().apply(share, intake))
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        self.read().rewind(source, partition, to);
        Ok(())
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        Ok(self.read().progress(source))
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        Ok(self.read().gaps(limit))
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        Ok(self.read().statistics(filter, page))
    }
}

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Read {
    began: Instant,
    partitions: HashMap<String, BTreeMap<u32, PartitionRow>>,
    consumers: HashMap<String, HashMap<String, i64>>,
    events: BTreeMap<(OrderId, i64), Event>,
    seen: BTreeMap<String, SeenRow>,
    days: BTreeMap<(PickupPointId, std::cmp::Reverse<Day>, String), DayStatistics>,
    unknown: BTreeMap<(String, u32, i64), Undecodable>,
}

impl Default for Read {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            partitions: HashMap::new(),
            consumers: HashMap::new(),
            events: BTreeMap::new(),
            seen: BTreeMap::new(),
            days: BTreeMap::new(),
            unknown: BTreeMap::new(),
        }
    }
}

impl Read {
    fn now(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    pub(super) fn share(
        &mut self,
        source: &str,
        named: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
    ) -> Vec<Share> {
        let now = self.now();
        let expires_at = now.saturating_add(i64::try_from(time_to_live.as_micros()).unwrap_or(i64::MAX));
        let consumers = self.consumers.entry(source.to_owned()).or_default();
        consumers.insert(consumer.to_owned(), expires_at);
        consumers.retain(|_, expires_at| *expires_at > now);
        let partitions = self.partitions.entry(source.to_owned()).or_default();
        for partition in named {
            partitions.entry(*partition).or_insert_with(|| PartitionRow::new(*partition));
        }
        let mut rows: Vec<PartitionRow> =
            partitions.values().filter(|row| named.contains(&row.number())).cloned().collect();
        inbox::share_out(&mut rows, consumer, consumers.len(), now, expires_at);
        let mine = rows.iter().filter(|row| row.consumer.as_deref() == Some(consumer));
        let shares = mine.map(|row| row.share(source, consumer)).collect();
        partitions.extend(rows.into_iter().map(|row| (row.number(), row)));
        shares
    }

    pub(super) fn leave(&mut self, source: &str, consumer: &str) {
        for row in self.partitions.entry(source.to_owned()).or_default().values_mut() {
            row.consumer = row.consumer.take().filter(|reader| reader != consumer);
        }
        self.consumers.entry(source.to_owned()).or_default().remove(consumer);
    }

    pub(super) fn apply(&mut self, share: &Share, intake: &Intake) -> Applied {
        let row = self.partitions.get_mut(&share.source).and_then(|rows| rows.get_mut(&share.partition));
        let led = |row: &PartitionRow| {
            row.fence == share.fence && row.consumer.as_deref() == Some(share.consumer.as_str())
        };
        let Some(row) = row.filter(|row| led(row)) else { return Applied::Fenced };
        row.position = Some(intake.next.0);
        let key = |event: &Event| (event.order.order_id.clone(), event.sequence);
        let fresh = inbox::fresh(&intake.events, |key| self.events.contains_key(key));
        let before = intake.events.iter().filter_map(|event| self.seen.get(event.order.order_id.as_str()));
        let seen = inbox::count(before.cloned().collect(), &intake.events, &fresh);
        self.seen.extend(seen.rows.into_iter().map(|row| (row.order_id.clone(), row)));
        for sums in inbox::add_up(&intake.events, &fresh) {
            self.add(sums);
        }
        let new = intake.events.iter().zip(&fresh).filter(|(_, fresh)| **fresh);
        self.events.extend(new.map(|(event, _)| (key(event), event.clone())));
        let unknown = intake.unknown.iter();
        self.unknown.extend(
            unknown.map(|record| ((share.source.clone(), share.partition, record.offset.0), record.clone())),
        );
        Applied::Done { fresh, opened: seen.opened, filled: seen.filled }
    }

    fn add(&mut self, sums: DayStatistics) {
        let key = (sums.pickup_point_id.clone(), std::cmp::Reverse(sums.day), sums.currency.clone());
        let Some(day) = self.days.get_mut(&key) else {
            self.days.insert(key, sums);
            return;
        };
        day.accepted += sums.accepted;
        day.issued += sums.issued;
        day.returned += sums.returned;
        day.handed_to_courier += sums.handed_to_courier;
        day.surcharge_minor += sums.surcharge_minor;
        day.accepted_minor += sums.accepted_minor;
        day.issued_minor += sums.issued_minor;
        day.returned_minor += sums.returned_minor;
    }

    pub(super) fn rewind(&mut self, source: &str, partition: u32, to: Offset) {
        let rows = self.partitions.entry(source.to_owned()).or_default();
        let row = rows.entry(partition).or_insert_with(|| PartitionRow::new(partition));
        row.position = Some(to.0);
        row.consumer = None;
        row.fence += 1;
    }

    pub(super) fn progress(&self, source: &str) -> Vec<Progress> {
        let now = self.now();
        let rows = self.partitions.get(source).into_iter().flat_map(BTreeMap::values);
        rows.map(|row| Progress {
            partition: row.number(),
            position: row.position.map(Offset),
            consumer: row.reader(now).map(str::to_owned),
        })
        .collect()
    }

    pub(super) fn gaps(&self, limit: usize) -> Gaps {
        let with_gaps = || self.seen.values().filter(|row| row.has_gap());
        let some = with_gaps().take(limit).filter_map(|row| {
            let order_id = OrderId::parse(&row.order_id).ok()?;
            let missing = (1..=row.highest)
                .find(|sequence| !self.events.contains_key(&(order_id.clone(), *sequence)))?;
            Some(Gap { order_id, missing, highest: row.highest })
        });
        Gaps { orders: with_gaps().count() as u64, some: some.collect() }
    }

    pub(super) fn statistics(&self, filter: &StatisticsFilter, page: &StatisticsPage) -> Vec<DayStatistics> {
        let after =
            page.after.clone().map(|(point, day, currency)| (point, std::cmp::Reverse(day), currency));
        let wanted = |day: &DayStatistics| {
            filter.pickup_point_id.as_ref().is_none_or(|point| *point == day.pickup_point_id)
                && filter.first_day.is_none_or(|first| day.day >= first)
                && filter.last_day.is_none_or(|last| day.day <= last)
        };
        let days = self.days.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
        days.map(|(_, day)| day).filter(|day| wanted(day)).take(page.limit).cloned().collect()
    }
}
