//! The composition root: configuration → adapters → use cases → servers. No
//! other module knows all of them.

mod cache;
mod connections;
mod consumer;
mod events;
mod exposed_files;
mod migrate_command;
mod start_error;
mod store;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::adapters::admin;
use crate::adapters::api::{CallContext, ImportService, RequestMemory};
use crate::adapters::connections::ConnectionOptions;
use crate::adapters::grpc::{self, GrpcOptions, GrpcOrderService};
use crate::adapters::http::{self, HttpOptions};
use crate::adapters::metered::names;
use crate::adapters::system::{SystemClock, SystemIds, raise_open_files};
use crate::app::{
    CompareSink, ImportOrders, Maintenance, OpenInbox, OperateOutbox, PageTokens, PublishChanges, ReadEvents,
    ReadOrders, ReadStatistics, Readiness, Writer, WriterLimits,
};
use crate::config::Config;
use crate::domain::Policy;
use crate::lifecycle::Lifecycle;
use crate::ports::{Clock, EventSink, Ids, OrderCache};
use crate::telemetry::Metrics;

pub use crate::ports::Start;
use connections::connection_options;
pub use consumer::{ConsumeOptions, Consumed, consume, follow, instant};
use events::{check_store, compare, relay, sink, spawn_publishing};
use exposed_files::warn_of_exposed_files;
pub use migrate_command::migrate_command;
pub use start_error::StartError;
pub use store::{SchemaStep, Store, migrate, postgres_client, schema};

/// The listening addresses of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// REST and Swagger UI.
    pub http: SocketAddr,
    /// Health checks and metrics.
    pub admin: SocketAddr,
}

/// The listening sockets of a service, opened before any server starts.
struct Sockets {
    grpc: TcpListener,
    http: TcpListener,
    admin: TcpListener,
}

impl Sockets {
    async fn open(config: &Config) -> Result<Self, StartError> {
        let server = &config.server;
        Ok(Self {
            grpc: listen(server.grpc_addr, "server.grpc_addr").await?,
            http: listen(server.http_addr, "server.http_addr").await?,
            admin: listen(server.admin_addr, "server.admin_addr").await?,
        })
    }

    fn addresses(&self, config: &Config) -> Result<Addresses, StartError> {
        let server = &config.server;
        Ok(Addresses {
            grpc: address_of(&self.grpc, server.grpc_addr, "server.grpc_addr")?,
            http: address_of(&self.http, server.http_addr, "server.http_addr")?,
            admin: address_of(&self.admin, server.admin_addr, "server.admin_addr")?,
        })
    }
}

async fn listen(addr: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).await.map_err(|cause| StartError::Listen { addr, key, cause })
}

/// Returns the address of a listener for `addr`, with the port that it was assigned.
fn address_of(listener: &TcpListener, addr: SocketAddr, key: &'static str) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|cause| StartError::Listen { addr, key, cause })
}

/// The clock and the id generator of a service, so that tests can set the time.
#[derive(Clone)]
pub struct Environment {
    /// The clock of every decision.
    pub clock: Arc<dyn Clock>,
    /// The generator of event ids and correlation ids.
    pub ids: Arc<dyn Ids>,
}

impl Environment {
    /// Returns the clock and the random numbers of this machine.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) }
    }
}

