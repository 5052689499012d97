//! The topic beside the topic, for records that are no events.

use std::collections::BTreeMap;
use std::sync::Arc;

use rskafka::chrono::DateTime;
use rskafka::client::partition::{Compression, PartitionClient};
use rskafka::record::Record;

use super::connection::{TopicClientError, bounded};
use super::rebuilding::Rebuilding;
use super::topic_client::TopicClient;
use super::{KafkaOptions, record, refusal, requests};
use crate::domain::Timestamp;
use crate::ports::{Clock, UndecodedRecord};

/// What is added to the name of a topic.
const SUFFIX: &str = ".dlq";

/// Writes records that could not be read to `<topic>.dlq`: key, value and
/// headers as they are, and headers that say what was wrong and where they
/// stood.
pub(super) struct DeadLetterTopic {
    topic: String,
    options: KafkaOptions,
    clock: Arc<dyn Clock>,
    link: Rebuilding<TopicClient>,
}

impl DeadLetterTopic {
    pub(super) fn new(options: &KafkaOptions, clock: Arc<dyn Clock>) -> Self {
        let topic = options.topic.clone();
        let options = KafkaOptions { topic: format!("{topic}{SUFFIX}"), ..options.clone() };
        Self { topic, options, clock, link: Rebuilding::new() }
    }

    /// Durable when it is answered. The topic has as many partitions as the
    /// one that is read, if it has to be created.
    pub(super) async fn write(
        &self,
        partitions: usize,
        partition: u32,
        records: &[UndecodedRecord],
    ) -> Result<(), TopicClientError> {
        // Read by people: how many partitions it has by now is no concern.
        let options = KafkaOptions { partitions, ..self.options.clone() };
        let link = self.link.get(Box::pin(TopicClient::open(&options))).await?;
        let written = self.write_to(&link, partition, records).await;
        self.link.note(written.is_err()).await;
        written
    }

    async fn write_to(
        &self,
        link: &TopicClient,
        partition: u32,
        records: &[UndecodedRecord],
    ) -> Result<(), TopicClientError> {
        let now = self.clock.now();
        let letters: Vec<Record> =
            records.iter().map(|record| letter(&self.topic, partition, record, now)).collect();
        let sizes: Vec<usize> = letters.iter().map(record::size).collect();
        let Some(client) = link.partitions.get(partition as usize % link.partitions.len().max(1)) else {
            return Err(TopicClientError::NoTopic(self.options.topic.clone()));
        };
        let mut rest = letters.as_slice();
        for taken in requests::cut(&sizes) {
            let (request, later) = rest.split_at(taken);
            rest = later;
            match self.produce(client, request.to_vec()).await {
                Ok(()) => {}
                Err(error) if refusal(&error).is_some() => {
                    for letter in request {
                        self.write_alone(client, letter).await?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whatever the broker thinks of a letter, those after it are not kept
    /// waiting: without its value it is small, and the value is still where it
    /// was.
    async fn write_alone(&self, client: &PartitionClient, letter: &Record) -> Result<(), TopicClientError> {
        let Err(error) = self.produce(client, vec![letter.clone()]).await else { return Ok(()) };
        let Some(why) = refusal(&error) else { return Err(error) };
        let mut without = Record { value: None, ..letter.clone() };
        without.headers.insert("pvz_omitted".to_owned(), format!("the value: {why}").into_bytes());
        let Err(error) = self.produce(client, vec![without]).await else { return Ok(()) };
        let Some(why) = refusal(&error) else { return Err(error) };
        let place = |name: &str| {
            let text = letter.headers.get(name).map(|text| String::from_utf8_lossy(text).into_owned());
            text.unwrap_or_default()
        };
        let (dlq, partition, offset) = (&self.options.topic, place("pvz_partition"), place("pvz_offset"));
        tracing::error!(dlq, partition, offset, why, "a record could not be put aside; it stays where it is");
        Ok(())
    }

    async fn produce(&self, client: &PartitionClient, records: Vec<Record>) -> Result<(), TopicClientError> {
        let limit = self.options.connection.timeout;
        bounded(limit, client.produce(records, Compression::NoCompression)).await.map(drop)
    }
}

/// The time is when it was put aside: with none, a broker would soon remove
/// it as too old.
fn letter(topic: &str, partition: u32, record: &UndecodedRecord, now: Timestamp) -> Record {
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
