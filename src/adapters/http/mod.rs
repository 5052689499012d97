//! REST: a gateway in front of the same service as gRPC.
//!
//! The routes and the OpenAPI document are generated at build time from the
//! `google.api.http` annotations in `proto/` (`build/routes.rs`,
//! `build/openapi.rs`). A handler converts a request into a message, calls the
//! service in process, and converts the answer or the refusal into HTTP. It
//! contains no rule of the service.

mod body;
mod call;
mod documents;
mod gateway;
mod idempotency;
mod import;
mod large_texts;
mod lines;
mod methods;
mod openapi;
mod pages;
mod parameters;
mod problem;
mod problem_examples;
mod problem_pages;
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

use crate::adapters::api::{ImportService, RequestMemory};
use crate::adapters::connections::{ConnectionOptions, Connections};
use crate::ports::{Clock, Ids};
use crate::proto::v1::order_service_server::OrderService;

pub use problem::{Problem, ProblemContext};
pub use problem_examples::{example, metadata_keys};

/// Limits and timeouts of the HTTP server.
#[derive(Clone)]
pub struct HttpOptions {
    /// Generates correlation ids for requests without one.
    pub ids: Arc<dyn Ids>,
    /// The clock: the examples of the OpenAPI document happen today.
    pub clock: Arc<dyn Clock>,
    /// The largest body of a request that is not a stream, in bytes.
    pub max_body: usize,
    /// The memory of incomplete bodies.
    pub request_memory: RequestMemory,
    /// Limits and timeouts of connections.
    pub connections: ConnectionOptions,
    /// Timeout for a body that is not a stream.
    pub body_timeout: Duration,
    /// Timeout for the next row of a stream of rows.
    pub stream_timeout: Duration,
    /// The interval of heartbeats on an idle event stream.
    pub heartbeat: Duration,
    /// The URL of REST as clients reach it, without a slash at the end. Empty: not
    /// known, so that addresses are relative.
    pub public_url: Arc<str>,
    /// The allowed origins of cross-origin requests. `*` allows all; empty turns
    /// CORS off.
    pub cors_origins: Vec<String>,
}

impl HttpOptions {
    /// Returns defaults that fit most installations.
    pub fn new(ids: Arc<dyn Ids>, clock: Arc<dyn Clock>) -> Self {
        Self {
            ids,
            clock,
            max_body: 256 * 1024,
            request_memory: RequestMemory::new(64 * 1024 * 1024),
            connections: ConnectionOptions::default(),
            body_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_mins(1),
            heartbeat: Duration::from_secs(15),
            public_url: Arc::default(),
            cors_origins: Vec::new(),
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 without TLS until the token is cancelled and the
/// requests in progress are answered.
///
/// # Errors
/// The listener is closed.
pub async fn serve<S: OrderService>(
    listener: TcpListener,
    service: Arc<S>,
    imports: ImportService,
    options: HttpOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::debug!(%address, "serving HTTP");
    let gateway = gateway::Gateway {
        service,
        imports,
        options: options.clone(),
        large_texts: large_texts::LargeTexts::new(),
        shutdown: shutdown.clone(),
    };
    let connections = Connections::new(listener, options.connections, shutdown);
    server::serve(connections, router::HttpService::new(gateway), &options).await;
    Ok(())
}

/// Returns the OpenAPI 3.1 document, as a server without a public URL serves it at
/// `/openapi.json` on the day of the examples.
pub fn openapi_document() -> String {
    openapi::document("")
}
