//! The Kafka URL and the values of the `events.kafka_*` keys.

use std::fmt;

use super::text;

/// The default topic.
const TOPIC: &str = "pvz.events-log";
/// The greatest length of a topic's name. Kafka allows 249 characters, and the name of the dead-letter
/// topic has four more.
pub const MAX_TOPIC: usize = 245;

/// A Kafka URL: brokers and a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaUrl {
    /// Bootstrap brokers, as `host:port`.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
}

impl KafkaUrl {
    /// Parses the part after `kafka:`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_prefix("//").ok_or("must be kafka://host:port,host:port/topic")?;
        let (brokers, topic) = text.split_once('/').unwrap_or((text, ""));
        let brokers: Vec<String> = brokers.split(',').map(|broker| broker.trim().to_owned()).collect();
        if text.contains('@') {
            return Err("must name brokers without a user and password: set events.kafka_user and \
                        events.kafka_password_file");
        }
        if !brokers.iter().all(|broker| is_broker(broker)) {
            return Err("must name brokers as host:port, with commas between them");
        }
        let topic = topic.trim_start_matches('/');
        let topic = if topic.is_empty() { TOPIC } else { topic };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if topic.len() > MAX_TOPIC || matches!(topic, "." | "..") || !topic.bytes().all(legal) {
            return Err("must name a topic of up to 245 letters, digits, '.', '_' and '-'");
        }
        Ok(Self { brokers, topic: topic.to_owned() })
    }
}

fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(legal) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl fmt::Display for KafkaUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kafka://{}/{}", self.brokers.join(","), self.topic)
    }
}

/// Encoding of record values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaEncoding {
    /// JSON.
    Json,
    /// Protobuf.
    Protobuf,
}

/// Compression of record batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaCompression {
    /// No compression.
    None,
    /// LZ4.
    Lz4,
}

/// SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaSasl {
    /// No authentication.
    None,
    /// SASL/PLAIN.
    Plain,
    /// SASL/SCRAM-SHA-256.
    ScramSha256,
    /// SASL/SCRAM-SHA-512.
    ScramSha512,
}

pub(super) fn encoding<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<KafkaEncoding, D::Error> {
    text::read(deserializer, |text| match text {
        "json" => Ok(KafkaEncoding::Json),
        "protobuf" => Ok(KafkaEncoding::Protobuf),
        _ => Err("must be json or protobuf"),
    })
}

pub(super) fn compression<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<KafkaCompression, D::Error> {
    text::read(deserializer, |text| match text {
        "none" => Ok(KafkaCompression::None),
        "lz4" => Ok(KafkaCompression::Lz4),
        _ => Err("must be none or lz4"),
    })
}

pub(super) fn sasl<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<KafkaSasl, D::Error> {
    text::read(deserializer, |text| match text {
        "none" => Ok(KafkaSasl::None),
        "plain" => Ok(KafkaSasl::Plain),
        "scram-sha-256" => Ok(KafkaSasl::ScramSha256),
        "scram-sha-512" => Ok(KafkaSasl::ScramSha512),
        _ => Err("must be none, plain, scram-sha-256 or scram-sha-512"),
    })
}

pub(super) fn user<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::read(
        deserializer,
        |text| if text.is_empty() { Err("must not be empty") } else { Ok(text.to_owned()) },
    )
}
