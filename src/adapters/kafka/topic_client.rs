//! A client for each partition of the topic that is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use rskafka::client::Client;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use tokio::time::{sleep, timeout};

use super::KafkaOptions;
use super::connection::{TopicClientError, bounded};

/// How often brokers are asked for a topic that was just created.
const TOPIC_PAUSE: Duration = Duration::from_millis(50);
/// In how many partitions a record is looked for.
const MOST_LOOKS: usize = 8;

/// A client for each partition, in their order.
pub(super) struct TopicClient {
    pub(super) partitions: Vec<PartitionClient>,
    /// What is not as it should be with the topic, one sentence each.
    pub(super) concerns: Vec<String>,
    looked_back: AtomicBool,
}

impl TopicClient {
    /// Connects, and creates the topic if there is none.
    pub(super) async fn open(options: &KafkaOptions) -> Result<Self, TopicClientError> {
        let limit = options.connection.timeout;
        let client = options.connection.client().await?;
        let count = match partitions(&client, options).await? {
            Some(count) => count,
            None if options.create => create(&client, options).await?,
            None => return Err(TopicClientError::Forbidden(options.topic.clone())),
        };
        let partitions = (0..count).map(|partition| {
            let (topic, client) = (options.topic.clone(), &client);
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            // The topic is there, so a broker that knows of none is behind.
            bounded(limit, client.partition_client(topic, partition, UnknownTopicHandling::Retry))
        });
        let partitions = try_join_all(partitions).await?;
        let mut concerns = Vec::new();
        if count < options.partitions {
            let wanted = options.partitions;
            concerns.push(format!("it has {count} partitions, and events.kafka_partitions is {wanted}"));
        }
        let mut link = Self { partitions, concerns, looked_back: AtomicBool::new(false) };
        link.concerns.extend(link.look_back(limit).await);
        Ok(link)
    }

    /// Reads a record that is there, the first time that it is called with one:
    /// what a topic's compression.type makes of records cannot always be read
    /// again, not even by us. The library cannot ask for the settings of a
    /// topic, so this is found out by trying. Whoever may only write learns
    /// nothing here.
    pub(super) async fn look_back(&self, limit: Duration) -> Option<String> {
        if self.looked_back.load(Ordering::Relaxed) {
            return None;
        }
        for partition in self.partitions.iter().take(MOST_LOOKS) {
            let (begin, end) =
                (last(partition, OffsetAt::Earliest, limit), last(partition, OffsetAt::Latest, limit));
            let (Ok(begin), Ok(end)) = (begin.await, end.await) else {
                // Asked no more: it is not worth a call at every batch.
                self.looked_back.store(true, Ordering::Relaxed);
                return None;
            };
            if begin < end {
                self.looked_back.store(true, Ordering::Relaxed);
                let read = bounded(limit, partition.fetch_records(end - 1, 1..2, 1)).await;
                let said = read.err().map(|error| error.to_string())?;
                let compressed = said.contains("ompression");
                return compressed
                    .then(|| format!("its compression.type cannot be read by `pvz consume`: {said}"));
            }
        }
        None
    }
}

async fn last(partition: &PartitionClient, at: OffsetAt, limit: Duration) -> Result<i64, TopicClientError> {
    bounded(limit, partition.get_offset(at)).await
}

/// How many partitions the topic has, if there is one. All topics are asked
/// for: to ask for one by name would create it where the broker does that, and
/// with the broker's number of partitions.
pub(super) async fn partitions(
    client: &Client,
    options: &KafkaOptions,
) -> Result<Option<usize>, TopicClientError> {
    let topics = bounded(options.connection.timeout, client.list_topics()).await?;
    let topic = topics.into_iter().find(|topic| topic.name == options.topic);
    Ok(topic.map(|topic| topic.partitions.len()).filter(|count| *count > 0))
}

async fn create(client: &Client, options: &KafkaOptions) -> Result<usize, TopicClientError> {
    let limit = options.connection.timeout;
    let controller = client.controller_client()?;
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let partitions = i32::try_from(options.partitions).unwrap_or(i32::MAX);
    let creation = controller.create_topic(options.topic.as_str(), partitions, options.replication, millis);
    match bounded(limit, creation).await {
        Ok(()) => tracing::info!(topic = options.topic, partitions, "the topic was created"),
        // Another replica was quicker.
        Err(TopicClientError::Client(Error::ServerError {
            protocol_error: ProtocolError::TopicAlreadyExists,
            ..
        })) => {}
        Err(error) => return Err(error),
    }
    // A broker may not have heard of it yet.
    let known = async {
        loop {
            if let Some(count) = self::partitions(client, options).await? {
                return Ok(count);
            }
            sleep(TOPIC_PAUSE).await;
        }
    };
    timeout(limit, known).await.unwrap_or_else(|_| Err(TopicClientError::NoTopic(options.topic.clone())))
}
