//! The gRPC server: the service with its limits, health, reflection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::{LayerExt as _, Routes};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};
use tower::{Layer as _, Service as _};

use super::error_details::ErrorDetailsLayer;
use super::incomplete_messages::AccountedBody;
use super::request_body::RequestBody;
use super::respond;
use super::service::GrpcOrderService;
use super::stream_cutoff::StreamCutoffLayer;
use crate::adapters::api::{RequestMemory, correlation_id};
use crate::adapters::connections::{self, ConnectionOptions, Connections, Endpoint};
use crate::adapters::write_coalescing::WriteCoalescing;
use crate::app::Ready;
use crate::ports::Ids;
use crate::proto;
use crate::proto::v1::order_service_server::{OrderServiceServer, SERVICE_NAME};

/// The largest list of headers of a call, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;

/// Limits of the server.
#[derive(Debug, Clone)]
pub struct GrpcOptions {
    /// The largest message, in bytes, in either direction.
    pub max_message: usize,
    /// The memory of incomplete messages.
    pub request_memory: RequestMemory,
    /// Timeout of a call without a deadline.
    pub request_timeout: Duration,
    /// The most calls in progress on one connection.
    pub max_concurrent_streams: u32,
    /// The interval of HTTP/2 keepalive pings, and the timeout for their
    /// acknowledgement.
    pub keep_alive: Duration,
    /// Limits and timeouts of connections.
    pub connections: ConnectionOptions,
}

/// Reports readiness to the health service, for the server as a whole and for
/// the order service. Returns when readiness has its final value.
async fn report(reporter: HealthReporter, mut ready: Ready) {
    loop {
        let status = if ready.borrow_and_update().is_ok() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        reporter.set_service_status("", status).await;
        reporter.set_service_status(SERVICE_NAME, status).await;
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// Serves until `shutdown` is cancelled and the calls in progress are done.
///
/// # Errors
/// The descriptors of the contract cannot be read.
pub async fn serve(
    listener: TcpListener,
    service: GrpcOrderService,
    ready: Ready,
    ids: Arc<dyn Ids>,
    options: GrpcOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let reporter = HealthReporter::new();
    let orders = OrderServiceServer::new(service)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.max_message)
        .max_encoding_message_size(usize::MAX);
    let health = tonic_health::pb::health_server::HealthServer::new(HealthService::from_health_reporter(
        reporter.clone(),
    ));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection_v1 = reflection().build_v1().map_err(io::Error::other)?;
    let reflection_v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?;
    let stopped_reporting = CancellationToken::new();
    let cutoff = || tower::ServiceBuilder::new().layer(StreamCutoffLayer(stopped_reporting.clone()));
    let routes = Routes::new(orders)
        .add_service(cutoff().named_layer(health))
        .add_service(cutoff().named_layer(reflection_v1))
        .add_service(cutoff().named_layer(reflection_v1alpha))
        .prepare();
    let refusing = Arc::clone(&ids);
    let service = ErrorDetailsLayer { ids, timeout: options.request_timeout }.layer(routes);
    let connections = Connections::new(listener, options.connections, shutdown.clone());
    let mut builder = connections.builder().http2_only();
    builder
        .http2()
        .keep_alive_interval(options.keep_alive)
        .keep_alive_timeout(options.keep_alive)
        .max_concurrent_streams(options.max_concurrent_streams)
        .max_header_list_size(MAX_HEADERS);
    let memory = options.request_memory;
    let answer = move |request: Request<Incoming>| {
        let request = request
            .map(|body| Body::new(AccountedBody::new(RequestBody::new(body, &shutdown), memory.open())));
        // Called here and not in the task of the request, which would then hold and move the whole
        // request: that took 6 % off the accepts with 64 in flight.
        let answered = service.clone().call(request);
        async move {
            match answered.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    let refuse = move |request: &Request<Incoming>| {
        let correlation_id = correlation_id(request.headers(), refusing.as_ref());
        respond::refuse(connections::refusal(), &correlation_id, false).into_http()
    };
    let endpoint = Endpoint { answer, refuse, wrap: WriteCoalescing::new };
    tokio::select! {
        () = connections.serve(builder, endpoint) => Ok(()),
        // Once the final readiness is reported, watchers of the health service
        // have been notified and their streams can end.
        () = async { report(reporter, ready).await; stopped_reporting.cancel(); std::future::pending().await } => Ok(()),
    }
}
