use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kafka::{self, KafkaCompression, KafkaEncoding, KafkaSasl, KafkaUrl};
use super::secret::{Secret, secret};
use super::text;

/// The event sink: where events are published, in addition to the store.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Events {
    /// The sink: "journal:DIR" (JSON lines in files; default folder: "events" in
    /// the data directory), "kafka://host:port,host:port/topic" (default topic:
    /// "pvz.events-log") or "none:" (events are not published; clients read them
    /// with ListEvents and WatchEvents). One replica at a time publishes, so with
    /// several replicas on one PostgreSQL database use Kafka: a journal would be
    /// split over the replicas' own folders.
    #[config(env = "PVZ_EVENTS", default = "journal:", deserialize_with = url)]
    pub url: EventsUrl,

    /// Journal: file size at which a new file is started.
    #[config(
        env = "PVZ_EVENTS_JOURNAL_FILE_SIZE",
        default = "64MiB",
        deserialize_with = text::bytes::<_, { 1 << 10 }, { 1 << 40 }>
    )]
    pub journal_file_size: usize,

    /// Kafka: number of partitions of a topic that pvz creates.
    #[config(
        env = "PVZ_EVENTS_KAFKA_PARTITIONS",
        default = 8,
        deserialize_with = text::integer::<_, _, 1, 10_000>
    )]
    pub kafka_partitions: usize,

    /// Kafka: replication factor of a topic that pvz creates.
    #[config(
        env = "PVZ_EVENTS_KAFKA_REPLICATION",
        default = 1,
        deserialize_with = text::integer::<_, _, 1, 100>
    )]
    pub kafka_replication: i16,

    /// Kafka: encoding of record values, "json" or "protobuf".
    #[config(env = "PVZ_EVENTS_KAFKA_ENCODING", default = "json", deserialize_with = kafka::encoding)]
    pub kafka_encoding: KafkaEncoding,

    /// Kafka: compression of record batches, "none" or "lz4".
    #[config(env = "PVZ_EVENTS_KAFKA_COMPRESSION", default = "none", deserialize_with = kafka::compression)]
    pub kafka_compression: KafkaCompression,

    /// Kafka: request timeout.
    #[config(
        env = "PVZ_EVENTS_KAFKA_TIMEOUT",
        default = "10s",
        deserialize_with = text::duration::<_, 100, 60_000>
    )]
    pub kafka_timeout: Duration,

    /// Kafka: create the topic if it does not exist. If false, events wait in
    /// the store until the topic is created.
    #[config(env = "PVZ_EVENTS_KAFKA_CREATE_TOPIC", default = true, deserialize_with = text::boolean)]
    pub kafka_create_topic: bool,

    /// Kafka: connect to brokers over TLS.
    #[config(env = "PVZ_EVENTS_KAFKA_TLS", default = false, deserialize_with = text::boolean)]
    pub kafka_tls: bool,

    /// Kafka: PEM file of the certificate authorities to trust. Not set: the
    /// system's authorities.
    #[config(env = "PVZ_EVENTS_KAFKA_CA_FILE", deserialize_with = text::path)]
    pub kafka_ca_file: Option<PathBuf>,

    /// Kafka: PEM file of the client certificate, if brokers require one.
    #[config(env = "PVZ_EVENTS_KAFKA_CLIENT_CERT_FILE", deserialize_with = text::path)]
    pub kafka_client_cert_file: Option<PathBuf>,

    /// Kafka: PEM file of the client certificate's private key.
    #[config(env = "PVZ_EVENTS_KAFKA_CLIENT_KEY_FILE", deserialize_with = text::path)]
    pub kafka_client_key_file: Option<PathBuf>,

    /// Kafka: SASL mechanism: "none", "plain", "scram-sha-256" or
    /// "scram-sha-512".
    #[config(env = "PVZ_EVENTS_KAFKA_SASL", default = "none", deserialize_with = kafka::sasl)]
    pub kafka_sasl: KafkaSasl,

    /// Kafka: SASL user name.
    #[config(env = "PVZ_EVENTS_KAFKA_USER", deserialize_with = kafka::user)]
    pub kafka_user: Option<String>,

    /// Kafka: SASL password. Prefer the environment variable or
    /// `kafka_password_file` to this file. The password is never printed.
    #[config(env = "PVZ_EVENTS_KAFKA_PASSWORD", deserialize_with = secret)]
    pub kafka_password: Option<Secret>,

    /// Kafka: file with the SASL password.
    #[config(env = "PVZ_EVENTS_KAFKA_PASSWORD_FILE", deserialize_with = text::path)]
    pub kafka_password_file: Option<PathBuf>,
}

/// The URL of the event sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsUrl {
    /// Journal files in this folder.
    Journal(PathBuf),
    /// An Apache Kafka topic.
    Kafka(KafkaUrl),
    /// Events are not published.
    None,
}

impl EventsUrl {
    /// Fills in the default journal folder in the data directory.
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
        Some(("journal", path)) => text::parse_url_path(path).map(EventsUrl::Journal),
        Some(("none", "")) => Ok(EventsUrl::None),
        Some(("kafka", rest)) => KafkaUrl::parse(rest).map(EventsUrl::Kafka),
        _ => Err("must be journal:DIR, kafka://host:port,host:port/topic or none:"),
    })
}
