//! Builds the consumer: its source, its inbox and its tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connections::connection_options;
use super::events::kafka_source;
use super::migrate_command::is_missing;
use super::{StartError, Store, address_of, listen, make_data_dir, process_name, spawn_admin};
use crate::adapters::admin;
use crate::adapters::journal::JournalSource;
use crate::adapters::memory::MemoryStore;
use crate::adapters::metered::{MeteredInbox, MeteredSource, names};
use crate::adapters::null::NullSink;
use crate::adapters::system::raise_open_files;
use crate::app::{IngestEvents, IngestOptions, Ingested, OpenInbox, Readiness, WarnOfConflicts, Warning};
use crate::config::{Config, EventsUrl};
use crate::domain::Timestamp;
use crate::lifecycle::Lifecycle;
use crate::ports::{EventSource, Inbox, PortError, RecordContent, Start, chain};
use crate::telemetry::Metrics;

/// The options of `pvz consume` that are not part of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// The position at which to begin a partition that was never read.
    pub start: Start,
    /// Moves every partition to `start` first.
    pub rewind: bool,
    /// Ends when every partition has been read to its end.
    pub once: bool,
}

/// Parses an instant in RFC 3339, with an offset.
pub fn instant(text: &str) -> Option<Timestamp> {
    let parsed = crate::proto::Timestamp::parse_rfc3339(text).ok()?;
    Timestamp::from_parts(parsed.seconds, parsed.nanos)
}

/// Receives the counts of a consumer that has ended without an error.
pub type Consumed = tokio::sync::oneshot::Receiver<Ingested>;

/// Opens the source of the consumer's events.
///
/// # Errors
/// Returns an error if events are not published, or if the source cannot be
/// opened as configured.
fn source(config: &Config) -> Result<Arc<dyn EventSource>, StartError> {
    let source: Arc<dyn EventSource> = match &config.events.url {
        EventsUrl::None => return Err(StartError::NoSource),
        EventsUrl::Journal(folder) => Arc::new(JournalSource::new(folder)),
        EventsUrl::Kafka(url) => Arc::new(kafka_source(url, config)?),
    };
    Ok(Arc::new(MeteredSource::new(source)))
}

/// Returns the configuration with the consumer's store as the store.
fn with_consumer_store(config: &Config) -> Config {
    let url = config.consumer.store.clone();
    // `read_url` names a standby of the orders' database.
    let store = crate::config::Store { url, read_url: None, ..config.store.clone() };
    Config { store, ..config.clone() }
}

