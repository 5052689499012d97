//! The dead-letter topic, for records that are not events.

use std::collections::BTreeMap;
use std::sync::Arc;

use rskafka::chrono::DateTime;
use rskafka::client::partition::{Compression, PartitionClient};
use rskafka::record::Record;

use super::cached_client::CachedClient;
use super::connection::{TopicClientError, with_timeout};
use super::topic_client::TopicClient;
use super::{KafkaOptions, record, refusal, requests};
use crate::domain::Timestamp;
use crate::ports::{Clock, UndecodedRecord};

/// The suffix that makes the name of a topic that of its dead-letter topic.
pub const SUFFIX: &str = ".dlq";

/// Writes records that could not be decoded to `<topic>.dlq`, with their key,
/// value and headers, and with headers that name the cause and the position.
pub(super) struct DeadLetterTopic {
    topic: String,
    options: KafkaOptions,
    clock: Arc<dyn Clock>,
    client: CachedClient<TopicClient>,
}

impl DeadLetterTopic {
    pub(super) fn new(options: &KafkaOptions, clock: Arc<dyn Clock>) -> Self {
        let topic = options.topic.clone();
        let options = KafkaOptions { topic: format!("{topic}{SUFFIX}"), ..options.clone() };
        Self { topic, options, clock, client: CachedClient::new() }
    }

    /// Writes records durably. If the topic has to be created, it gets
    /// `partitions`, the number of partitions of the source topic.
    pub(super) async fn write(
        &self,
        partitions: usize,
        partition: u32,
        records: &[UndecodedRecord],
    ) -> Result<(), TopicClientError> {
        // People read the topic, so a later difference in the number of
        // partitions is not reported.
        let options = KafkaOptions { partitions, ..self.options.clone() };
        let client = self.client.get(Box::pin(TopicClient::open(&options))).await?;
        let written = self.write_with(&client, partition, records).await;
        self.client.record(written.is_err()).await;
        written
    }

    async fn write_with(
        &self,
        client: &TopicClient,
        partition: u32,
        records: &[UndecodedRecord],
    ) -> Result<(), TopicClientError> {
        let now = self.clock.now();
        let dead_letters: Vec<Record> =
            records.iter().map(|record| dead_letter(&self.topic, partition, record, now)).collect();
        let sizes: Vec<usize> = dead_letters.iter().map(record::size).collect();
        let Some(client) = client.partitions.get(partition as usize % client.partitions.len().max(1)) else {
            return Err(TopicClientError::NoTopic(self.options.topic.clone()));
        };
        let mut rest = dead_letters.as_slice();
        for taken in requests::split(&sizes) {
            let (request, later) = rest.split_at(taken);
            rest = later;
            match self.produce(client, request.to_vec()).await {
                Ok(()) => {}
                Err(error) if refusal(&error).is_some() => {
                    for dead_letter in request {
                        self.write_alone(client, dead_letter).await?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a dead letter on its own. If the broker refuses it, writes it without
    /// its value, which is still in the source topic. If that is refused too, logs
    /// the record and continues, so that it does not block later ones.
    async fn write_alone(
        &self,
        client: &PartitionClient,
        dead_letter: &Record,
    ) -> Result<(), TopicClientError> {
        let Err(error) = self.produce(client, vec![dead_letter.clone()]).await else { return Ok(()) };
        let Some(cause) = refusal(&error) else { return Err(error) };
        let mut without_value = Record { value: None, ..dead_letter.clone() };
        without_value.headers.insert("pvz_omitted".to_owned(), format!("the value: {cause}").into_bytes());
        let Err(error) = self.produce(client, vec![without_value]).await else { return Ok(()) };
        let Some(cause) = refusal(&error) else { return Err(error) };
        let header = |name: &str| {
            let text = dead_letter.headers.get(name).map(|text| String::from_utf8_lossy(text).into_owned());
            text.unwrap_or_default()
        };
        let (topic, partition, offset) = (&self.options.topic, header("pvz_partition"), header("pvz_offset"));
        tracing::error!(
            topic,
            partition,
            offset,
            cause,
            "dead letter refused, the record stays in its topic"
        );
        Ok(())
    }

    async fn produce(&self, client: &PartitionClient, records: Vec<Record>) -> Result<(), TopicClientError> {
        let limit = self.options.connection.timeout;
        with_timeout(limit, client.produce(records, Compression::NoCompression)).await.map(drop)
    }
}

/// Returns a record as a dead letter. Its timestamp is `now`: a broker would soon
/// remove one that has none.
fn dead_letter(topic: &str, partition: u32, record: &UndecodedRecord, now: Timestamp) -> Record {
    let mut headers: BTreeMap<String, Vec<u8>> = record.headers.clone();
    for (name, value) in [
        ("pvz_cause", record.cause.clone()),
        ("pvz_topic", topic.to_owned()),
        ("pvz_partition", partition.to_string()),
        ("pvz_offset", record.offset.0.to_string()),
    ] {
        headers.insert(name.to_owned(), value.into_bytes());
    }
    let timestamp = DateTime::from_timestamp_micros(now.micros()).unwrap_or_default();
    Record { key: record.key.clone(), value: record.value.clone(), headers, timestamp }
}
