//! The consumer: reads the events of a source into an inbox, each exactly once.
//!
//! Positions, events and statistics change in one atomic step of the inbox. After a crash the
//! consumer reads again what was not applied, and applies nothing twice. Consumers that share an
//! inbox divide the partitions by leases. Failures are retried without limit, with one exception:
//! if the source is another log than before, the consumer ends, because its positions are invalid
//! there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ingest_options::IngestOptions;
use super::ingest_partition::{IngestPartition, Ingested, PartitionEnd};
use super::ingest_progress::{Activity, IngestProgress};
use super::log_identity::OtherLog;
use crate::domain::assign_partitions;
use crate::ports::{Assignment, EventSource, Inbox, Outage, PortError, chain};

/// An error that ends a consumer.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The source is not the log that was read before.
    #[error(transparent)]
    OtherLog(OtherLog),
    /// A consumer that ends by itself has nothing to read. Others wait for the source.
    #[error("{0} does not exist, so there is nothing to consume; check events.url (--events)")]
    Missing(String),
}

/// The use case that reads events into an inbox.
pub struct IngestEvents {
    source: Arc<dyn EventSource>,
    inbox: Arc<dyn Inbox>,
    options: Arc<IngestOptions>,
    progress: IngestProgress,
}

/// The retries of an action that fails.
struct Retries {
    outage: Outage,
    /// The pause before the next attempt.
    pause: Duration,
}

impl Retries {
    fn new(options: &IngestOptions) -> Self {
        Self { outage: Outage::default(), pause: options.first_backoff }
    }
}

/// The partitions that this consumer reads.
struct OpenPartitions {
    tasks: JoinSet<(Assignment, PartitionEnd, Ingested)>,
    /// By partition, the fencing token of its lease and the token that stops its
    /// task.
    open: HashMap<u32, (i64, CancellationToken)>,
    /// The partitions that were read to the end at which to stop.
    finished: BTreeSet<u32>,
    error: Option<IngestError>,
    total: Ingested,
}

impl IngestEvents {
    /// Creates a consumer.
    pub fn new(source: Arc<dyn EventSource>, inbox: Arc<dyn Inbox>, options: IngestOptions) -> Self {
        Self { source, inbox, options: Arc::new(options), progress: IngestProgress::default() }
    }

    /// Returns the progress. It can be read while the consumer runs.
    pub fn progress(&self) -> IngestProgress {
        self.progress.clone()
    }

    /// Runs until `stop` is cancelled or, with `once`, until every partition has
    /// reached its end. Finishes the batches in progress, then releases the
    /// leases.
    ///
    /// # Errors
    /// Returns an error if the source is not the log that was read before, or, with `once`, if it does
    /// not exist.
    pub async fn run(self, stop: CancellationToken) -> Result<Ingested, IngestError> {
        let mut partitions = OpenPartitions {
            tasks: JoinSet::new(),
            open: HashMap::new(),
            finished: BTreeSet::new(),
            error: None,
            total: Ingested::default(),
        };
        self.progress.record(Activity::Assign);
        if self.options.rewind {
            let mut retries = Retries::new(&self.options);
            while let Some(Err(error)) = stop.run_until_cancelled(self.rewind()).await {
                self.progress.record_failure(Activity::Assign, &error);
                self.back_off("rewind", &error, &mut retries, &stop).await;
            }
        }
        let mut retries = Retries::new(&self.options);
        let mut waits = false;
        loop {
            let renew = Instant::now() + self.options.lease / 3;
            let Some(assigned) = stop.run_until_cancelled(self.assign()).await else { break };
            let (assignments, count) = match assigned {
                Ok(assigned) => assigned,
                Err(error) => {
                    self.progress.record_failure(Activity::Assign, &error);
                    self.back_off("assign partitions", &error, &mut retries, &stop).await;
                    continue;
                }
            };
            retries.pause = self.options.first_backoff;
            if let Some(failures) = retries.outage.end() {
                tracing::info!(failures, "consumer recovered");
            }
            self.progress.record(Activity::Assign);
            self.adopt(&mut partitions, assignments, &stop);
            if count == 0 {
                let missing = IngestError::Missing(self.source.describe());
                if self.options.once {
                    partitions.error = Some(missing);
                    break;
                }
                if !std::mem::replace(&mut waits, true) {
                    tracing::warn!(cause = %missing, "consumer waits");
                }
            }
            if self.options.once && partitions.finished.len() >= count {
                break;
            }
            partitions.wait(renew, &stop).await;
            if partitions.error.is_some() {
                break;
            }
        }
        for (_, stop_reading) in partitions.open.values() {
            stop_reading.cancel();
        }
        while let Some(ended) = partitions.tasks.join_next().await {
            partitions.record_end(ended);
        }
        if let Err(error) = self.inbox.release(self.source.name(), &self.options.consumer).await {
            tracing::warn!(cause = chain(&error), "leases were not released; they will expire");
        }
        partitions.error.map_or(Ok(partitions.total), Err)
    }

