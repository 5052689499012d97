//! The sink and the source of events in an Apache Kafka topic.
//!
//! The sink writes all partitions concurrently, each with one request in flight,
//! so the events of an order stay in sequence. The client library has no
//! idempotent producer: a request that timed out may have been written, and is
//! written again. Readers of the topic drop duplicates by order and sequence.

mod asyncapi;
mod cached_client;
mod connection;
mod dead_letter_topic;
mod decode;
mod partitioner;
mod record;
mod requests;
mod security;
mod source;
mod tail;
mod topic_client;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient};
use rskafka::record::Record;
use tokio::time::sleep;

pub use self::asyncapi::asyncapi_document;
use self::cached_client::CachedClient;
pub use self::connection::KafkaConnection;
use self::connection::{TopicClientError, with_timeout};
pub use self::dead_letter_topic::SUFFIX as DEAD_LETTER_SUFFIX;
pub use self::partitioner::partition;
pub use self::record::Encoding;
pub use self::security::{Login, Mechanism, Security, SecurityError, Tls};
pub use self::source::KafkaSource;
use self::topic_client::TopicClient;
use crate::ports::{Delivery, EventSink, LoggedEvent, Outage, PortError, Receipt, SinkTail};

/// The size from which requests are compressed, in bytes, if compression is on.
/// Smaller ones might be compressed to a size that waits (see `requests`).
const COMPRESS_FROM: usize = 640_000;
/// The pause between attempts to connect at the start.
const CONNECT_PAUSE: Duration = Duration::from_secs(5);

/// The options of a topic.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The brokers, and how to connect to them.
    pub connection: KafkaConnection,
    /// The topic.
    pub topic: String,
    /// True if the topic is created when it does not exist.
    pub create: bool,
    /// The number of partitions of a topic that is created.
    pub partitions: usize,
    /// The replication factor of a topic that is created.
    pub replication: i16,
    /// The encoding of record values.
    pub encoding: Encoding,
    /// True if large requests are compressed with LZ4.
    pub lz4: bool,
}

/// An [`EventSink`] that writes to a topic.
pub struct KafkaSink {
    name: String,
    options: KafkaOptions,
    client: CachedClient<TopicClient>,
    /// The problems with the topic that were logged.
    reported: Mutex<Vec<String>>,
    /// The number of partitions that the relay knows.
    partitions: Mutex<Option<usize>>,
}

/// A record, and the index of its event in the batch.
type IndexedRecord = (usize, Record);

impl KafkaSink {
    /// Creates a sink, which connects at its first call: brokers that are down do
    /// not keep the service from starting.
    pub fn new(options: KafkaOptions) -> Self {
        let name = format!("kafka:{}", options.topic);
        let (client, reported) = (CachedClient::new(), Mutex::default());
        Self { name, options, client, reported, partitions: Mutex::default() }
    }

    async fn client(&self) -> Result<Arc<TopicClient>, TopicClientError> {
        let open = async {
            let client = Box::pin(TopicClient::open(&self.options)).await?;
            let now = client.partitions.len();
            let before = *lock(&self.partitions).get_or_insert(now);
            if now != before {
                let topic = self.options.topic.clone();
                return Err(TopicClientError::Repartitioned { topic, before, now });
            }
            self.report(&client.problems);
            Ok(client)
        };
        let client = self.client.get(open).await?;
        let checked = client.check_partitions(&self.options).await;
        self.client.record(checked.is_err()).await;
        checked.map(|()| client)
    }

    /// Logs each problem once, also if the client is replaced.
    fn report(&self, problems: &[String]) {
        let mut reported = lock(&self.reported);
        for problem in problems {
            if !reported.contains(problem) {
                let topic = self.options.topic.as_str();
                tracing::warn!(topic, problem, "the topic has a problem");
                reported.push(problem.clone());
            }
        }
    }

    /// Retries until the client is connected, so that problems are logged before
    /// the first event. Publishing does not depend on this call.
    pub async fn connect(&self) {
        let mut outage = Outage::default();
        loop {
            match self.client().await {
                Ok(client) => {
                    let (sink, partitions) = (self.describe(), client.partitions.len());
                    tracing::info!(sink, partitions, "connected to Kafka");
                    return;
                }
                Err(error) => {
                    let cause = error.to_string();
                    if outage.is_new(&cause) {
                        let sink = self.describe();
                        tracing::warn!(sink, cause, "Kafka cannot be reached: events wait in the store");
                    }
                }
            }
            sleep(CONNECT_PAUSE).await;
        }
    }

    async fn write(&self, client: &TopicClient, events: &[LoggedEvent]) -> serde_json::Result<Delivery> {
        let mut partitions: Vec<Vec<IndexedRecord>> = client.partitions.iter().map(|_| Vec::new()).collect();
        for (index, logged) in events.iter().enumerate() {
            let record = record::record(&logged.event, self.options.encoding)?;
            let key = logged.event.order.order_id.as_str().as_bytes();
            partitions[partition(key, client.partitions.len())].push((index, record));
        }
        let written = client
            .partitions
            .iter()
            .zip(partitions)
            .filter(|(_, records)| !records.is_empty())
            .map(|(client, records)| self.write_partition(client, records));
        let mut delivery = Delivery { receipts: vec![Receipt::Pending; events.len()], failure: None };
        for written in join_all(written).await {
            for (index, receipt) in written.receipts {
                delivery.receipts[index] = receipt;
            }
            let context = || format!("events were not written to {}", self.describe());
            let failure = written.failure.map(|cause| PortError::unavailable(context(), cause));
            delivery.failure = delivery.failure.or(failure);
        }
        Ok(delivery)
    }

