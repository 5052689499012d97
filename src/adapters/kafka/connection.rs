//! How brokers are talked to: shared by whoever writes a topic and whoever
//! reads one.
//!
//! The client library bounds no call in time and retries inside without an end,
//! so every call here has a timeout. Dropping a call is safe; what it sent may
//! be written all the same.

use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::error::Error;
use rskafka::client::{Client, ClientBuilder};
use tokio::time::timeout;

use super::security::Security;

/// How long the library tries again by itself before it says what is wrong,
/// counting its pauses only. Whoever calls tries again too, and can say why.
const INNER_RETRIES: Duration = Duration::from_millis(300);

/// Which brokers, and how to talk to them.
#[derive(Debug, Clone)]
pub struct KafkaConnection {
    /// Brokers to ask for the others, as `host:port`.
    pub brokers: Vec<String>,
    /// How long a call to a broker may take.
    pub timeout: Duration,
    /// TLS and the login.
    pub security: Security,
}

/// Why the brokers did not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicClientError {
    /// No answer in time; it may have been done.
    #[error("the broker did not answer within {0:?}")]
    Late(Duration),
    /// What the library says. Its errors repeat their sources, so only the
    /// innermost is said, and none is given as a source.
    #[error("the Kafka client failed: {}", innermost(.0))]
    Client(Error),
    /// The topic was created, and is not there.
    #[error("there is no topic {0:?}, although it was created")]
    NoTopic(String),
    /// The topic is not there, and is not ours to create.
    #[error("there is no topic {0:?}, and events.kafka_create_topic forbids to create it")]
    Forbidden(String),
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

/// Bounds a call in time.
pub(super) async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, TopicClientError> {
    match timeout(limit, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(TopicClientError::Late(limit)),
    }
}

impl KafkaConnection {
    /// Connects to one of the brokers.
    pub(super) async fn client(&self) -> Result<Client, TopicClientError> {
        // The library's own pauses grow to minutes.
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
            deadline: Some(INNER_RETRIES.min(self.timeout / 2)),
        };
        let mut builder = ClientBuilder::new(self.brokers.clone()).client_id("pvz").backoff_config(backoff);
        if let Some(tls) = &self.security.tls {
            builder = builder.tls_config(tls.clone());
        }
        if let Some(sasl) = self.security.sasl() {
            builder = builder.sasl_config(sasl);
        }
        bounded(self.timeout, builder.build()).await
    }
}
