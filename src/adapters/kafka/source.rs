//! Events from a topic.
//!
//! Each partition is read by a client of its own, with one connection: a long
//! poll keeps whoever shares its connection waiting. A client that fails again
//! and again is made anew, without the others: with what it knows of leaders
//! that are gone it could go round in circles.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rskafka::chrono::DateTime;
use rskafka::client::Client;
use rskafka::client::error::{Error, ProtocolError, RequestError};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::record::RecordAndOffset;

use super::connection::{TopicClientError, bounded};
use super::dead_letter_topic::DeadLetterTopic;
use super::decode::{record_content, source_record};
use super::rebuilding::Rebuilding;
use super::{KafkaOptions, topic_client};
use crate::ports::{
    Clock, EventSource, Fetched, Offset, PortError, RecordContent, SourceRecord, Start, UndecodedRecord,
};

/// The most bytes that one fetch asks for. What a fetch brings beyond the
/// limit of its caller is kept for the next one.
const FETCH_BYTES: i32 = 4 * 1024 * 1024;
/// A limit below any batch of records: the broker returns the first batch alone.
const ONE_BATCH: i32 = 2;
/// How long a fetch at the end of a partition waits for more.
const WAIT: Duration = Duration::from_millis(250);

/// An [`EventSource`] that reads a topic. It never creates the topic: until
/// somebody does, there are no partitions.
pub struct KafkaSource {
    name: String,
    options: KafkaOptions,
    client: Rebuilding<Client>,
    lanes: Mutex<HashMap<u32, Arc<Lane>>>,
    letters: DeadLetterTopic,
}

/// A partition.
struct Lane {
    client: Rebuilding<PartitionClient>,
    ahead: Mutex<Ahead>,
}

/// What was fetched and not asked for yet.
#[derive(Default)]
struct Ahead {
    /// The offset that the next fetch must ask for.
    next: i64,
    records: VecDeque<RecordAndOffset>,
    /// The end of the partition when they were fetched.
    end: i64,
    /// The reason why the offset before `next` was stepped over.
    unreadable: Option<String>,
}