    /// Renews the leases. Returns the assignments of this consumer and the number
    /// of partitions of the source.
    async fn assign(&self) -> Result<(Vec<Assignment>, usize), PortError> {
        let partitions: BTreeSet<u32> = self.source.partitions().await?.into_iter().collect();
        let IngestOptions { consumer, lease, .. } = &*self.options;
        let source = self.source.name();
        let assignments = self.inbox.assign(source, &partitions, consumer, *lease, assign_partitions).await?;
        Ok((assignments, partitions.len()))
    }

    /// Moves every partition to the start position.
    async fn rewind(&self) -> Result<(), PortError> {
        for partition in self.source.partitions().await? {
            let to = self.source.begin(partition, self.options.start).await?;
            self.inbox.rewind(self.source.name(), partition, to).await?;
            tracing::info!(partition, offset = to.0, "partition rewound");
        }
        Ok(())
    }

    /// Starts reading newly assigned partitions, and stops reading those whose
    /// lease was lost.
    fn adopt(&self, partitions: &mut OpenPartitions, assignments: Vec<Assignment>, stop: &CancellationToken) {
        let held: HashMap<u32, i64> =
            assignments.iter().map(|assignment| (assignment.partition, assignment.fencing_token)).collect();
        partitions.open.retain(|partition, (fencing_token, stop_reading)| {
            let is_held = held.get(partition) == Some(fencing_token);
            if !is_held {
                stop_reading.cancel();
            }
            is_held
        });
        for assignment in assignments {
            let (partition, fencing_token) = (assignment.partition, assignment.fencing_token);
            if partitions.open.contains_key(&partition) || partitions.finished.contains(&partition) {
                continue;
            }
            let stop_reading = stop.child_token();
            partitions.open.insert(partition, (fencing_token, stop_reading.clone()));
            tracing::info!(partition, fencing_token, source = assignment.source, "partition assigned");
            let reader = IngestPartition::new(
                Arc::clone(&self.source),
                Arc::clone(&self.inbox),
                Arc::clone(&self.options),
                assignment,
                self.progress.clone(),
            );
            partitions.tasks.spawn(reader.run(stop_reading));
        }
    }

    /// Logs a failure if its cause is new, and pauses before the next attempt.
    async fn back_off(
        &self,
        action: &str,
        error: &PortError,
        retries: &mut Retries,
        stop: &CancellationToken,
    ) {
        let cause = chain(error);
        if retries.outage.is_new(&cause) {
            tracing::warn!(action, cause, "consumer failed, backing off");
        } else {
            tracing::debug!(action, cause, "consumer failed, backing off");
        }
        stop.run_until_cancelled(sleep(retries.pause)).await;
        retries.pause = (retries.pause * 2).min(self.options.last_backoff);
    }
}

impl OpenPartitions {
    /// Waits until the leases must be renewed or a partition has ended.
    async fn wait(&mut self, renew: Instant, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep_until(renew) => {}
            Some(ended) = self.tasks.join_next() => self.record_end(ended),
        }
    }

    fn record_end(&mut self, ended: Result<(Assignment, PartitionEnd, Ingested), tokio::task::JoinError>) {
        // The panic hook has logged the panic. The assignment is still held, so
        // the next renewal starts the partition again.
        let Ok((assignment, end, ingested)) = ended else {
            self.open.clear();
            return;
        };
        self.total += ingested;
        let open = self.open.get(&assignment.partition);
        if open.is_some_and(|(fencing_token, _)| *fencing_token == assignment.fencing_token) {
            self.open.remove(&assignment.partition);
        }
        match end {
            PartitionEnd::Stopped => {}
            PartitionEnd::Reached => _ = self.finished.insert(assignment.partition),
            PartitionEnd::OtherLog(other) => self.error = Some(IngestError::OtherLog(other)),
        }
    }
}