    /// Writes the records of a partition, one request at a time, and stops at the
    /// first request that is not acknowledged.
    async fn write_partition(&self, client: &PartitionClient, records: Vec<IndexedRecord>) -> Written {
        let sizes: Vec<usize> = records.iter().map(|(_, record)| record::size(record)).collect();
        let mut written = Written::default();
        let mut rest = records.as_slice();
        for taken in requests::split(&sizes) {
            let (request, later) = rest.split_at(taken);
            rest = later;
            if !self.write_request(client, request, &mut written).await {
                break;
            }
        }
        written
    }

    /// Writes one request. If the broker refuses its content, writes its records one
    /// by one, up to the one that is refused. Returns true if all records were
    /// acknowledged.
    async fn write_request(
        &self,
        client: &PartitionClient,
        request: &[IndexedRecord],
        written: &mut Written,
    ) -> bool {
        let error = match self.produce(client, request).await {
            Ok(()) => {
                written.receipts.extend(request.iter().map(|(index, _)| (*index, Receipt::Acknowledged)));
                return true;
            }
            Err(error) => error,
        };
        match (refusal(&error), request) {
            (None, _) => {
                written.failure = Some(error);
                false
            }
            (Some(cause), [(index, _)]) => {
                written.receipts.push((*index, Receipt::Refused(cause)));
                false
            }
            (Some(_), _) => {
                for single in request.chunks(1) {
                    if !Box::pin(self.write_request(client, single, written)).await {
                        return false;
                    }
                }
                true
            }
        }
    }

    async fn produce(
        &self,
        client: &PartitionClient,
        request: &[IndexedRecord],
    ) -> Result<(), TopicClientError> {
        let records: Vec<Record> = request.iter().map(|(_, record)| record.clone()).collect();
        let bytes: usize = records.iter().map(record::size).sum();
        let compression = if self.options.lz4 && bytes >= COMPRESS_FROM {
            Compression::Lz4
        } else {
            Compression::NoCompression
        };
        with_timeout(self.options.connection.timeout, client.produce(records, compression)).await.map(|_| ())
    }
}

/// Locks a mutex. Ignores poisoning: no change under these locks can panic halfway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of writing the records of a partition.
#[derive(Default)]
struct Written {
    receipts: Vec<(usize, Receipt)>,
    failure: Option<TopicClientError>,
}

/// Returns the cause if the broker refuses a request because of its content,
/// permanently; `None` for any other error.
fn refusal(error: &TopicClientError) -> Option<String> {
    let TopicClientError::Client(Error::ServerError { protocol_error, error_message, .. }) = error else {
        return None;
    };
    let cause = match protocol_error {
        ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge => "the record is too large",
        ProtocolError::InvalidRecord => "the record is invalid",
        ProtocolError::InvalidTimestamp => "the timestamp of the record is out of range",
        _ => return None,
    };
    let message = error_message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("the broker says that {cause}{message}"))
}

#[async_trait]
impl EventSink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        format!("kafka://{}/{}", self.options.connection.brokers.join(","), self.options.topic)
    }

    async fn tail(&self) -> Result<SinkTail, PortError> {
        // Before it publishes, the relay compares this number with the one that it knows.
        *lock(&self.partitions) = None;
        let read = async {
            let client = self.client().await?;
            let read = tail::last_events(&client, self.options.connection.timeout).await;
            let events = match read {
                Err(error) if tail::is_forbidden(&error) => {
                    self.report(&[format!(
                        "its last events cannot be compared with the store's, because reading is not allowed: {error}"
                    )]);
                    Vec::new()
                }
                read => {
                    self.client.record(read.is_err()).await;
                    read?
                }
            };
            Ok(SinkTail { partitions: client.partitions.len(), events })
        };
        let context = |error: TopicClientError| {
            PortError::unavailable(format!("the last events of {} cannot be read", self.describe()), error)
        };
        read.await.map_err(context)
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        if events.is_empty() {
            return Delivery::complete(0);
        }
        let client = match self.client().await {
            Ok(client) => client,
            Err(error) => {
                let context = format!("{} cannot be written", self.describe());
                return Delivery::failed(events.len(), PortError::unavailable(context, error));
            }
        };
        let delivery = self.write(&client, events).await.unwrap_or_else(|error| {
            Delivery::failed(events.len(), PortError::unavailable("an event cannot be encoded", error))
        });
        self.client.record(delivery.failure.is_some()).await;
        if delivery.failure.is_none()
            && let Some(problem) = client.check_compression(self.options.connection.timeout).await
        {
            self.report(&[problem]);
        }
        delivery
    }
}
