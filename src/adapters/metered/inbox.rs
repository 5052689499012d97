use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::{Counter, counter, gauge};

use super::names;
use crate::ports::{
    Applied, DayStatistics, Gaps, Inbox, Intake, Offset, PortError, Progress, Share, StatisticsFilter,
    StatisticsPage,
};

/// An [`Inbox`] that counts what another one takes in.
pub struct MeteredInbox {
    inbox: Arc<dyn Inbox>,
    applied: Counter,
    duplicates: Counter,
    unknown: Counter,
    opened: Counter,
    filled: Counter,
    fenced: Counter,
}

impl MeteredInbox {
    /// Measures that inbox.
    pub fn new(inbox: Arc<dyn Inbox>) -> Self {
        Self {
            inbox,
            applied: counter!(names::EVENTS_APPLIED),
            duplicates: counter!(names::EVENTS_DUPLICATE),
            unknown: counter!(names::EVENTS_UNKNOWN),
            opened: counter!(names::GAPS_OPENED),
            filled: counter!(names::GAPS_FILLED),
            fenced: counter!(names::CONSUMER_FENCED),
        }
    }
}

#[async_trait]
impl Inbox for MeteredInbox {
    async fn share(
        &self,
        source: &str,
        partitions: &BTreeSet<u32>,
        consumer: &str,
        time_to_live: Duration,
    ) -> Result<Vec<Share>, PortError> {
        let shares = self.inbox.share(source, partitions, consumer, time_to_live).await?;
        gauge!(names::CONSUMER_PARTITIONS).set(u32::try_from(shares.len()).unwrap_or(u32::MAX));
        Ok(shares)
    }

    async fn leave(&self, source: &str, consumer: &str) -> Result<(), PortError> {
        gauge!(names::CONSUMER_PARTITIONS).set(0);
        self.inbox.leave(source, consumer).await
    }

    async fn apply(&self, share: &Share, intake: &Intake) -> Result<Applied, PortError> {
        let applied = self.inbox.apply(share, intake).await?;
        match &applied {
            Applied::Fenced => self.fenced.increment(1),
            Applied::Done { fresh, opened, filled } => {
                let new = fresh.iter().filter(|fresh| **fresh).count() as u64;
                self.applied.increment(new);
                self.duplicates.increment(fresh.len() as u64 - new);
                self.unknown.increment(intake.unknown.len() as u64);
                self.opened.increment(*opened);
                self.filled.increment(*filled);
            }
        }
        Ok(applied)
    }

    async fn rewind(&self, source: &str, partition: u32, to: Offset) -> Result<(), PortError> {
        self.inbox.rewind(source, partition, to).await
    }

    async fn progress(&self, source: &str) -> Result<Vec<Progress>, PortError> {
        self.inbox.progress(source).await
    }

    async fn gaps(&self, limit: usize) -> Result<Gaps, PortError> {
        self.inbox.gaps(limit).await
    }

    async fn statistics(
        &self,
        filter: &StatisticsFilter,
        page: &StatisticsPage,
    ) -> Result<Vec<DayStatistics>, PortError> {
        self.inbox.statistics(filter, page).await
    }
}