/// Reads the events that are published from now on, and calls `on_event` with
/// the order id of each. Dropping the returned tasks ends them.
///
/// # Errors
/// Returns an error if events are not published, or if the source cannot be read.
pub async fn follow(
    config: &Config,
    on_event: impl Fn(&str) + Send + Sync + 'static,
) -> Result<JoinSet<()>, StartError> {
    let source = source(config)?;
    let on_event = Arc::new(on_event);
    let mut readers = JoinSet::new();
    for partition in source.partitions().await.map_err(StartError::Source)? {
        let mut from = source.begin(partition, Start::Latest).await.map_err(StartError::Source)?;
        let (source, on_event) = (Arc::clone(&source), Arc::clone(&on_event));
        readers.spawn(async move {
            loop {
                let Ok(fetched) = source.fetch(partition, from, 2_000).await else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                from = fetched.next;
                for record in fetched.records {
                    if let RecordContent::Event(event) = record.content {
                        on_event(event.order.order_id.as_str());
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

/// Starts the consumer as tasks of `life`. A consumer that ends by itself ends
/// the process. Returns the address of the admin server.
///
/// # Errors
/// Returns an error if the source, the inbox or the admin server cannot be
/// opened. Then no consumer was started.
pub async fn consume(
    config: &Config,
    options: ConsumeOptions,
    life: &Lifecycle,
) -> Result<(SocketAddr, Consumed), StartError> {
    let metrics = Metrics::install()?;
    names::describe();
    make_data_dir(config).await?;
    let source = source(config)?;
    let store = Store::open(&with_consumer_store(config)).await?;
    let listener = listen(config.consumer.admin_addr, "consumer.admin_addr").await?;
    let addr = address_of(&listener, config.consumer.admin_addr, "consumer.admin_addr")?;
    let ingest = ingest(config, source, Arc::clone(&store.inbox), options);
    let readiness = Readiness::new(store.orders, Arc::new(NullSink)).with_consumer(ingest.progress());
    let done = CancellationToken::new();
    let connections = connection_options(config, raise_open_files());
    let warnings = vec![warn_of_conflicts(&store.inbox, life)];
    let state = admin::State { ready: readiness.subscribe(), warnings };
    spawn_admin(connections, listener, state, metrics, life, &done);
    life.spawn_until_done("readiness", readiness.run(life.soft().clone()));
    let (soft, hard) = (life.soft().clone(), life.hard().clone());
    let (finished, consumed) = tokio::sync::oneshot::channel();
    life.spawn("consumer", async move {
        let ingested = hard.run_until_cancelled(ingest.run(soft.clone())).await.transpose();
        soft.cancel();
        done.cancel();
        // The receiver may have been dropped.
        ingested.map(|ingested| _ = finished.send(ingested.unwrap_or_default()))
    });
    Ok((addr, consumed))
}

/// Starts the consumer in the process of the server if `consumer.in_process` says
/// so. Returns the inbox of the consumer, in this process or in another one, and the
/// warnings of a consumer in this process.
pub(super) async fn embed(
    config: &Config,
    life: &Lifecycle,
) -> Result<(OpenInbox, Vec<Warning>), StartError> {
    if !config.consumer.in_process {
        return Ok((remote_inbox(config), Vec::new()));
    }
    let source = source(config)?;
    let inbox = Store::open(&with_consumer_store(config)).await?.inbox;
    let options = ConsumeOptions { start: Start::Earliest, rewind: false, once: false };
    let ingest = ingest(config, source, Arc::clone(&inbox), options);
    let (soft, hard) = (life.soft().clone(), life.hard().clone());
    let (stopped, stopped_warning) = watch::channel(None);
    life.spawn_until_done("consumer", async move {
        if let Some(Err(error)) = hard.run_until_cancelled(ingest.run(soft)).await {
            let error = chain(&error);
            tracing::error!(error, "consumer stopped, the server continues without it");
            _ = stopped.send_replace(Some(format!("consumer stopped: {error}")));
        }
    });
    let warnings = vec![stopped_warning, warn_of_conflicts(&inbox, life)];
    let open: OpenInbox = Box::new(move || {
        let inbox = Arc::clone(&inbox);
        async move { Ok(inbox) }.boxed()
    });
    Ok((open, warnings))
}

/// Starts the watch for conflicts, and returns its warning.
fn warn_of_conflicts(inbox: &Arc<dyn Inbox>, life: &Lifecycle) -> Warning {
    let watch = WarnOfConflicts::new(Arc::clone(inbox));
    let warning = watch.subscribe();
    life.spawn_until_done("conflicts", watch.run(life.soft().clone()));
    warning
}

/// Returns the inbox of a consumer in another process, for reading. It is opened
/// at the first call that finds it; until a consumer has created it, calls return
/// an empty inbox.
fn remote_inbox(config: &Config) -> OpenInbox {
    let shared = Arc::new((with_consumer_store(config), OnceCell::new()));
    Box::new(move || {
        let shared = Arc::clone(&shared);
        let open = async move {
            let (config, opened) = &*shared;
            match opened.get_or_try_init(|| Store::open_read_only(config)).await {
                Ok(store) => Ok(Arc::clone(&store.inbox)),
                Err(error) if is_missing(&error) => Ok(Arc::new(MemoryStore::new([0; 32])) as Arc<dyn Inbox>),
                Err(error) => Err(PortError::unavailable("the consumer's store cannot be opened", error)),
            }
        };
        open.boxed()
    })
}
