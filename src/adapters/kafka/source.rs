//! The source that reads events from a topic.
//!
//! Each partition has a client with a connection of its own: a long poll delays
//! other requests on its connection. A client that fails repeatedly is replaced,
//! independently of the others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rskafka::chrono::DateTime;
use rskafka::client::Client;
use rskafka::client::error::{Error, ProtocolError, RequestError};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::record::RecordAndOffset;

use super::cached_client::CachedClient;
use super::connection::{TopicClientError, with_timeout};
use super::dead_letter_topic::DeadLetterTopic;
use super::decode::{record_content, source_record};
use super::{KafkaOptions, lock, topic_client};
use crate::ports::{
    Clock, EventSource, Fetched, Offset, PortError, RecordContent, SourceRecord, Start, UndecodedRecord,
};

/// The maximum size of a fetch. Records beyond the limit of the caller are kept for
/// its next call.
const FETCH_BYTES: i32 = 4 * 1024 * 1024;
/// A limit below any batch of records: the broker returns the first batch alone.
pub(super) const ONE_BATCH: i32 = 2;
/// The time that a fetch at the end of a partition waits for new records.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// An [`EventSource`] that reads a topic. It never creates the topic: a topic that
/// does not exist has no partitions.
pub struct KafkaSource {
    name: String,
    options: KafkaOptions,
    client: CachedClient<Client>,
    readers: Mutex<HashMap<u32, Arc<PartitionReader>>>,
    dead_letters: DeadLetterTopic,
}

/// The client of a partition, and the records that it fetched in advance.
struct PartitionReader {
    client: CachedClient<PartitionClient>,
    prefetched: Mutex<Prefetched>,
}

/// Records that were fetched and not returned.
#[derive(Default)]
struct Prefetched {
    /// The offset that the next fetch must request to get them.
    next: i64,
    records: VecDeque<RecordAndOffset>,
    /// The end of the partition when they were fetched.
    end: i64,
    /// The reason why the offset before `next` was stepped over.
    unreadable: Option<String>,
}

