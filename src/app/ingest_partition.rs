//! One partition of a consumer, for as long as it is lent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{IngestOptions, Ingested};
use crate::domain::Event;
use crate::ports::{
    Applied, Content, EventSource, Fetched, Inbox, Intake, Offset, PortError, Share, Undecodable, chain,
};

/// How often the end of a partition is looked at when the source does not wait
/// by itself.
const IDLE: Duration = Duration::from_millis(50);

/// Why reading a partition ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartitionEnd {
    /// Asked to stop, or the lease was lost.
    Left,
    /// The end that the partition had at the beginning.
    Reached,
}

/// Reads a partition.
pub(super) struct IngestPartition {
    source: Arc<dyn EventSource>,
    inbox: Arc<dyn Inbox>,
    options: Arc<IngestOptions>,
    share: Share,
    done: Ingested,
    /// Where to stop, once it is known.
    goal: Option<Offset>,
}

/// A batch, sorted by what can be done with it.
struct Sorted {
    intake: Intake,
    /// Where each event stood.
    offsets: Vec<Offset>,
    undecodable: Vec<Undecodable>,
}

impl IngestPartition {
    pub(super) fn new(
        source: Arc<dyn EventSource>,
        inbox: Arc<dyn Inbox>,
        options: Arc<IngestOptions>,
        share: Share,
    ) -> Self {
        Self { source, inbox, options, share, done: Ingested::default(), goal: None }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> (Share, PartitionEnd, Ingested) {
        let mut pause = self.options.first_backoff;
        let end = loop {
            match self.read(&stop).await {
                Ok(end) => break end,
                Err(error) => {
                    let partition = self.share.partition;
                    tracing::warn!(partition, cause = chain(&error), "reading failed, and is tried again");
                }
            }
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break PartitionEnd::Left;
            }
            pause = (pause * 2).min(self.options.last_backoff);
        };
        (self.share, end, self.done)
    }

    /// Reads until told to stop, or to the end, or until something fails. What
    /// was fetched and not applied is fetched again.
    async fn read(&mut self, stop: &CancellationToken) -> Result<PartitionEnd, PortError> {
        let partition = self.share.partition;
        let mut next = match self.share.position {
            Some(position) => position,
            None => self.source.begin(partition, self.options.start).await?,
        };
        loop {
            let fetch = self.source.fetch(partition, next, self.options.batch);
            let Some(fetched) = stop.run_until_cancelled(fetch).await else { return Ok(PartitionEnd::Left) };
            let fetched = fetched?;
            self.check_begin(next, &fetched);
            let end = fetched.end;
            let goal = *self.goal.get_or_insert(end);
            let nothing_new = fetched.records.is_empty() && fetched.next == next;
            if !nothing_new || self.share.position.is_none() {
                if !self.take(fetched).await? {
                    return Ok(PartitionEnd::Left);
                }
                next = self.share.position.unwrap_or(next);
            }
            if self.options.once && next >= goal {
                return Ok(PartitionEnd::Reached);
            }
            if nothing_new && stop.run_until_cancelled(sleep(IDLE)).await.is_none() {
                return Ok(PartitionEnd::Left);
            }
        }
    }

    /// What the source no longer has is missed, and said.
    fn check_begin(&self, asked: Offset, fetched: &Fetched) {
        if fetched.first != asked {
            let partition = self.share.partition;
            let (asked, first) = (asked.0, fetched.first.0);
            tracing::warn!(
                partition,
                asked,
                first,
                "the source no longer has that offset: going on elsewhere"
            );
        }
    }

    /// Takes a batch in; tells whether the partition is still lent.
    async fn take(&mut self, fetched: Fetched) -> Result<bool, PortError> {
        let (partition, records) = (self.share.partition, fetched.records.len() as u64);
        let lag = fetched.end.0.saturating_sub(fetched.next.0);
        let Sorted { intake, offsets, undecodable } = sort(fetched);
        if !undecodable.is_empty() {
            for record in &undecodable {
                let (offset, cause) = (record.offset.0, record.cause.as_str());
                tracing::error!(partition, offset, cause, "a record is no event: it is put aside");
            }
            self.source.set_aside(partition, &undecodable).await?;
        }
        let (fresh, opened, filled) = match self.inbox.apply(&self.share, &intake).await? {
            Applied::Fenced => {
                tracing::info!(partition, "another consumer reads the partition by now");
                return Ok(false);
            }
            Applied::Done { fresh, opened, filled } => (fresh, opened, filled),
        };
        if opened > 0 {
            tracing::warn!(partition, orders = opened, "events are missing in the sequence of orders");
        }
        if filled > 0 {
            tracing::info!(partition, orders = filled, "missing events came: the sequences are whole");
        }
        for ((event, offset), fresh) in intake.events.iter().zip(offsets).zip(&fresh) {
            log(event, partition, offset, *fresh, lag);
        }
        self.share.position = Some(intake.next);
        let new = fresh.iter().filter(|fresh| **fresh).count() as u64;
        self.done += Ingested {
            records,
            fresh: new,
            duplicates: fresh.len() as u64 - new,
            unknown: intake.unknown.len() as u64,
            set_aside: undecodable.len() as u64,
        };
        Ok(true)
    }
}

fn sort(fetched: Fetched) -> Sorted {
    let mut sorted = Sorted {
        intake: Intake { next: fetched.next, ..Intake::default() },
        offsets: Vec::new(),
        undecodable: Vec::new(),
    };
    for record in fetched.records {
        match record.content {
            Content::Event(event) => {
                sorted.intake.events.push(*event);
                sorted.offsets.push(record.offset);
            }
            Content::Unknown(unknown) => sorted.intake.unknown.push(unknown),
            Content::Undecodable(undecodable) => sorted.undecodable.push(undecodable),
        }
    }
    sorted
}

/// A line for each event: ids, never bodies.
fn log(event: &Event, partition: u32, offset: Offset, fresh: bool, lag: i64) {
    tracing::info!(
        order_id = event.order.order_id.as_str(),
        sequence = event.sequence,
        event_type = ?event.event_type,
        event_id = %event.event_id,
        partition,
        offset = offset.0,
        fresh,
        lag,
        "event"
    );
}
