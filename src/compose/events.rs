//! Builds the event sink, and the relay that publishes to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::store::RelayPorts;
use super::{StartError, Store, process_name};
use crate::adapters::journal::Journal;
use crate::adapters::kafka::{
    Encoding, KafkaConnection, KafkaOptions, KafkaSink, KafkaSource, Login, Mechanism, Security, Tls,
};
use crate::adapters::metered::{MeteredOutbox, MeteredSink, OutboxGauges};
use crate::adapters::null::NullSink;
use crate::adapters::system::SystemClock;
use crate::app::{CompareSink, NotifyReplicas, OperateOutbox, RelayEvents, RelayOptions, Warning, Writer};
use crate::config::{
    Config, Events, EventsUrl, KafkaCompression, KafkaEncoding, KafkaSasl, KafkaUrl, Secret,
};
use crate::lifecycle::Lifecycle;
use crate::ports::{Clock, EventSink, PortError, chain};

/// Opens the event sink.
///
/// # Errors
/// Returns an error if the sink cannot be opened as configured.
pub(super) async fn sink(config: &Config, life: &Lifecycle) -> Result<Arc<dyn EventSink>, StartError> {
    let sink: Arc<dyn EventSink> = match &config.events.url {
        EventsUrl::None => return Ok(Arc::new(NullSink)),
        EventsUrl::Kafka(url) => {
            let sink = Arc::new(KafkaSink::new(kafka_options(url, config)?));
            let (first, soft) = (Arc::clone(&sink), life.soft().clone());
            life.spawn_until_done("kafka", async move {
                _ = soft.run_until_cancelled(Box::pin(first.connect())).await;
            });
            sink
        }
        EventsUrl::Journal(folder) => {
            let (folder, file_size) = (folder.clone(), config.events.journal_file_size as u64);
            let opened = tokio::task::spawn_blocking(move || Journal::open(&folder, file_size)).await;
            let journal = opened
                .map_err(|error| PortError::unavailable("opening the journal was interrupted", error))??;
            Arc::new(journal)
        }
    };
    Ok(Arc::new(MeteredSink::new(sink)))
}

fn kafka_options(url: &KafkaUrl, config: &Config) -> Result<KafkaOptions, StartError> {
    let events = &config.events;
    Ok(KafkaOptions {
        connection: kafka_connection(url, events)?,
        topic: url.topic.clone(),
        create: events.kafka_create_topic,
        partitions: events.kafka_partitions,
        replication: events.kafka_replication,
        encoding: match events.kafka_encoding {
            KafkaEncoding::Json => Encoding::Json,
            KafkaEncoding::Protobuf => Encoding::Protobuf,
        },
        lz4: events.kafka_compression == KafkaCompression::Lz4,
    })
}

/// Returns the brokers, and how to connect to them.
pub(super) fn kafka_connection(url: &KafkaUrl, events: &Events) -> Result<KafkaConnection, StartError> {
    let tls = events.kafka_tls.then(|| Tls {
        ca_file: events.kafka_ca_file.clone(),
        client: events.kafka_client_cert_file.clone().zip(events.kafka_client_key_file.clone()),
    });
    let mechanism = match events.kafka_sasl {
        KafkaSasl::None => None,
        KafkaSasl::Plain => Some(Mechanism::Plain),
        KafkaSasl::ScramSha256 => Some(Mechanism::ScramSha256),
        KafkaSasl::ScramSha512 => Some(Mechanism::ScramSha512),
    };
    let login = mechanism.map(|mechanism| Login {
        mechanism,
        user: events.kafka_user.clone().unwrap_or_default(),
        password: events.kafka_password.as_ref().map(Secret::expose).unwrap_or_default().to_owned(),
    });
    Ok(KafkaConnection {
        brokers: url.brokers.clone(),
        timeout: events.kafka_timeout,
        security: Security::open(tls.as_ref(), login)?,
    })
}

/// Opens the topic as a source.
pub(super) fn kafka_source(url: &KafkaUrl, config: &Config) -> Result<KafkaSource, StartError> {
    Ok(KafkaSource::new(kafka_options(url, config)?, Arc::new(SystemClock)))
}

/// The period in which the outbox gauges are updated.
const GAUGE_PERIOD: Duration = Duration::from_secs(5);
/// The time for which a start with an empty store waits for the sink.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// Returns the comparison of the sink with the store.
pub(super) fn compare(store: &Store, sink: Arc<dyn EventSink>) -> CompareSink {
    let RelayPorts { orders, log, outbox } = &store.relay;
    let outbox = Arc::new(MeteredOutbox::new(Arc::clone(outbox)));
    CompareSink::new(Arc::clone(orders), Arc::clone(log), outbox, sink)
}

/// Refuses an empty store next to a sink that has events, unless the configuration allows it. If
/// the sink cannot be reached, the relay compares later.
pub(super) async fn check_store(config: &Config, compare: &CompareSink) -> Result<(), StartError> {
    if config.store.allow_empty {
        return Ok(());
    }
    match timeout(START_PATIENCE, compare.empty_store()).await {
        Ok(Ok(Some(fork))) => Err(StartError::Fork(fork)),
        Ok(Ok(None)) | Err(_) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(cause = chain(&error), "the sink was not compared with the empty store yet");
            Ok(())
        }
    }
}

/// Builds the relay.
pub(super) fn relay(
    config: &Config,
    compare: CompareSink,
    clock: Arc<dyn Clock>,
    writer: &Writer,
) -> RelayEvents {
    let options = RelayOptions { allow_empty_store: config.store.allow_empty, ..RelayOptions::default() };
    RelayEvents::new(compare, clock, writer.committed(), process_name(), options)
}

/// Spawns the notifications among replicas, the relay and the outbox gauges.
/// They run until `stop` is cancelled. Returns the warning that nothing is published
/// until an operator decides.
pub(super) fn spawn_publishing(
    store: &Store,
    relay: RelayEvents,
    operate: OperateOutbox,
    writer: &Writer,
    life: &Lifecycle,
    stop: &CancellationToken,
) -> Warning {
    let notifications = Arc::clone(&store.notifications);
    let replicas = NotifyReplicas::new(notifications, writer.commit_counter(), writer.changes());
    life.spawn_until_done("notifications", replicas.run(stop.clone()));
    let (hard, stopped) = (life.hard().clone(), stop.clone());
    life.spawn_until_done("relay", async move { _ = hard.run_until_cancelled(relay.run(stopped)).await });
    let stop = stop.clone();
    let (stopped, receiver) = watch::channel(None);
    life.spawn_until_done("outbox gauges", async move {
        _ = stop.run_until_cancelled(update_gauges(operate, stopped)).await;
    });
    receiver
}

/// Updates the outbox gauges and the reason why the relay does not publish. Never returns.
async fn update_gauges(operate: OperateOutbox, stopped: watch::Sender<Option<String>>) {
    let gauges = OutboxGauges::new();
    loop {
        // The relay reports failures of the store.
        if let Ok(report) = operate.report().await {
            let held_back = report.status.as_ref().map_or(0, |status| status.dead_letters);
            let reason = report.status.and_then(|status| status.leader).and_then(|leader| leader.stopped);
            gauges.show(report.lag_events, report.lag_seconds, held_back, reason.is_some());
            _ = stopped.send_replace(reason.map(|reason| format!("publishing has stopped: {reason}")));
        }
        tokio::time::sleep(GAUGE_PERIOD).await;
    }
}
