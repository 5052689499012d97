use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::{Counter, counter, gauge};

use super::names;
use crate::domain::{DayStatistics, OrderId, Reception};
use crate::ports::{
    Applied, Assignment, AssignmentRule, Conflicts, Gaps, Inbox, InboxBatch, Offset, PortError, Progress,
    ReceptionRule, StatisticsFilter, StatisticsPage, UndecodedRecord,
};

/// An [`Inbox`] that counts applied events, gaps and conflicts.
pub struct MeteredInbox {
    inbox: Arc<dyn Inbox>,
    applied: Counter,
    duplicates: Counter,
    conflicts: Counter,
    unknown: Counter,
    gaps_opened: Counter,
    gaps_closed: Counter,
    fenced: Counter,
}

impl MeteredInbox {
    /// Wraps an inbox.
    pub fn new(inbox: Arc<dyn Inbox>) -> Self {
        Self {
            inbox,
            applied: counter!(names::EVENTS_APPLIED),
            duplicates: counter!(names::EVENTS_DUPLICATE),
            conflicts: counter!(names::EVENTS_CONFLICTING),
            unknown: counter!(names::EVENTS_UNKNOWN),
            gaps_opened: counter!(names::GAPS_OPENED),
            gaps_closed: counter!(names::GAPS_FILLED),
            fenced: counter!(names::CONSUMER_FENCED),
        }
    }
}

#[async_trait]
impl Inbox for MeteredInbox {
    async fn assign(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
        rule: AssignmentRule,
    ) -> Result<Vec<Assignment>, PortError> {
        let assignments = self.inbox.assign(source, partitions, consumer, time_to_live, rule).await?;
        gauge!(names::CONSUMER_PARTITIONS).set(u32::try_from(assignments.len()).unwrap_or(u32::MAX));
        Ok(assignments)
    }

    async fn release(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        gauge!(names::CONSUMER_PARTITIONS).set(0);
        self.inbox.release(source, consumer).await
    }

    async fn apply(
        &self,
        assignment: &Assignment,
        batch: &InboxBatch,
        rule: ReceptionRule,
    ) -> Result<Applied, PortError> {
        let applied = self.inbox.apply(assignment, batch, rule).await?;
        match &applied {
            Applied::Fenced => self.fenced.increment(1),
            Applied::Done { receptions, gaps_opened, gaps_closed } => {
                for reception in receptions {
                    match reception {
                        Reception::First => self.applied.increment(1),
                        Reception::Repeated => self.duplicates.increment(1),
                        Reception::Conflict { .. } => self.conflicts.increment(1),
                    }
                }
                self.unknown.increment(batch.unknown.len() as u64);
                self.gaps_opened.increment(*gaps_opened);
                self.gaps_closed.increment(*gaps_closed);
            }
        }
        Ok(applied)
    }

    async fn unknown_events(
        &self,
        source: &str,
        partition: u32,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Vec<UndecodedRecord>, PortError> {
        self.inbox.unknown_events(source, partition, after, limit).await
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        self.inbox.rewind(source, partition, to).await
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        self.inbox.progress(source).await
    }

    async fn known_events(&self, events: &[(OrderId, i64)]) -> Result<HashSet<(OrderId, i64)>, PortError> {
        self.inbox.known_events(events).await
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        self.inbox.gaps(limit).await
    }

    async fn conflicts(&self, limit: usize) -> Result<Conflicts, PortError> {
        self.inbox.conflicts(limit).await
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        self.inbox.statistics(filter, page).await
    }
}
