use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kafka::{self, KafkaCompression, KafkaEncoding, KafkaSasl, KafkaUrl};
use super::secret::{Secret, secret};
use super::text;

/// Where events are sent, besides the store that keeps them all.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Events {
    /// The sink: "journal:DIR" (files of JSON lines; without a folder it is
    /// "events" in the data directory), "kafka://host:port,host:port/topic"
    /// (without a topic it is "pvz.events-log") or "none:" (the feed of the
    /// server is the only way to read them). Of the replicas on one PostgreSQL
    /// one sends at a time, so a journal of theirs is in a folder of each: send
    /// to Kafka there.
    #[config(env = "PVZ_EVENTS", default = "journal:", deserialize_with = url)]
    pub url: EventsUrl,

    /// Journal: how large a file grows before the next one is begun.
    #[config(
        env = "PVZ_EVENTS_JOURNAL_FILE_SIZE",
        default = "64MiB",
        deserialize_with = text::bytes::<_, { 1 << 10 }, { 1 << 40 }>
    )]
    pub journal_file_size: usize,

    /// Kafka: how many partitions the topic gets if it has to be created.
    #[config(
        env = "PVZ_EVENTS_KAFKA_PARTITIONS",
        default = 8,
        deserialize_with = text::integer::<_, _, 1, 10_000>
    )]
    pub kafka_partitions: usize,

    /// Kafka: how many copies of each partition the cluster keeps if the topic
    /// has to be created.
    #[config(
        env = "PVZ_EVENTS_KAFKA_REPLICATION",
        default = 1,
        deserialize_with = text::integer::<_, _, 1, 100>
    )]
    pub kafka_replication: i16,

    /// Kafka: how the values of records are written, "json" or "protobuf".
    #[config(env = "PVZ_EVENTS_KAFKA_ENCODING", default = "json", deserialize_with = kafka::encoding)]
    pub kafka_encoding: KafkaEncoding,

    /// Kafka: how large requests are compressed, "none" or "lz4".
    #[config(env = "PVZ_EVENTS_KAFKA_COMPRESSION", default = "none", deserialize_with = kafka::compression)]
    pub kafka_compression: KafkaCompression,

    /// Kafka: how long a broker may take for an answer.
    #[config(
        env = "PVZ_EVENTS_KAFKA_TIMEOUT",
        default = "10s",
        deserialize_with = text::duration::<_, 100, 60_000>
    )]
    pub kafka_timeout: Duration,

    /// Kafka: whether the topic is created if there is none. If not, events
    /// wait until somebody creates it.
    #[config(env = "PVZ_EVENTS_KAFKA_CREATE_TOPIC", default = true, deserialize_with = text::truth)]
    pub kafka_create_topic: bool,

    /// Kafka: whether brokers are spoken to over TLS.
    #[config(env = "PVZ_EVENTS_KAFKA_TLS", default = false, deserialize_with = text::truth)]
    pub kafka_tls: bool,

    /// Kafka: a PEM file with the authorities that brokers' certificates come
    /// from. Not set: those that the machine trusts.
    #[config(env = "PVZ_EVENTS_KAFKA_CA_FILE", deserialize_with = text::path)]
    pub kafka_ca_file: Option<PathBuf>,

    /// Kafka: a PEM file with our certificate, if brokers ask for one.
    #[config(env = "PVZ_EVENTS_KAFKA_CLIENT_CERT_FILE", deserialize_with = text::path)]
    pub kafka_client_cert_file: Option<PathBuf>,

    /// Kafka: a PEM file with the key of that certificate.
    #[config(env = "PVZ_EVENTS_KAFKA_CLIENT_KEY_FILE", deserialize_with = text::path)]
    pub kafka_client_key_file: Option<PathBuf>,

    /// Kafka: how we log in: "none", "plain", "scram-sha-256" or
    /// "scram-sha-512".
    #[config(env = "PVZ_EVENTS_KAFKA_SASL", default = "none", deserialize_with = kafka::sasl)]
    pub kafka_sasl: KafkaSasl,

    /// Kafka: the name to log in with.
    #[config(env = "PVZ_EVENTS_KAFKA_USER", deserialize_with = kafka::user)]
    pub kafka_user: Option<String>,

    /// Kafka: the password to log in with. Better given by the environment
    /// than written in a file; shown nowhere.
    #[config(env = "PVZ_EVENTS_KAFKA_PASSWORD", deserialize_with = secret)]
    pub kafka_password: Option<Secret>,
}

/// Which sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsUrl {
    /// Files in a folder.
    Journal(PathBuf),
    /// A topic of Apache Kafka.
    Kafka(KafkaUrl),
    /// Nothing is sent.
    None,
}

impl EventsUrl {
    /// The same, with the journal in that folder when none is named.
    pub(super) fn or_in(self, data_dir: &Path) -> Self {
        match self {
            Self::Journal(path) if path.as_os_str().is_empty() => Self::Journal(data_dir.join("events")),
            other => other,
        }
    }
}

impl fmt::Display for EventsUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(path) => write!(formatter, "journal:{}", path.display()),
            Self::Kafka(url) => url.fmt(formatter),
            Self::None => formatter.write_str("none:"),
        }
    }
}

fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<EventsUrl, D::Error> {
    text::read(deserializer, |text| match text.split_once(':') {
        Some(("journal", path)) => {
            text::parse_path(path.strip_prefix("//").unwrap_or(path)).map(EventsUrl::Journal)
        }
        Some(("none", "")) => Ok(EventsUrl::None),
        Some(("kafka", rest)) => KafkaUrl::parse(rest).map(EventsUrl::Kafka),
        _ => Err("must be journal:DIR, kafka://host:port,host:port/topic or none:"),
    })
}
