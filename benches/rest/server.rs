//! The servers under measurement: those of the product, and one written by
//! hand.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures::FutureExt as _;
use pvz::adapters::api::{CallContext, ImportService, RequestMemory};
use pvz::adapters::connections::ConnectionOptions;
use pvz::adapters::grpc::{self, GrpcOptions, GrpcOrderService};
use pvz::adapters::http::{self, HttpOptions};
use pvz::adapters::memory::MemoryStore;
use pvz::adapters::null::{NullCache, NullSink};
use pvz::adapters::system::{SystemClock, SystemIds};
use pvz::app::{
    CachedOrders, CompareSink, ImportOrders, OperateOutbox, PageTokens, PublishChanges, ReadEvents,
    ReadOrders, ReadStatistics, Readiness, Writer, WriterLimits,
};
use pvz::domain::{PickupPointId, Policy};
use pvz::ports::{Clock, Inbox};
use pvz::proto::v1::AcceptOrderRequest;
use pvz::proto::v1::order_service_server::OrderService as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{BoxError, ServerKind};

/// Prints the address, and serves until standard input is closed.
pub fn serve(kind: ServerKind) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(kind))
}

async fn run(kind: ServerKind) -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;

    let stop = CancellationToken::new();
    let (store, ids) = (Arc::new(MemoryStore::new([7; 32])), Arc::new(SystemIds));
    let service = service(&store, &ids, &stop)?;
    let closed = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        closed.cancel();
    });
    match kind {
        ServerKind::Grpc => {
            let ready = Readiness::new(store, Arc::new(NullSink)).subscribe();
            let options = GrpcOptions {
                max_message: 256 * 1024,
                request_memory: RequestMemory::new(64 * 1024 * 1024),
                request_timeout: Duration::from_secs(30),
                max_concurrent_streams: 1_024,
                keep_alive: Duration::from_secs(30),
                connections: ConnectionOptions::default(),
            };
            grpc::serve(listener, service, ready, ids, options, stop).await?;
        }
        ServerKind::Gateway => {
            let imports = service.imports.clone();
            http::serve(
                listener,
                Arc::new(service),
                imports,
                HttpOptions::new(ids, Arc::new(SystemClock)),
                stop,
            )
            .await?;
        }
        ServerKind::ByHand => {
            let routes = axum::Router::new().route("/v1/orders", post(accept)).with_state(service);
            axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await?;
        }
    }
    Ok(())
}

fn service(
    store: &Arc<MemoryStore>,
    ids: &Arc<SystemIds>,
    stop: &CancellationToken,
) -> Result<GrpcOrderService, BoxError> {
    let policy = Arc::new(Policy::standard(PickupPointId::parse("main")?));
    let limits = WriterLimits { queue: 4_096, batch: 512, retry_budget: Duration::from_secs(5) };
    let (clock, tokens) = (Arc::new(SystemClock), PageTokens::new([7; 32]));
    let writer = Writer::new(
        Arc::<MemoryStore>::clone(store),
        Arc::<SystemClock>::clone(&clock),
        Arc::<SystemIds>::clone(ids),
        Arc::clone(&policy),
        limits,
        PublishChanges::new(Arc::new(NullCache)),
    );
    tokio::spawn(writer.clone().work());
    let calls = CallContext::new(
        Arc::<SystemIds>::clone(ids),
        Duration::from_secs(30),
        stop.clone(),
        RequestMemory::new(64 << 20),
    );
    let single = CachedOrders::new(Arc::new(NullCache), Arc::<MemoryStore>::clone(store));
    let orders = ReadOrders::new(
        single,
        Arc::<MemoryStore>::clone(store),
        Arc::<SystemClock>::clone(&clock),
        tokens.clone(),
    );
    let (log, kept) = (Arc::<MemoryStore>::clone(store), Arc::<MemoryStore>::clone(store));
    let dyn_clock: Arc<dyn Clock> = clock;
    let (committed, drain) = (writer.committed(), stop.clone());
    let events = ReadEvents::new(log, kept, Arc::clone(&dyn_clock), tokens.clone(), committed, drain);
    let inbox = Arc::<MemoryStore>::clone(store);
    let open_inbox = move || futures::future::ready(Ok(Arc::clone(&inbox) as Arc<dyn Inbox>)).boxed();
    let (log, sink) = (Arc::<MemoryStore>::clone(store), Arc::new(NullSink));
    let statistics =
        ReadStatistics::new(Box::new(open_inbox), log, sink, Arc::clone(&dyn_clock), tokens.clone());
    let (log, kept) = (Arc::<MemoryStore>::clone(store), Arc::<MemoryStore>::clone(store));
    let compare = CompareSink::new(
        Arc::<MemoryStore>::clone(store),
        Arc::<MemoryStore>::clone(store),
        Arc::<MemoryStore>::clone(store),
        Arc::new(NullSink),
    );
    let outbox = OperateOutbox::new(log, kept, dyn_clock, tokens, compare);
    let imports = ImportService::new(calls.clone(), ImportOrders::new(writer.clone(), stop.clone()));
    Ok(GrpcOrderService { calls, writer, imports, orders, events, statistics, outbox, policy })
}

/// The handler written by hand: one route, no route table.
async fn accept(State(service): State<GrpcOrderService>, body: axum::body::Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<AcceptOrderRequest>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match service.accept_order(tonic::Request::new(request)).await {
        Err(_) => StatusCode::CONFLICT.into_response(),
        Ok(answer) => match serde_json::to_vec(answer.get_ref()) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
    }
}
