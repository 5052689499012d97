//! The reader of one partition, for the duration of its assignment.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ingest_options::IngestOptions;
use super::ingest_progress::{Activity, IngestProgress};
use super::log_identity::{LogIdentity, OtherLog, check_log};
use crate::domain::{Event, Reception, receive_events};
use crate::ports::{
    Applied, Assignment, EventSource, Fetched, Inbox, InboxBatch, LastEvent, Offset, Outage, PortError,
    RecordContent, SourceRecord, UndecodedRecord, chain,
};

/// The pause between fetches at the end of a partition, for a source that does
/// not wait for new records itself.
const IDLE: Duration = Duration::from_millis(50);

/// Counts of what a consumer has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ingested {
    /// Records read.
    pub records: u64,
    /// Events applied.
    pub applied: u64,
    /// Events that had been applied before.
    pub duplicates: u64,
    /// Events put aside because another event with the same order and sequence had been applied.
    pub conflicts: u64,
    /// Events kept for a later release that can read them.
    pub unknown: u64,
    /// Records written to the dead letters.
    pub dead_letters: u64,
    /// Offsets stepped over because the client of the source cannot decode them.
    pub unreadable: u64,
}

impl std::ops::AddAssign for Ingested {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.applied += more.applied;
        self.duplicates += more.duplicates;
        self.conflicts += more.conflicts;
        self.unknown += more.unknown;
        self.dead_letters += more.dead_letters;
        self.unreadable += more.unreadable;
    }
}

impl Ingested {
    /// Counts events by their effect.
    fn events(receptions: &[Reception]) -> Self {
        let mut counts = Self::default();
        for reception in receptions {
            match reception {
                Reception::First => counts.applied += 1,
                Reception::Repeated => counts.duplicates += 1,
                Reception::Conflict { .. } => counts.conflicts += 1,
            }
        }
        counts
    }
}

/// The reason why reading a partition ended.
#[derive(Debug)]
pub(super) enum PartitionEnd {
    /// Stop was requested, or the lease was lost.
    Stopped,
    /// The end that the partition had at the beginning was reached.
    Reached,
    /// The source is not the log that was read before.
    OtherLog(OtherLog),
}

/// Reads a partition.
pub(super) struct IngestPartition {
    source: Arc<dyn EventSource>,
    inbox: Arc<dyn Inbox>,
    options: Arc<IngestOptions>,
    assignment: Assignment,
    progress: IngestProgress,
    ingested: Ingested,
    /// The end of the partition at the first fetch.
    goal: Option<Offset>,
    /// True if the kept unknown events were decoded again.
    unknown_retried: bool,
    /// The time of the first check that found the last event missing.
    missing_since: Option<Instant>,
    outage: Outage,
}

/// A batch, sorted by content.
struct SortedBatch {
    batch: InboxBatch,
    /// The offset of each event.
    offsets: Vec<Offset>,
    undecodable: Vec<UndecodedRecord>,
    /// The offsets that the client of the source cannot decode, with the causes.
    unreadable: Vec<(Offset, String)>,
}

