//! What the section of events says of Kafka: the URL, and what its keys mean
//! together.

use std::fmt;

use super::events::Events;
use super::fault::{Fault, Warning};
use super::text;

/// The topic of events, unless another is named.
const TOPIC: &str = "pvz.events-log";

/// Brokers and a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaUrl {
    /// Brokers to ask for the others, as `host:port`.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
}

impl KafkaUrl {
    /// Reads what stands after `kafka:`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_prefix("//").ok_or("must be kafka://host:port,host:port/topic")?;
        let (brokers, topic) = text.split_once('/').unwrap_or((text, ""));
        let brokers: Vec<String> = brokers.split(',').map(|broker| broker.trim().to_owned()).collect();
        if !brokers.iter().all(|broker| is_broker(broker)) {
            return Err("must name brokers as host:port, with commas between them");
        }
        let topic = if topic.is_empty() { TOPIC } else { topic };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if topic.len() > 249 || matches!(topic, "." | "..") || !topic.bytes().all(legal) {
            return Err("must name a topic of up to 249 letters, digits, '.', '_' and '-'");
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

/// How the values of records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaEncoding {
    /// JSON.
    Json,
    /// Protobuf.
    Protobuf,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaCompression {
    /// Not at all.
    None,
    /// With LZ4.
    Lz4,
}

/// How we log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaSasl {
    /// Not at all.
    None,
    /// With SASL/PLAIN.
    Plain,
    /// With SASL/SCRAM-SHA-256.
    ScramSha256,
    /// With SASL/SCRAM-SHA-512.
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

/// Checks what concerns more than one key. Of a sink that is not in use,
/// nothing is asked.
pub(super) fn check(events: &Events, url: &KafkaUrl, faults: &mut Vec<Fault>, warnings: &mut Vec<Warning>) {
    let mut fault = |key: &str, problem: &str| faults.push(Fault::new(format!("events.{key}"), problem));
    let login = events.kafka_sasl != KafkaSasl::None;
    for (key, given) in
        [("kafka_user", events.kafka_user.is_some()), ("kafka_password", events.kafka_password.is_some())]
    {
        if login && !given {
            fault(key, "must be set, because events.kafka_sasl asks for a login");
        } else if given && !login {
            fault(key, "is set, but events.kafka_sasl is none: nobody would log in");
        }
    }
    let files = [
        ("kafka_ca_file", &events.kafka_ca_file),
        ("kafka_client_cert_file", &events.kafka_client_cert_file),
        ("kafka_client_key_file", &events.kafka_client_key_file),
    ];
    for (key, _) in files.iter().filter(|(_, path)| path.is_some() && !events.kafka_tls) {
        fault(key, "is set, but events.kafka_tls is false: it would not be used");
    }
    match (&events.kafka_client_cert_file, &events.kafka_client_key_file) {
        (Some(_), None) => fault("kafka_client_key_file", "must be set with events.kafka_client_cert_file"),
        (None, Some(_)) => fault("kafka_client_cert_file", "must be set with events.kafka_client_key_file"),
        _ => {}
    }
    if events.kafka_tls && url.brokers.iter().any(|broker| broker.starts_with('[')) {
        fault("url", "must name brokers by name or IPv4 address, because events.kafka_tls is true");
    }
    let far = url.brokers.iter().find(|broker| !is_loopback(broker));
    if let (true, false, Some(broker)) = (login, events.kafka_tls, far) {
        let problem = "the password crosses the network without TLS: set events.kafka_tls";
        warnings.push(Warning(format!("events.kafka_sasl with {broker}: {problem}")));
    }
}

fn is_loopback(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
