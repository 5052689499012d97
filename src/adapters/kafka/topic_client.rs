//! The clients that write the partitions of a topic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use rskafka::client::Client;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use tokio::time::{Instant, sleep, timeout};

use super::KafkaOptions;
use super::connection::{TopicClientError, with_timeout};

/// The pause between checks whether a topic that was created is listed.
const CREATED_PAUSE: Duration = Duration::from_millis(50);
/// The number of partitions in which [`TopicClient::check_compression`] looks for a
/// record.
const MAX_CHECKED_PARTITIONS: usize = 8;
/// The interval at which [`TopicClient::check_partitions`] asks the brokers.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// A client for each partition, in order.
pub(super) struct TopicClient {
    pub(super) partitions: Vec<PartitionClient>,
    /// Problems with the topic, one sentence each.
    pub(super) problems: Vec<String>,
    compression_checked: AtomicBool,
    client: Client,
    partitions_checked: Mutex<Instant>,
}

impl TopicClient {
    /// Connects, and creates the topic if there is none.
    pub(super) async fn open(options: &KafkaOptions) -> Result<Self, TopicClientError> {
        let limit = options.connection.timeout;
        let client = options.connection.client().await?;
        let (count, created) = match partitions(&client, options).await? {
            Some(count) => (count, false),
            None if options.create => (create(&client, options).await?, true),
            None => return Err(TopicClientError::Forbidden(options.topic.clone())),
        };
        let partitions = (0..count).map(|partition| {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            with_timeout(limit, connect(&client, &options.topic, partition, created))
        });
        let partitions = try_join_all(partitions).await?;
        let mut problems = Vec::new();
        if count != options.partitions {
            let configured = options.partitions;
            problems.push(format!("it has {count} partitions, and events.kafka_partitions is {configured}"));
        }
        let (compression_checked, partitions_checked) = (AtomicBool::new(false), Mutex::new(Instant::now()));
        let mut client = Self { partitions, problems, compression_checked, client, partitions_checked };
        client.problems.extend(client.check_compression(limit).await);
        Ok(client)
    }

    /// Checks at an interval that the topic exists and has the same number of
    /// partitions.
    pub(super) async fn check_partitions(&self, options: &KafkaOptions) -> Result<(), TopicClientError> {
        let checked = || self.partitions_checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked().elapsed() < CHECK_INTERVAL {
            return Ok(());
        }
        let (topic, before) = (options.topic.clone(), self.partitions.len());
        match partitions(&self.client, options).await? {
            Some(now) if now == before => {}
            Some(now) => return Err(TopicClientError::Repartitioned { topic, before, now }),
            None => return Err(TopicClientError::Missing { topic, partition: 0 }),
        }
        *checked() = Instant::now();
        Ok(())
    }

    /// Reads one record, unless an earlier call has, and returns the problem if its
    /// compression cannot be read: the topic's `compression.type` may be one that
    /// the library cannot decompress. The library has no call for the settings of a
    /// topic. Without the permission to read, the check finds nothing.
    pub(super) async fn check_compression(&self, limit: Duration) -> Option<String> {
        if self.compression_checked.load(Ordering::Relaxed) {
            return None;
        }
        for partition in self.partitions.iter().take(MAX_CHECKED_PARTITIONS) {
            let (begin, end) =
                (offset(partition, OffsetAt::Earliest, limit), offset(partition, OffsetAt::Latest, limit));
            let (Ok(begin), Ok(end)) = (begin.await, end.await) else {
                // Not checked again: the check is not worth a call per batch.
                self.compression_checked.store(true, Ordering::Relaxed);
                return None;
            };
            if begin < end {
                self.compression_checked.store(true, Ordering::Relaxed);
                let read = with_timeout(limit, partition.fetch_records(end - 1, 1..2, 1)).await;
                let cause = read.err().map(|error| error.to_string())?;
                let is_compression = cause.contains("ompression");
                return is_compression
                    .then(|| format!("its compression.type cannot be read by `pvz consume`: {cause}"));
            }
        }
        None
    }
}

/// Connects to the leader of a partition. Only a topic that was just created is
/// requested again if a broker does not know it: the request by name would
/// create a deleted topic on some brokers.
async fn connect(
    client: &Client,
    topic: &str,
    partition: i32,
    created: bool,
) -> Result<PartitionClient, Error> {
    loop {
        match client.partition_client(topic, partition, UnknownTopicHandling::Error).await {
            Err(Error::ServerError { protocol_error: ProtocolError::UnknownTopicOrPartition, .. })
                if created =>
            {
                sleep(CREATED_PAUSE).await;
            }
            other => return other,
        }
    }
}

pub(super) async fn offset(
    partition: &PartitionClient,
    at: OffsetAt,
    limit: Duration,
) -> Result<i64, TopicClientError> {
    with_timeout(limit, partition.get_offset(at)).await
}

/// Returns the number of partitions of the topic; `None` if it does not exist.
/// Requests the metadata of all topics: some brokers create a topic that is
/// requested by name, with their default number of partitions.
pub(super) async fn partitions(
    client: &Client,
    options: &KafkaOptions,
) -> Result<Option<usize>, TopicClientError> {
    let topics = with_timeout(options.connection.timeout, client.list_topics()).await?;
    let topic = topics.into_iter().find(|topic| topic.name == options.topic);
    Ok(topic.map(|topic| topic.partitions.len()).filter(|count| *count > 0))
}

/// Creates the topic, waits until the brokers list it, and returns its number of
/// partitions.
async fn create(client: &Client, options: &KafkaOptions) -> Result<usize, TopicClientError> {
    let limit = options.connection.timeout;
    let controller = client.controller_client()?;
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let partitions = i32::try_from(options.partitions).unwrap_or(i32::MAX);
    let creation = controller.create_topic(options.topic.as_str(), partitions, options.replication, millis);
    match with_timeout(limit, creation).await {
        Ok(()) => tracing::info!(topic = options.topic, partitions, "topic created"),
        // Another replica created it at the same time.
        Err(TopicClientError::Client(Error::ServerError {
            protocol_error: ProtocolError::TopicAlreadyExists,
            ..
        })) => {}
        Err(error) => return Err(error),
    }
    // Other brokers may list it later.
    let listed = async {
        loop {
            if let Some(count) = self::partitions(client, options).await? {
                return Ok(count);
            }
            sleep(CREATED_PAUSE).await;
        }
    };
    timeout(limit, listed).await.unwrap_or_else(|_| Err(TopicClientError::NoTopic(options.topic.clone())))
}
