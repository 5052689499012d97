//! Connections to brokers, shared by the sink and the source.
//!
//! The client library has no timeouts and retries without end, so every call here
//! has a timeout. Dropping a call is safe, but records that it sent may be
//! written.

use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::error::Error;
use rskafka::client::{Client, ClientBuilder};
use tokio::time::timeout;

use super::security::Security;

/// The total of the pauses after which the library stops retrying and reports the
/// error. The callers retry too, and log the cause.
const LIBRARY_RETRIES: Duration = Duration::from_millis(300);

/// The brokers, and how to connect to them.
#[derive(Debug, Clone)]
pub struct KafkaConnection {
    /// The bootstrap brokers, as `host:port`.
    pub brokers: Vec<String>,
    /// The timeout of a call to a broker.
    pub timeout: Duration,
    /// TLS and login.
    pub security: Security,
}

/// A failed call to the brokers.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicClientError {
    /// The call timed out; it may have taken effect.
    #[error("the broker did not answer within {0:?}")]
    Timeout(Duration),
    /// The library reported an error. Its errors repeat their sources, so only the
    /// innermost one is shown, and no source is returned.
    #[error("the Kafka client failed: {}", innermost(.0))]
    Client(Error),
    /// The topic was created, but the brokers do not list it.
    #[error("there is no topic {0:?}, although it was created")]
    NoTopic(String),
    /// The topic does not exist, and creating it is not allowed.
    #[error("there is no topic {0:?}, and events.kafka_create_topic forbids to create it")]
    Forbidden(String),
    /// The topic, or one of its partitions, does not exist.
    #[error("there is no topic {topic:?} with a partition {partition}")]
    Missing { topic: String, partition: usize },
    /// The topic has another number of partitions than before.
    #[error(
        "topic {topic:?} had {before} partitions and has {now}: later events of an order would go to another \
         partition than earlier ones, and readers could see them out of sequence; events wait in the store"
    )]
    Repartitioned { topic: String, before: usize, now: usize },
}

impl From<Error> for TopicClientError {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

fn innermost(error: &Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Limits the duration of a call.
pub(super) async fn with_timeout<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, TopicClientError> {
    match timeout(limit, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(TopicClientError::Timeout(limit)),
    }
}

impl KafkaConnection {
    /// Connects to one of the brokers.
    pub(super) async fn client(&self) -> Result<Client, TopicClientError> {
        // By default, the library's pauses grow to minutes.
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
            deadline: Some(LIBRARY_RETRIES.min(self.timeout / 2)),
        };
        let mut builder = ClientBuilder::new(self.brokers.clone()).client_id("pvz").backoff_config(backoff);
        if let Some(tls) = &self.security.tls {
            builder = builder.tls_config(tls.clone());
        }
        if let Some(sasl) = self.security.sasl() {
            builder = builder.sasl_config(sasl);
        }
        with_timeout(self.timeout, builder.build()).await
    }
}