/// Starts the service: opens the store and the sockets, and spawns every task on
/// `life`.
///
/// # Errors
/// Returns an error if the store, the event sink or a socket cannot be opened.
/// Nothing is served then.
pub async fn start(
    config: &Config,
    environment: Environment,
    life: &Lifecycle,
) -> Result<Addresses, StartError> {
    let Environment { clock, ids } = environment;
    let connections = connection_options(config, raise_open_files());
    let metrics = Metrics::install()?;
    names::describe();
    make_data_dir(config).await?;
    let (store, sink, compare) = open(config, life).await?;
    let secret = store.orders.secret().await?;
    let sockets = Sockets::open(config).await?;
    let addresses = sockets.addresses(config)?;

    let policy = Arc::new(config.policy.to_domain());
    let (cache, cached_orders) = cache::cache(&config.cache, &store);
    let writer = writer(config, &store, &clock, &ids, &policy, &cache);
    spawn_workers(&writer, config.writer.workers.unwrap_or(store.workers), life);
    let tokens = PageTokens::new(secret);
    let operated = operate(&store, compare.clone(), Arc::clone(&clock), tokens.clone());
    let request_memory = RequestMemory::new(config.server.request_memory);
    let calls = call_context(config, &ids, life, request_memory.clone());
    let imports = ImportService::new(calls.clone(), ImportOrders::new(writer.clone(), life.soft().clone()));
    let (inbox, mut warnings) = consumer::embed(config, life).await?;
    let service = GrpcOrderService {
        calls,
        writer: writer.clone(),
        imports: imports.clone(),
        orders: ReadOrders::new(cached_orders, Arc::clone(&store.orders), Arc::clone(&clock), tokens.clone()),
        events: ReadEvents::new(
            Arc::clone(&store.log),
            Arc::clone(&store.orders),
            Arc::clone(&clock),
            tokens.clone(),
            writer.committed(),
            life.soft().clone(),
        ),
        statistics: read_statistics(inbox, &store, &sink, &clock, tokens),
        outbox: operated.clone(),
        policy: Arc::clone(&policy),
    };
    let readiness = Readiness::new(Arc::clone(&store.orders), sink);
    let (grpc_ready, ready) = (readiness.subscribe(), readiness.subscribe());
    life.spawn_until_done("readiness", readiness.run(life.soft().clone()));
    let maintenance = Maintenance::new(Arc::clone(&store.orders), Arc::clone(&clock), policy);
    life.spawn_until_done("maintenance", maintenance.run(life.soft().clone()));

    let (hard, soft) = (life.hard().clone(), life.soft().clone());
    let options = grpc_options(config, connections, request_memory.clone());
    let http_options = http_options(config, connections, &ids, &clock, request_memory);
    let done = CancellationToken::new();
    // Publishing stops after the servers, so that the events of the last commands
    // are published too.
    let relay = relay(config, compare, clock, &writer);
    cache::spawn_gauges(cache, life, &done);
    warnings.push(spawn_publishing(&store, relay, operated, &writer, life, &done));
    let state = admin::State { ready, warnings };
    spawn_admin(connections, sockets.admin, state, metrics, life, &done);
    // Dropped when both servers have ended: closes the writer pool, then stops
    // publishing and the admin server.
    let served = Arc::new((Closing(writer), done.drop_guard()));
    let (http_service, http_served) = (Arc::new(service.clone()), Arc::clone(&served));
    let (http_hard, http_soft) = (hard.clone(), soft.clone());
    life.spawn("http", async move {
        let _served = http_served;
        tokio::select! {
            served = http::serve(sockets.http, http_service, imports, http_options, http_soft) => served,
            () = http_hard.cancelled() => Ok(()),
        }
    });
    life.spawn("grpc", async move {
        let _served = served;
        tokio::select! {
            served = grpc::serve(sockets.grpc, service, grpc_ready, ids, options, soft) => served,
            () = hard.cancelled() => Ok(()),
        }
    });
    Ok(addresses)
}

/// Opens the store and the event sink, and checks that they belong together.
async fn open(
    config: &Config,
    life: &Lifecycle,
) -> Result<(Store, Arc<dyn EventSink>, CompareSink), StartError> {
    let (store, sink) = (Store::open(config).await?, sink(config, life).await?);
    let compare = compare(&store, Arc::clone(&sink));
    check_store(config, &compare).await?;
    Ok((store, sink, compare))
}

