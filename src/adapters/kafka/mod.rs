//! Events in a topic of Apache Kafka.
//!
//! All partitions are written at once, each with one request in flight, so that
//! an order's events stay in sequence. The client has no idempotent producer: a
//! request that timed out may be written all the same, and is then written
//! twice. Whoever reads the topic drops what it has seen, by order and
//! sequence.

mod asyncapi;
mod connection;
mod dead_letter_topic;
mod decode;
mod partitioner;
mod rebuilding;
mod record;
mod requests;
mod security;
mod source;
mod topic_client;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient};
use rskafka::record::Record;
use tokio::time::sleep;

pub use self::asyncapi::asyncapi_document;
pub use self::connection::KafkaConnection;
use self::connection::{TopicClientError, bounded};
pub use self::partitioner::partition;
use self::rebuilding::Rebuilding;
pub use self::record::Encoding;
pub use self::security::{Login, Mechanism, Security, SecurityError, Tls};
pub use self::source::KafkaSource;
use self::topic_client::TopicClient;
use crate::ports::{Delivery, EventSink, LoggedEvent, PortError, Receipt};

/// Requests of at least so many bytes are compressed, if any are: smaller ones
/// might come out at a size that waits (see `requests`).
const COMPRESS_FROM: usize = 640_000;
/// How often brokers that are away are asked for at the start.
const GREETING_PAUSE: Duration = Duration::from_secs(5);

/// Which topic, and how to write to it.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The brokers, and how to talk to them.
    pub connection: KafkaConnection,
    /// The topic.
    pub topic: String,
    /// Whether it is created if there is none.
    pub create: bool,
    /// How many partitions it gets if it has to be created.
    pub partitions: usize,
    /// How many copies of each the cluster keeps, if it has to be created.
    pub replication: i16,
    /// How values are written.
    pub encoding: Encoding,
    /// Whether large requests are compressed with LZ4.
    pub lz4: bool,
}

/// An [`EventSink`] that writes to a topic.
pub struct KafkaSink {
    name: String,
    options: KafkaOptions,
    link: Rebuilding<TopicClient>,
    /// What was said of the topic already.
    concerns: Mutex<Vec<String>>,
}

/// A record, and which of the batch's events it is.
type Numbered = (usize, Record);

impl KafkaSink {
    /// A sink that connects when it is first given events: brokers that are
    /// down keep no service from starting.
    pub fn new(options: KafkaOptions) -> Self {
        let name = format!("kafka:{}", options.topic);
        Self { name, options, link: Rebuilding::new(), concerns: Mutex::default() }
    }

    async fn link(&self) -> Result<Arc<TopicClient>, TopicClientError> {
        let open = async {
            let link = Box::pin(TopicClient::open(&self.options)).await?;
            self.report(&link.concerns);
            Ok(link)
        };
        self.link.get(open).await
    }

    /// Says each once, however often the client is made anew.
    fn report(&self, concerns: &[String]) {
        let mut said = self.concerns.lock().unwrap_or_else(PoisonError::into_inner);
        for concern in concerns {
            if !said.contains(concern) {
                let topic = self.options.topic.as_str();
                tracing::warn!(topic, concern, "the topic is not as it should be");
                said.push(concern.clone());
            }
        }
    }

    /// Connects once there is a broker, so that what is wrong is said before
    /// the first event. Nothing waits for it.
    pub async fn greet(&self) {
        let mut told = None;
        loop {
            match self.link().await {
                Ok(link) => {
                    let (sink, partitions) = (self.describe(), link.partitions.len());
                    tracing::info!(sink, partitions, "connected to Kafka");
                    return;
                }
                Err(error) => {
                    let cause = error.to_string();
                    if told.as_ref() != Some(&cause) {
                        let sink = self.describe();
                        tracing::warn!(sink, cause, "Kafka cannot be reached: events wait in the store");
                        told = Some(cause);
                    }
                }
            }
            sleep(GREETING_PAUSE).await;
        }
    }