impl KafkaSource {
    /// Creates a source, which connects at its first call. The options for creating
    /// a topic apply to the dead-letter topic.
    pub fn new(options: KafkaOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: format!("kafka:{}", options.topic),
            dead_letters: DeadLetterTopic::new(&options, clock),
            options,
            client: CachedClient::new(),
            readers: Mutex::default(),
        }
    }

    fn reader(&self, partition: u32) -> Arc<PartitionReader> {
        let mut readers = lock(&self.readers);
        let new = || Arc::new(PartitionReader { client: CachedClient::new(), prefetched: Mutex::default() });
        Arc::clone(readers.entry(partition).or_insert_with(new))
    }

    async fn connect(&self, partition: u32) -> Result<PartitionClient, TopicClientError> {
        let client = self.options.connection.client().await?;
        // A client that asks for a partition by name makes some brokers create the topic.
        let count = topic_client::partitions(&client, &self.options).await?.unwrap_or_default();
        if count <= partition as usize {
            let topic = self.options.topic.clone();
            return Err(TopicClientError::Missing { topic, partition: partition as usize });
        }
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let connected =
            client.partition_client(self.options.topic.as_str(), partition, UnknownTopicHandling::Error);
        with_timeout(self.options.connection.timeout, connected).await
    }

    async fn partition_count(&self) -> Result<usize, TopicClientError> {
        let client = self.client.get(self.options.connection.client()).await?;
        let count = topic_client::partitions(&client, &self.options).await;
        self.client.record(count.is_err()).await;
        Ok(count?.unwrap_or_default())
    }

    async fn offset(&self, partition: u32, at: OffsetAt) -> Result<i64, TopicClientError> {
        let reader = self.reader(partition);
        let client = reader.client.get(self.connect(partition)).await?;
        let offset = with_timeout(self.options.connection.timeout, client.get_offset(at)).await;
        reader.client.record(offset.is_err()).await;
        offset
    }

    /// Fetches from an offset on, or from the oldest one if that is not retained.
    /// Returns the offset at which the fetch began.
    async fn read(
        &self,
        reader: &PartitionReader,
        partition: u32,
        from: i64,
    ) -> Result<(i64, Prefetched), TopicClientError> {
        match self.read_on(reader, partition, from).await {
            Ok(prefetched) => Ok((from, prefetched)),
            // The records expired, or the topic was deleted and created again.
            Err(error) if is_out_of_range(&error) => {
                let oldest = self.offset(partition, OffsetAt::Earliest).await?;
                Ok((oldest, self.read_on(reader, partition, oldest).await?))
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches from an offset on. Steps over the offset if the client cannot decode
    /// its record, such as a commit marker: the client then refuses the whole
    /// response, so the next attempt requests the first batch alone.
    async fn read_on(
        &self,
        reader: &PartitionReader,
        partition: u32,
        from: i64,
    ) -> Result<Prefetched, TopicClientError> {
        match self.read_at(reader, partition, from, FETCH_BYTES).await {
            Ok(prefetched) if !prefetched.is_stuck() => return Ok(prefetched),
            Err(error) if !is_undecodable(&error) => return Err(error),
            _ => {}
        }
        let cause = match self.read_at(reader, partition, from, ONE_BATCH).await {
            Ok(prefetched) if !prefetched.is_stuck() => return Ok(prefetched),
            Ok(_) => "the broker returned no record for the offset".to_owned(),
            Err(error) if is_undecodable(&error) => error.to_string(),
            Err(error) => return Err(error),
        };
        // The end of what can be read: records behind an open transaction of another producer are
        // not, and must not be stepped over.
        let end = self.offset(partition, OffsetAt::Latest).await?;
        if from >= end {
            return Ok(Prefetched { next: from, records: VecDeque::new(), end, unreadable: None });
        }
        Ok(Prefetched { next: from + 1, records: VecDeque::new(), end, unreadable: Some(cause) })
    }

    async fn read_at(
        &self,
        reader: &PartitionReader,
        partition: u32,
        from: i64,
        bytes: i32,
    ) -> Result<Prefetched, TopicClientError> {
        let client = reader.client.get(self.connect(partition)).await?;
        let wait = i32::try_from(MAX_WAIT.as_millis()).unwrap_or(i32::MAX);
        // Some brokers return an empty fetch at once.
        let waited = tokio::time::sleep(MAX_WAIT);
        let fetch = client.fetch_records(from, 1..bytes, wait);
        let fetched = with_timeout(self.options.connection.timeout.saturating_add(MAX_WAIT), fetch).await;
        // A new client would return the same for an offset that is out of range or
        // undecodable.
        let failed = fetched.as_ref().is_err_and(|error| !is_out_of_range(error) && !is_undecodable(error));
        reader.client.record(failed).await;
        let (records, end) = fetched?;
        if records.is_empty() && from >= end {
            waited.await;
        }
        Ok(Prefetched { next: from, records: records.into(), end, unreadable: None })
    }

    fn failed(&self, action: &str, error: TopicClientError) -> PortError {
        PortError::unavailable(format!("cannot {action} {}", self.describe()), error)
    }
}

fn is_out_of_range(error: &TopicClientError) -> bool {
    let TopicClientError::Client(Error::ServerError { protocol_error, .. }) = error else { return false };
    matches!(protocol_error, ProtocolError::OffsetOutOfRange)
}

/// Returns true if the client cannot decode the records of a response. It will not
/// decode them the next time either.
pub(super) fn is_undecodable(error: &TopicClientError) -> bool {
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

impl Prefetched {
    /// Returns true if the broker returned nothing before the end of the partition.
    fn is_stuck(&self) -> bool {
        self.records.is_empty() && self.next < self.end
    }

    /// Removes up to `limit` records.
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
            self.partition_count().await.map_err(|error| self.failed("list the partitions of", error))?;
        Ok((0..u32::try_from(count).unwrap_or(u32::MAX)).collect())
    }

    async fn begin(&self, partition: u32, start: Start) -> Result<Offset, PortError> {
        let at = match start {
            Start::Earliest => OffsetAt::Earliest,
            Start::Latest => OffsetAt::Latest,
            // Kafka's timestamps are in milliseconds: round down, so that no event is
            // skipped.
            Start::At(instant) => OffsetAt::Timestamp(
                DateTime::from_timestamp_millis(instant.micros().div_euclid(1_000)).unwrap_or_default(),
            ),
        };
        let offset = async {
            match self.offset(partition, at).await? {
                // No record was written since that instant.
                ..0 => self.offset(partition, OffsetAt::Latest).await,
                offset => Ok(offset),
            }
        };
        offset.await.map(Offset).map_err(|error| self.failed("look up an offset in", error))
    }

    async fn fetch(&self, partition: u32, from: Offset, limit: usize) -> Result<Fetched, PortError> {
        let reader = self.reader(partition);
        let kept = std::mem::take(&mut *lock(&reader.prefetched));
        let (first, mut prefetched) = if kept.next == from.0 && !kept.records.is_empty() {
            (from.0, kept)
        } else {
            let read = self.read(&reader, partition, from.0).await;
            read.map_err(|error| self.failed("read", error))?
        };
        let unreadable = prefetched.unreadable.take().map(RecordContent::Unreadable);
        let unreadable = unreadable.map(|content| SourceRecord { offset: Offset(first), content });
        let records = prefetched.take(limit);
        let (next, end) = (Offset(prefetched.next), Offset(prefetched.end));
        *lock(&reader.prefetched) = prefetched;
        let records = records.into_iter().map(|found| source_record(found.offset, found.record));
        let records = unreadable.into_iter().chain(records).collect();
        Ok(Fetched { first: Offset(first), records, next, end })
    }

    fn decode(&self, record: UndecodedRecord) -> RecordContent {
        record_content(record)
    }

    async fn write_dead_letters(&self, partition: u32, records: &[UndecodedRecord]) -> Result<(), PortError> {
        let written = async {
            let partitions = self.partition_count().await?;
            self.dead_letters.write(partitions.max(partition as usize + 1), partition, records).await
        };
        written.await.map_err(|error| self.failed("write dead letters of", error))
    }
}
