//! REST: the gateway that `proto/` describes, over the same service as gRPC.
//!
//! The routes are written at build time from the `google.api.http` annotations
//! (`build/routes.rs`), and the OpenAPI document with them. A handler turns a
//! request into a message, calls the service in process, and turns the answer
//! or the refusal into HTTP; what the service does is not repeated here.

mod body;
mod call;
mod gateway;
mod hyper_errors;
mod idempotency;
mod import;
mod lines;
mod openapi;
mod pages;
mod parameters;
mod problem;
mod reasons;
mod refuse;
mod router;
mod server;
mod swagger_ui;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::ports::Ids;
use crate::proto::v1::order_service_server::OrderService;

pub use problem::Problem;

/// Limits and time-outs of the HTTP face.
#[derive(Clone)]
pub struct HttpOptions {
    /// Makes correlation ids for requests without one.
    pub ids: Arc<dyn Ids>,
    /// The largest body of a request that is not a stream, in bytes.
    pub max_body: usize,
    /// The most connections at once; others wait.
    pub max_connections: usize,
    /// How long the head of a request may take, counted over HTTP/1.1 from the
    /// answer before it: a connection is kept alive no longer than this.
    pub header_timeout: Duration,
    /// How long a body that is not a stream may take.
    pub body_timeout: Duration,
    /// How long a stream of rows may pause.
    pub stream_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// How often a stream of events shows that it is alive.
    pub heartbeat: Duration,
    /// How long a connection without a request stays once the service stops.
    pub grace: Duration,
    /// How long requests may still take once the service stops.
    pub drain_deadline: Duration,
    /// The origins whose pages may ask; `*` is all, none is off.
    pub cors_origins: Vec<String>,
}

impl HttpOptions {
    /// What fits most installations.
    pub fn new(ids: Arc<dyn Ids>) -> Self {
        Self {
            ids,
            max_body: 4 * 1024 * 1024,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_mins(2),
            idle_timeout: Duration::from_secs(75),
            heartbeat: Duration::from_secs(15),
            grace: Duration::from_secs(2),
            drain_deadline: Duration::from_secs(30),
            cors_origins: Vec::new(),
        }
    }
}

/// Serves the HTTP face of a service, HTTP/1.1 and HTTP/2 without TLS, until
/// the token is cancelled and what was asked before is answered.
///
/// # Errors
/// When the listener has no address, because it is closed.
pub async fn serve<S: OrderService>(
    listener: TcpListener,
    service: Arc<S>,
    options: HttpOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::debug!(%address, "HTTP is served");
    let gateway = gateway::Gateway { service, options: options.clone(), shutdown: shutdown.clone() };
    server::serve(listener, router::HttpService::new(gateway), &options, &shutdown).await;
    Ok(())
}

/// The OpenAPI 3.1 document, as it is served at `/openapi.json`.
pub fn openapi_document() -> &'static str {
    std::str::from_utf8(&openapi::document().text).unwrap_or_default()
}