impl KafkaSource {
    /// A source that connects when it is first asked. Of the options, those
    /// that say how a topic is created hold for the topic of dead letters.
    pub fn new(options: KafkaOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: format!("kafka:{}", options.topic),
            letters: DeadLetterTopic::new(&options, clock),
            options,
            client: Rebuilding::new(),
            lanes: Mutex::default(),
        }
    }

    fn lane(&self, partition: u32) -> Arc<Lane> {
        let mut lanes = held(&self.lanes);
        let new = || Arc::new(Lane { client: Rebuilding::new(), ahead: Mutex::default() });
        Arc::clone(lanes.entry(partition).or_insert_with(new))
    }

    async fn reader(&self, lane: &Lane, partition: u32) -> Result<Arc<PartitionClient>, TopicClientError> {
        lane.client.get(self.connect(partition)).await
    }

    async fn connect(&self, partition: u32) -> Result<PartitionClient, TopicClientError> {
        let client = self.options.connection.client().await?;
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let reader =
            client.partition_client(self.options.topic.as_str(), partition, UnknownTopicHandling::Error);
        bounded(self.options.connection.timeout, reader).await
    }

    async fn count(&self) -> Result<usize, TopicClientError> {
        let client = self.client.get(self.options.connection.client()).await?;
        let count = topic_client::partitions(&client, &self.options).await;
        self.client.note(count.is_err()).await;
        Ok(count?.unwrap_or_default())
    }

    async fn offset(&self, partition: u32, at: OffsetAt) -> Result<i64, TopicClientError> {
        let lane = self.lane(partition);
        let reader = self.reader(&lane, partition).await?;
        let offset = bounded(self.options.connection.timeout, reader.get_offset(at)).await;
        lane.client.note(offset.is_err()).await;
        offset
    }

    /// Fetches from that offset on, or from the oldest that is kept.
    async fn read(&self, lane: &Lane, partition: u32, from: i64) -> Result<(i64, Ahead), TopicClientError> {
        match self.read_on(lane, partition, from).await {
            Ok(ahead) => Ok((from, ahead)),
            // By retention, or because the topic was made anew.
            Err(error) if is_gone(&error) => {
                let oldest = self.offset(partition, OffsetAt::Earliest).await?;
                Ok((oldest, self.read_on(lane, partition, oldest).await?))
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches from an offset on. Steps over the offset if the client cannot
    /// decode what is there, such as a commit marker, which makes it refuse the
    /// whole response: the next attempt asks for the first batch alone.
    async fn read_on(&self, lane: &Lane, partition: u32, from: i64) -> Result<Ahead, TopicClientError> {
        match self.read_at(lane, partition, from, FETCH_BYTES).await {
            Ok(ahead) if !ahead.is_stuck() => return Ok(ahead),
            Err(error) if !is_undecodable(&error) => return Err(error),
            _ => {}
        }
        let cause = match self.read_at(lane, partition, from, ONE_BATCH).await {
            Ok(ahead) if !ahead.is_stuck() => return Ok(ahead),
            Ok(_) => "the broker returned no record for the offset".to_owned(),
            Err(error) if is_undecodable(&error) => error.to_string(),
            Err(error) => return Err(error),
        };
        let end = self.offset(partition, OffsetAt::Latest).await?;
        Ok(Ahead { next: from + 1, records: VecDeque::new(), end, unreadable: Some(cause) })
    }

    async fn read_at(
        &self,
        lane: &Lane,
        partition: u32,
        from: i64,
        bytes: i32,
    ) -> Result<Ahead, TopicClientError> {
        let reader = self.reader(lane, partition).await?;
        let wait = i32::try_from(WAIT.as_millis()).unwrap_or(i32::MAX);
        // Some brokers answer at once that there is nothing.
        let waited = tokio::time::sleep(WAIT);
        let fetch = reader.fetch_records(from, 1..bytes, wait);
        let fetched = bounded(self.options.connection.timeout.saturating_add(WAIT), fetch).await;
        // A new client would return the same for an offset that is gone or undecodable.
        let failed = fetched.as_ref().is_err_and(|error| !is_gone(error) && !is_undecodable(error));
        lane.client.note(failed).await;
        let (records, end) = fetched?;
        if records.is_empty() && from >= end {
            waited.await;
        }
        Ok(Ahead { next: from, records: records.into(), end, unreadable: None })
    }

    fn failed(&self, what: &str, error: TopicClientError) -> PortError {
        PortError::unavailable(format!("{what} {}", self.describe()), error)
    }
}

fn is_gone(error: &TopicClientError) -> bool {
    let TopicClientError::Client(Error::ServerError { protocol_error, .. }) = error else { return false };
    matches!(protocol_error, ProtocolError::OffsetOutOfRange)
}

/// Returns true if the client could not decode the records of a response: it
/// will not decode them the next time either.
fn is_undecodable(error: &TopicClientError) -> bool {
    match error {
        TopicClientError::Client(Error::Request(error)) => matches!(
            error,
            RequestError::ReadError(_)
                | RequestError::ReadVersionedError(_)
                | RequestError::TooMuchData { .. }
        ),
        // A timestamp out of range has no error of its own.
        TopicClientError::Client(Error::InvalidResponse(cause)) => cause.contains("imestamp"),
        _ => false,
    }
}

/// Nothing that holds one of these locks can fail half-way.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ahead {
    /// Returns true if the broker returned nothing although the end is further on.
    fn is_stuck(&self) -> bool {
        self.records.is_empty() && self.next < self.end
    }

    /// Up to so many records.
    fn take(&mut self, limit: usize) -> Vec<RecordAndOffset> {
        let taken: Vec<RecordAndOffset> = self.records.drain(..limit.min(self.records.len())).collect();
        self.next = taken.last().map_or(self.next, |last| last.offset + 1);
        taken
    }
}

#[async_trait]
impl EventSource for KafkaSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        format!("kafka://{}/{}", self.options.connection.brokers.join(","), self.options.topic)
    }

    async fn partitions(&self) -> Result<Vec<u32>, PortError> {
        let count =
            self.count().await.map_err(|error| self.failed("cannot ask for the partitions of", error))?;
        Ok((0..u32::try_from(count).unwrap_or(u32::MAX)).collect())
    }

    async fn begin(&self, partition: u32, start: Start) -> Result<Offset, PortError> {
        let at = match start {
            Start::Earliest => OffsetAt::Earliest,
            Start::Latest => OffsetAt::Latest,
            // Kafka counts milliseconds: rather one too early.
            Start::At(instant) => OffsetAt::Timestamp(
                DateTime::from_timestamp_millis(instant.micros().div_euclid(1_000)).unwrap_or_default(),
            ),
        };
        let found = async {
            match self.offset(partition, at).await? {
                // Nothing was written since that instant.
                ..0 => self.offset(partition, OffsetAt::Latest).await,
                offset => Ok(offset),
            }
        };
        found.await.map(Offset).map_err(|error| self.failed("cannot ask where to begin in", error))
    }

    async fn fetch(&self, partition: u32, from: Offset, limit: usize) -> Result<Fetched, PortError> {
        let lane = self.lane(partition);
        let kept = std::mem::take(&mut *held(&lane.ahead));
        let (first, mut ahead) = if kept.next == from.0 && !kept.records.is_empty() {
            (from.0, kept)
        } else {
            let read = self.read(&lane, partition, from.0).await;
            read.map_err(|error| self.failed("cannot read", error))?
        };
        let unreadable = ahead.unreadable.take().map(RecordContent::Unreadable);
        let unreadable = unreadable.map(|content| SourceRecord { offset: Offset(first), content });
        let records = ahead.take(limit);
        let (next, end) = (Offset(ahead.next), Offset(ahead.end));
        *held(&lane.ahead) = ahead;
        let records = records.into_iter().map(|found| source_record(found.offset, found.record));
        let records = unreadable.into_iter().chain(records).collect();
        Ok(Fetched { first: Offset(first), records, next, end })
    }

    fn decode(&self, record: UndecodedRecord) -> RecordContent {
        record_content(record)
    }

    async fn write_dead_letters(&self, partition: u32, records: &[UndecodedRecord]) -> Result<(), PortError> {
        let written = async {
            let partitions = self.count().await?;
            self.letters.write(partitions.max(partition as usize + 1), partition, records).await
        };
        written.await.map_err(|error| self.failed("cannot put records aside that were read from", error))
    }
}
