//! The consumer: takes the events of a source into an inbox, each exactly once.
//!
//! Position, events and what they add up to move in one step of the inbox, so a
//! crash anywhere reads again what was not applied, and applies nothing twice.
//! Consumers that share an inbox share the partitions by leases. It tries for
//! ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ingest_partition::{IngestPartition, PartitionEnd};
use crate::ports::{EventSource, Inbox, PortError, Share, Start, chain};

/// How a consumer works.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// The name of this consumer, unlike any other's of the inbox.
    pub consumer: String,
    /// How many records are taken at once at most.
    pub batch: usize,
    /// How long a lease lasts; it is renewed three times as often.
    pub lease: Duration,
    /// Where to begin in a partition that was never read.
    pub start: Start,
    /// Whether every partition is moved to `start` first, also one that was
    /// read.
    pub rewind: bool,
    /// Whether to end where the source ended when it was first read.
    pub once: bool,
    /// The pause after a failure, doubled each time up to the last.
    pub first_backoff: Duration,
    /// The longest pause.
    pub last_backoff: Duration,
}

impl IngestOptions {
    /// What fits most installations.
    pub fn new(consumer: String) -> Self {
        Self {
            consumer,
            batch: 2_000,
            lease: Duration::from_secs(6),
            start: Start::Earliest,
            rewind: false,
            once: false,
            first_backoff: Duration::from_millis(50),
            last_backoff: Duration::from_secs(5),
        }
    }
}

/// What a consumer has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ingested {
    /// Records read.
    pub records: u64,
    /// Events that were new.
    pub fresh: u64,
    /// Events that were there already.
    pub duplicates: u64,
    /// Records of a type or version that this release does not know, kept.
    pub unknown: u64,
    /// Records that are no events, put aside.
    pub set_aside: u64,
}

impl std::ops::AddAssign for Ingested {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.fresh += more.fresh;
        self.duplicates += more.duplicates;
        self.unknown += more.unknown;
        self.set_aside += more.set_aside;
    }
}

/// Takes events into an inbox.
pub struct IngestEvents {
    source: Arc<dyn EventSource>,
    inbox: Arc<dyn Inbox>,
    options: Arc<IngestOptions>,
}

/// The partitions that are being read.
struct Reading {
    tasks: JoinSet<(Share, PartitionEnd, Ingested)>,
    /// The fence of each, and what stops it.
    open: HashMap<u32, (i64, CancellationToken)>,
    /// Those that were read to their end, when that is where to stop.
    finished: BTreeSet<u32>,
    total: Ingested,
}

impl IngestEvents {
    /// A consumer.
    pub fn new(source: Arc<dyn EventSource>, inbox: Arc<dyn Inbox>, options: IngestOptions) -> Self {
        Self { source, inbox, options: Arc::new(options) }
    }

    /// Works until `stop` is cancelled, or until the end if that is all that is
    /// wanted. A batch that is in hand is applied; then the leases are given
    /// back.
    pub async fn run(self, stop: CancellationToken) -> Ingested {
        let mut reading = Reading {
            tasks: JoinSet::new(),
            open: HashMap::new(),
            finished: BTreeSet::new(),
            total: Ingested::default(),
        };
        if self.options.rewind {
            let mut pause = self.options.first_backoff;
            while let Some(Err(error)) = stop.run_until_cancelled(self.rewind()).await {
                self.rest("rewinding", &error, &mut pause, &stop).await;
            }
        }
        let mut pause = self.options.first_backoff;
        loop {
            let renew = Instant::now() + self.options.lease / 3;
            let Some(answer) = stop.run_until_cancelled(self.share()).await else { break };
            let (shares, partitions) = match answer {
                Ok(lent) => lent,
                Err(error) => {
                    self.rest("sharing the partitions", &error, &mut pause, &stop).await;
                    continue;
                }
            };
            pause = self.options.first_backoff;
            self.adopt(&mut reading, shares, &stop);
            if self.options.once && reading.finished.len() >= partitions {
                break;
            }
            reading.wait(renew, &stop).await;
        }
        for (_, token) in reading.open.values() {
            token.cancel();
        }
        while let Some(ended) = reading.tasks.join_next().await {
            reading.note(ended);
        }
        let (source, consumer) = (self.source.name(), self.options.consumer.as_str());
        if let Err(error) = self.inbox.leave(source, consumer).await {
            tracing::warn!(cause = chain(&error), "the leases could not be given back: they will end");
        }
        reading.total
    }

    /// What this consumer may read now, and how many partitions there are.
    async fn share(&self) -> Result<(Vec<Share>, usize), PortError> {
        let partitions: BTreeSet<u32> = self.source.partitions().await?.into_iter().collect();
        let options = &self.options;
        let shares =
            self.inbox.share(self.source.name(), &partitions, &options.consumer, options.lease).await?;
        Ok((shares, partitions.len()))
    }

    /// Moves every partition to where an operator wants it.
    async fn rewind(&self) -> Result<(), PortError> {
        for partition in self.source.partitions().await? {
            let to = self.source.begin(partition, self.options.start).await?;
            self.inbox.rewind(self.source.name(), partition, to).await?;
            tracing::info!(partition, offset = to.0, "the partition is read again from there");
        }
        Ok(())
    }

    /// Reads what was newly lent, and lets go of what no longer is.
    fn adopt(&self, reading: &mut Reading, shares: Vec<Share>, stop: &CancellationToken) {
        let lent: HashMap<u32, i64> = shares.iter().map(|share| (share.partition, share.fence)).collect();
        reading.open.retain(|partition, (fence, token)| {
            let kept = lent.get(partition) == Some(fence);
            if !kept {
                token.cancel();
            }
            kept
        });
        for share in shares {
            if reading.open.contains_key(&share.partition) || reading.finished.contains(&share.partition) {
                continue;
            }
            let token = stop.child_token();
            reading.open.insert(share.partition, (share.fence, token.clone()));
            let (partition, fence) = (share.partition, share.fence);
            tracing::info!(partition, fence, source = share.source, "reading a partition");
            let partition = IngestPartition::new(
                Arc::clone(&self.source),
                Arc::clone(&self.inbox),
                Arc::clone(&self.options),
                share,
            );
            reading.tasks.spawn(partition.run(token));
        }
    }

    /// Says what failed, and waits before it is tried again.
    async fn rest(&self, what: &str, error: &PortError, pause: &mut Duration, stop: &CancellationToken) {
        tracing::warn!(cause = chain(error), "{what} failed, and is tried again");
        stop.run_until_cancelled(sleep(*pause)).await;
        *pause = (*pause * 2).min(self.options.last_backoff);
    }
}

impl Reading {
    /// Waits until it is time to renew the leases, or a partition has ended.
    async fn wait(&mut self, renew: Instant, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep_until(renew) => {}
            Some(ended) = self.tasks.join_next() => self.note(ended),
        }
    }

    fn note(&mut self, ended: Result<(Share, PartitionEnd, Ingested), tokio::task::JoinError>) {
        // A panic is logged by the panic hook; the lease ends by itself, and the
        // partition is read again.
        let Ok((share, end, ingested)) = ended else {
            self.open.clear();
            return;
        };
        self.total += ingested;
        if self.open.get(&share.partition).is_some_and(|(fence, _)| *fence == share.fence) {
            self.open.remove(&share.partition);
        }
        if end == PartitionEnd::Reached {
            self.finished.insert(share.partition);
        }
    }
}