    async fn write(&self, link: &TopicClient, events: &[LoggedEvent]) -> serde_json::Result<Delivery> {
        let mut shares: Vec<Vec<Numbered>> = link.partitions.iter().map(|_| Vec::new()).collect();
        for (number, logged) in events.iter().enumerate() {
            let record = record::record(&logged.event, self.options.encoding)?;
            let key = logged.event.order.order_id.as_str().as_bytes();
            shares[partition(key, link.partitions.len())].push((number, record));
        }
        let written = link
            .partitions
            .iter()
            .zip(shares)
            .filter(|(_, share)| !share.is_empty())
            .map(|(client, share)| self.write_partition(client, share));
        let mut delivery = Delivery { receipts: vec![Receipt::Pending; events.len()], failure: None };
        for written in join_all(written).await {
            for (number, receipt) in written.receipts {
                delivery.receipts[number] = receipt;
            }
            let context = || format!("events were not written to {}", self.describe());
            let failure = written.failure.map(|cause| PortError::unavailable(context(), cause));
            delivery.failure = delivery.failure.or(failure);
        }
        Ok(delivery)
    }

    /// Writes the records of a partition, request after request, and stops at
    /// the first that is not acknowledged.
    async fn write_partition(&self, client: &PartitionClient, share: Vec<Numbered>) -> Written {
        let sizes: Vec<usize> = share.iter().map(|(_, record)| record::size(record)).collect();
        let mut written = Written::default();
        let mut rest = share.as_slice();
        for taken in requests::cut(&sizes) {
            let (request, later) = rest.split_at(taken);
            rest = later;
            if !self.write_request(client, request, &mut written).await {
                break;
            }
        }
        written
    }

    /// Writes one request; if the broker refuses it for what is in it, its
    /// records one by one, up to the one that is refused.
    async fn write_request(
        &self,
        client: &PartitionClient,
        request: &[Numbered],
        written: &mut Written,
    ) -> bool {
        let error = match self.produce(client, request).await {
            Ok(()) => {
                written.receipts.extend(request.iter().map(|(number, _)| (*number, Receipt::Acknowledged)));
                return true;
            }
            Err(error) => error,
        };
        match (refusal(&error), request) {
            (None, _) => {
                written.failure = Some(error);
                false
            }
            (Some(why), [(number, _)]) => {
                written.receipts.push((*number, Receipt::Refused(why)));
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

    async fn produce(&self, client: &PartitionClient, request: &[Numbered]) -> Result<(), TopicClientError> {
        let records: Vec<Record> = request.iter().map(|(_, record)| record.clone()).collect();
        let bytes: usize = records.iter().map(record::size).sum();
        let compression = if self.options.lz4 && bytes >= COMPRESS_FROM {
            Compression::Lz4
        } else {
            Compression::NoCompression
        };
        bounded(self.options.connection.timeout, client.produce(records, compression)).await.map(|_| ())
    }
}

/// What became of a partition's share of a batch.
#[derive(Default)]
struct Written {
    receipts: Vec<(usize, Receipt)>,
    failure: Option<TopicClientError>,
}

/// Why a broker will never take a request as it is; `None` if it may.
fn refusal(error: &TopicClientError) -> Option<String> {
    let TopicClientError::Client(Error::ServerError { protocol_error, error_message, .. }) = error else {
        return None;
    };
    let why = match protocol_error {
        ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge => "the record is too large",
        ProtocolError::InvalidRecord => "the record is invalid",
        ProtocolError::InvalidTimestamp => "the timestamp of the record is out of range",
        _ => return None,
    };
    let said = error_message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("the broker says that {why}{said}"))
}

#[async_trait]
impl EventSink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        format!("kafka://{}/{}", self.options.connection.brokers.join(","), self.options.topic)
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        if events.is_empty() {
            return Delivery::complete(0);
        }
        let link = match self.link().await {
            Ok(link) => link,
            Err(error) => {
                let context = format!("{} cannot be reached", self.describe());
                return Delivery::failed(events.len(), PortError::unavailable(context, error));
            }
        };
        let delivery = self.write(&link, events).await.unwrap_or_else(|error| {
            Delivery::failed(events.len(), PortError::unavailable("an event cannot be encoded", error))
        });
        self.link.note(delivery.failure.is_some()).await;
        if delivery.failure.is_none()
            && let Some(concern) = link.look_back(self.options.connection.timeout).await
        {
            self.report(&[concern]);
        }
        delivery
    }
}
