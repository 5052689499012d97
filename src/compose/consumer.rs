//! The consumer: its source, its inbox, and its tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::events::kafka_source;
use super::{StartError, Store, listen, make_data_dir, process_name, spawn_admin};
use crate::adapters::journal::JournalSource;
use crate::adapters::metered::{MeteredInbox, MeteredSource, names};
use crate::adapters::postgres::OpenError as PgError;
use crate::adapters::sqlite::OpenError;
use crate::app::{IngestEvents, IngestOptions, Ingested, OpenInbox, Readiness};
use crate::config::{Config, EventsUrl, StoreUrl};
use crate::domain::Timestamp;
use crate::lifecycle::Lifecycle;
use crate::ports::{EventSource, Inbox, PortError, RecordContent, Start};
use crate::telemetry::Metrics;

/// Options of a consumer in addition to its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// The start position in a partition that was never read.
    pub start: Start,
    /// True if every partition is moved there first.
    pub rewind: bool,
    /// True if each partition is read only up to the end that it had when reading began.
    pub once: bool,
}

/// Parses an instant in RFC 3339 with an offset.
pub fn instant(text: &str) -> Option<Timestamp> {
    let parsed = crate::proto::Timestamp::parse_rfc3339(text).ok()?;
    Timestamp::from_parts(parsed.seconds, parsed.nanos)
}

/// Receives the counts of a consumer when it ends.
pub type Consumed = tokio::sync::oneshot::Receiver<Ingested>;

/// Opens the source of the consumer's events.
///
/// # Errors
/// No events are published, or the source cannot be opened as configured.
fn source(config: &Config) -> Result<Arc<dyn EventSource>, StartError> {
    let source: Arc<dyn EventSource> = match &config.events.url {
        EventsUrl::None => return Err(StartError::NoSource),
        EventsUrl::Journal(folder) => Arc::new(JournalSource::new(folder)),
        EventsUrl::Kafka(url) => Arc::new(kafka_source(url, config)?),
    };
    Ok(Arc::new(MeteredSource::new(source)))
}

/// Returns the configuration with the consumer's store instead of the order store.
fn of_consumer(config: &Config) -> Config {
    let url = config.consumer.store.clone();
    // `read_url` names a standby of the order store.
    let store = crate::config::Store { url, read_url: None, ..config.store.clone() };
    Config { store, ..config.clone() }
}

/// Reads the events that are published from now on, and passes the order id of each to `seen`.
/// Dropping the returned set stops the readers.
///
/// # Errors
/// Events are not published, or the source cannot be read.
pub async fn follow(
    config: &Config,
    seen: impl Fn(&str) + Send + Sync + 'static,
) -> Result<JoinSet<()>, StartError> {
    let source = source(config)?;
    let seen = Arc::new(seen);
    let mut readers = JoinSet::new();
    for partition in source.partitions().await.map_err(StartError::Source)? {
        let mut from = source.begin(partition, Start::Latest).await.map_err(StartError::Source)?;
        let (source, seen) = (Arc::clone(&source), Arc::clone(&seen));
        readers.spawn(async move {
            loop {
                let Ok(fetched) = source.fetch(partition, from, 2_000).await else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                from = fetched.next;
                for record in fetched.records {
                    if let RecordContent::Event(event) = record.content {
                        seen(event.order.order_id.as_str());
                    }
                }
            }
        });
    }
    Ok(readers)
}

fn ingest(
    config: &Config,
    source: Arc<dyn EventSource>,
    inbox: Arc<dyn Inbox>,
    options: ConsumeOptions,
) -> IngestEvents {
    let ConsumeOptions { start, rewind, once } = options;
    let defaults = IngestOptions::new(process_name());
    let (batch, lease) = (config.consumer.batch, config.consumer.lease);
    let options = IngestOptions { batch, lease, start, rewind, once, ..defaults };
    IngestEvents::new(source, Arc::new(MeteredInbox::new(inbox)), options)
}

/// Starts the consumer and spawns its tasks on `life`. If it finishes by itself, the process
/// drains. Returns the address of the admin server.
///
/// # Errors
/// The source, the store or the socket cannot be opened. Nothing is started then.
pub async fn consume(
    config: &Config,
    options: ConsumeOptions,
    life: &Lifecycle,
) -> Result<(SocketAddr, Consumed), StartError> {
    let metrics = Metrics::install()?;
    names::describe();
    make_data_dir(&config.data_dir).await?;
    let source = source(config)?;
    let store = Store::open(&of_consumer(config)).await?;
    let listener = listen(config.consumer.admin_addr, "consumer.admin_addr").await?;
    let addr = listener.local_addr().map_err(|cause| StartError::Listen {
        addr: config.consumer.admin_addr,
        key: "consumer.admin_addr",
        cause,
    })?;
    let readiness = Readiness::new(Arc::clone(&store.orders));
    let done = CancellationToken::new();
    spawn_admin(listener, readiness.subscribe(), metrics, life, &done);
    life.spawn_until_done("readiness", readiness.run(life.soft().clone()));
    let ingest = ingest(config, source, store.inbox, options);
    let (soft, hard) = (life.soft().clone(), life.hard().clone());
    let (sender, consumed) = tokio::sync::oneshot::channel();
    life.spawn_until_done("consumer", async move {
        let ingested = hard.run_until_cancelled(ingest.run(soft.clone())).await;
        // The receiver may have been dropped.
        _ = sender.send(ingested.unwrap_or_default());
        soft.cancel();
        done.cancel();
    });
    Ok((addr, consumed))
}

/// Starts the in-process consumer if it is configured. Returns the function that opens its inbox.
pub(super) async fn beside(config: &Config, life: &Lifecycle) -> Result<OpenInbox, StartError> {
    if !config.consumer.in_process {
        return Ok(opener(config));
    }
    let source = source(config)?;
    let inbox = Store::open(&of_consumer(config)).await?.inbox;
    let options = ConsumeOptions { start: Start::Earliest, rewind: false, once: false };
    let ingest = ingest(config, source, Arc::clone(&inbox), options);
    let (soft, hard) = (life.soft().clone(), life.hard().clone());
    life.spawn_until_done("consumer", async move { _ = hard.run_until_cancelled(ingest.run(soft)).await });
    Ok(Box::new(move || {
        let inbox = Arc::clone(&inbox);
        async move { Ok(Some(inbox)) }.boxed()
    }))
}

/// Returns the function that opens the inbox of a consumer in another process, read-only.
fn opener(config: &Config) -> OpenInbox {
    let config = Arc::new(of_consumer(config));
    Box::new(move || {
        let config = Arc::clone(&config);
        let open = async move {
            // Another process's memory cannot be read.
            if config.store.url == StoreUrl::Memory {
                return Ok(None);
            }
            match Store::open_read_only(&config).await {
                Ok(store) => Ok(Some(store.inbox)),
                Err(StartError::Open(OpenError::Missing(_)) | StartError::Postgres(PgError::Missing)) => {
                    Ok(None)
                }
                Err(error) => Err(PortError::unavailable("the consumer's store cannot be opened", error)),
            }
        };
        open.boxed()
    })
}