fn spawn_workers(writer: &Writer, workers: usize, life: &Lifecycle) {
    for _ in 0..workers {
        let (work, hard) = (writer.clone().work(), life.hard().clone());
        life.spawn_until_done("writer", async move { _ = hard.run_until_cancelled(work).await });
    }
}

/// Spawns the admin server and the metrics upkeep, until `stop` is cancelled.
fn spawn_admin(
    connections: ConnectionOptions,
    listener: TcpListener,
    state: admin::State,
    metrics: Metrics,
    life: &Lifecycle,
    stop: &CancellationToken,
) {
    let rendered = metrics.clone();
    let render: admin::Render = Arc::new(move || rendered.render());
    life.spawn_until_done("admin", admin::serve(listener, state, render, connections, stop.clone()));
    let (upkeep, stop) = (metrics.upkeep(), stop.clone());
    life.spawn_until_done("metrics", async move { _ = stop.run_until_cancelled(upkeep).await });
}

/// Builds the use case that reads statistics.
fn read_statistics(
    inbox: OpenInbox,
    store: &Store,
    sink: &Arc<dyn EventSink>,
    clock: &Arc<dyn Clock>,
    tokens: PageTokens,
) -> ReadStatistics {
    ReadStatistics::new(inbox, Arc::clone(&store.log), Arc::clone(sink), Arc::clone(clock), tokens)
}

/// The outbox use cases for operators.
fn operate(store: &Store, compare: CompareSink, clock: Arc<dyn Clock>, tokens: PageTokens) -> OperateOutbox {
    OperateOutbox::new(Arc::clone(&store.log), Arc::clone(&store.outbox), clock, tokens, compare)
}

/// Creates the data directory, and warns if every user can read what is there. The folder of a store
/// with its own path must exist.
async fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let path = &config.data_dir;
    let made = tokio::fs::create_dir_all(path).await;
    made.map_err(|cause| StartError::DataDir { path: path.clone(), cause })?;
    warn_of_exposed_files(config);
    Ok(())
}

fn call_context(config: &Config, ids: &Arc<dyn Ids>, life: &Lifecycle, memory: RequestMemory) -> CallContext {
    CallContext::new(Arc::clone(ids), config.server.request_timeout, life.soft().clone(), memory)
}

fn grpc_options(
    config: &Config,
    connections: ConnectionOptions,
    request_memory: RequestMemory,
) -> GrpcOptions {
    GrpcOptions {
        max_message: config.server.max_message,
        request_memory,
        request_timeout: config.server.request_timeout,
        max_concurrent_streams: config.server.max_concurrent_streams,
        keep_alive: config.server.keep_alive_interval,
        connections,
    }
}

fn http_options(
    config: &Config,
    connections: ConnectionOptions,
    ids: &Arc<dyn Ids>,
    clock: &Arc<dyn Clock>,
    request_memory: RequestMemory,
) -> HttpOptions {
    let server = &config.server;
    HttpOptions {
        max_body: server.max_message,
        request_memory,
        connections,
        body_timeout: server.request_timeout,
        public_url: server.public_url.as_deref().unwrap_or_default().into(),
        cors_origins: server.cors_origins.clone(),
        ..HttpOptions::new(Arc::clone(ids), Arc::clone(clock))
    }
}

fn writer(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
    policy: &Arc<Policy>,
    cache: &Arc<dyn OrderCache>,
) -> Writer {
    let limits = WriterLimits {
        queue: config.writer.queue,
        batch: config.writer.batch,
        retry_budget: config.writer.retry_budget,
    };
    let (clock, ids, policy) = (Arc::clone(clock), Arc::clone(ids), Arc::clone(policy));
    let changes = PublishChanges::new(Arc::<dyn OrderCache>::clone(cache));
    Writer::new(Arc::clone(&store.orders), clock, ids, policy, limits, changes)
}

/// Returns host and process id, which name the leader in `pvz outbox status`.
fn process_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id())
}

/// Closes the writer pool when it is dropped.
struct Closing(Writer);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