impl IngestPartition {
    pub(super) fn new(
        source: Arc<dyn EventSource>,
        inbox: Arc<dyn Inbox>,
        options: Arc<IngestOptions>,
        assignment: Assignment,
        progress: IngestProgress,
    ) -> Self {
        Self {
            source,
            inbox,
            options,
            assignment,
            progress,
            ingested: Ingested::default(),
            goal: None,
            unknown_retried: false,
            missing_since: None,
            outage: Outage::default(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> (Assignment, PartitionEnd, Ingested) {
        let mut pause = self.options.first_backoff;
        let activity = Activity::Read(self.assignment.partition);
        self.progress.record(activity);
        let end = loop {
            match self.read(&stop).await {
                Ok(end) => break end,
                Err(error) => {
                    self.progress.record_failure(activity, &error);
                    let (partition, cause) = (self.assignment.partition, chain(&error));
                    if self.outage.is_new(&cause) {
                        tracing::warn!(partition, cause, "partition failed, backing off");
                    } else {
                        tracing::debug!(partition, cause, "partition failed, backing off");
                    }
                }
            }
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break PartitionEnd::Stopped;
            }
            pause = (pause * 2).min(self.options.last_backoff);
        };
        self.progress.end(activity);
        (self.assignment, end, self.ingested)
    }

    /// Reads until stopped, until the end with `once`, or until a call fails. A
    /// batch that was fetched and not applied is fetched again.
    async fn read(&mut self, stop: &CancellationToken) -> Result<PartitionEnd, PortError> {
        let partition = self.assignment.partition;
        if let Some(other) = self.check_log().await? {
            return Ok(PartitionEnd::OtherLog(other));
        }
        if !self.unknown_retried && !self.retry_unknown(stop).await? {
            return Ok(PartitionEnd::Stopped);
        }
        let mut next = match self.assignment.position {
            Some(position) => position,
            None => self.source.begin(partition, self.options.start).await?,
        };
        loop {
            let fetch = self.source.fetch(partition, next, self.options.batch);
            let Some(fetched) = stop.run_until_cancelled(fetch).await else {
                return Ok(PartitionEnd::Stopped);
            };
            let fetched = fetched?;
            if fetched.first != next {
                if let Some(other) = self.check_log().await? {
                    return Ok(PartitionEnd::OtherLog(other));
                }
                self.warn_of_jump(next, fetched.first);
            }
            let end = fetched.end;
            let goal = *self.goal.get_or_insert(end);
            let is_idle = fetched.records.is_empty() && fetched.next == next;
            if !is_idle || self.assignment.position.is_none() {
                if !self.apply_fetched(fetched).await? {
                    return Ok(PartitionEnd::Stopped);
                }
                next = self.assignment.position.unwrap_or(next);
            }
            self.progress.record(Activity::Read(partition));
            if let Some(failures) = self.outage.end() {
                tracing::info!(partition, failures, "partition recovered");
            }
            if self.options.once && next >= goal {
                return Ok(PartitionEnd::Reached);
            }
            if is_idle && stop.run_until_cancelled(sleep(IDLE)).await.is_none() {
                return Ok(PartitionEnd::Stopped);
            }
        }
    }

    /// Checks that the source is the log in which the position was saved. Runs when reading begins,
    /// after each failure, and when the source does not have the requested offset. Returns the
    /// error if the source is another log.
    async fn check_log(&mut self) -> Result<Option<OtherLog>, PortError> {
        let Some(last_event) = self.assignment.last_event else { return Ok(None) };
        let identity = check_log(&*self.source, self.assignment.partition, last_event).await?;
        let now = Instant::now();
        match identity {
            LogIdentity::Same => {
                self.missing_since = None;
                Ok(None)
            }
            LogIdentity::Other(other) => Ok(Some(other)),
            LogIdentity::Missing(other)
                if now - *self.missing_since.get_or_insert(now) >= self.options.missing_grace =>
            {
                Ok(Some(other))
            }
            LogIdentity::Missing(other) => {
                Err(PortError::unavailable("the last event is missing, looking again", other))
            }
        }
    }

    /// Logs that the source does not have the requested offset.
    fn warn_of_jump(&self, requested: Offset, first: Offset) {
        let partition = self.assignment.partition;
        let (requested, first) = (requested.0, first.0);
        tracing::warn!(partition, requested, first, "offset is no longer retained, continuing at another");
    }

    /// Applies the unknown events that an earlier release kept and this one can
    /// read, in the order of their offsets. Returns false if stopped or if the
    /// lease was lost.
    async fn retry_unknown(&mut self, stop: &CancellationToken) -> Result<bool, PortError> {
        let partition = self.assignment.partition;
        let mut after = None;
        while !stop.is_cancelled() {
            let (source, limit) = (self.assignment.source.as_str(), self.options.batch);
            let records = self.inbox.unknown_events(source, partition, after, limit).await?;
            let Some(last) = records.last() else {
                self.unknown_retried = true;
                return Ok(true);
            };
            after = Some(last.offset);
            let decoded = records
                .into_iter()
                .map(|record| SourceRecord { offset: record.offset, content: self.source.decode(record) });
            // Events that are still unknown stay kept.
            let decoded = decoded.filter(|record| !matches!(record.content, RecordContent::Unknown(_)));
            let SortedBatch { mut batch, offsets, undecodable, .. } = sort(decoded);
            batch.resolved =
                offsets.iter().copied().chain(undecodable.iter().map(|record| record.offset)).collect();
            if batch.resolved.is_empty() {
                continue;
            }
            self.write_dead_letters(&undecodable).await?;
            let Some(receptions) = self.apply(&batch).await? else { return Ok(false) };
            for ((event, offset), reception) in batch.events.iter().zip(offsets).zip(&receptions) {
                log_conflict(event, partition, offset, *reception);
            }
            let ingested = Ingested::events(&receptions);
            let events = ingested.applied;
            tracing::info!(partition, events, "applied events that an earlier release could not read");
            self.ingested += Ingested { dead_letters: undecodable.len() as u64, ..ingested };
        }
        Ok(false)
    }

    /// Applies a batch. Returns false if the lease was lost.
    async fn apply_fetched(&mut self, fetched: Fetched) -> Result<bool, PortError> {
        let (partition, records) = (self.assignment.partition, fetched.records.len() as u64);
        let lag = fetched.end.0.saturating_sub(fetched.next.0);
        let next = fetched.next;
        let SortedBatch { mut batch, offsets, undecodable, unreadable } = sort(fetched.records);
        batch.next = Some(next);
        batch.last_event = batch
            .events
            .last()
            .zip(offsets.last())
            .map(|(event, offset)| LastEvent { offset: *offset, event_id: event.event_id });
        self.write_dead_letters(&undecodable).await?;
        let Some(receptions) = self.apply(&batch).await? else { return Ok(false) };
        for (offset, cause) in &unreadable {
            tracing::warn!(partition, offset = offset.0, cause, "offset cannot be decoded, stepping over it");
        }
        for ((event, offset), reception) in batch.events.iter().zip(offsets).zip(&receptions) {
            log(event, partition, offset, *reception, lag);
        }
        self.assignment.position = Some(next);
        self.assignment.last_event = batch.last_event.or(self.assignment.last_event);
        self.ingested += Ingested {
            records: records - unreadable.len() as u64,
            unknown: batch.unknown.len() as u64,
            dead_letters: undecodable.len() as u64,
            unreadable: unreadable.len() as u64,
            ..Ingested::events(&receptions)
        };
        Ok(true)
    }

    /// Writes undecodable records to the dead letters of the source.
    async fn write_dead_letters(&self, records: &[UndecodedRecord]) -> Result<(), PortError> {
        if records.is_empty() {
            return Ok(());
        }
        let partition = self.assignment.partition;
        for record in records {
            let (offset, cause) = (record.offset.0, record.cause.as_str());
            tracing::error!(partition, offset, cause, "record is not an event, writing a dead letter");
        }
        self.source.write_dead_letters(partition, records).await
    }

    /// Applies a batch to the inbox. Returns the effect of each event, or `None` if
    /// the lease was lost.
    async fn apply(&self, batch: &InboxBatch) -> Result<Option<Vec<Reception>>, PortError> {
        let partition = self.assignment.partition;
        match self.inbox.apply(&self.assignment, batch, receive_events).await? {
            Applied::Fenced => {
                tracing::info!(partition, "lease lost, another consumer reads the partition");
                Ok(None)
            }
            Applied::Done { receptions, gaps_opened, gaps_closed } => {
                if gaps_opened > 0 {
                    tracing::warn!(partition, orders = gaps_opened, "gaps opened in the sequences of orders");
                }
                if gaps_closed > 0 {
                    tracing::info!(partition, orders = gaps_closed, "gaps closed in the sequences of orders");
                }
                Ok(Some(receptions))
            }
        }
    }
}

/// Sorts records by content. Leaves `resolved`, `next` and `last_event` empty.
fn sort(records: impl IntoIterator<Item = SourceRecord>) -> SortedBatch {
    let mut sorted = SortedBatch {
        batch: InboxBatch::default(),
        offsets: Vec::new(),
        undecodable: Vec::new(),
        unreadable: Vec::new(),
    };
    for record in records {
        match record.content {
            RecordContent::Event(event) => {
                sorted.batch.events.push(*event);
                sorted.offsets.push(record.offset);
            }
            RecordContent::Unknown(unknown) => sorted.batch.unknown.push(unknown),
            RecordContent::Undecodable(undecodable) => sorted.undecodable.push(undecodable),
            RecordContent::Unreadable(cause) => sorted.unreadable.push((record.offset, cause)),
        }
    }
    sorted
}

/// Logs an event: its ids, never its body.
fn log(event: &Event, partition: u32, offset: Offset, reception: Reception, lag: i64) {
    log_conflict(event, partition, offset, reception);
    tracing::info!(
        order_id = event.order.order_id.as_str(),
        sequence = event.sequence,
        event_type = ?event.event_type,
        event_id = %event.event_id,
        partition,
        offset = offset.0,
        is_first = reception == Reception::First,
        lag,
        "event received"
    );
}

/// Warns of an event that conflicts with an applied one.
fn log_conflict(event: &Event, partition: u32, offset: Offset, reception: Reception) {
    if let Reception::Conflict { applied } = reception {
        tracing::warn!(
            order_id = event.order.order_id.as_str(),
            sequence = event.sequence,
            applied_event_id = %applied,
            event_id = %event.event_id,
            partition,
            offset = offset.0,
            "another event with this order and sequence was applied, putting this one aside"
        );
    }
}
