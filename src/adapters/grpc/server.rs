//! The gRPC server: the service with its limits, health, reflection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::Request;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::LayerExt as _;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};
use tower::util::MapRequestLayer;

use super::error_details::ErrorDetailsLayer;
use super::incomplete_messages::AccountedBody;
use super::preface_timeout::PrefaceTimeout;
use super::service::GrpcOrderService;
use super::stream_cutoff::StreamCutoffLayer;
use crate::adapters::api::RequestMemory;
use crate::app::Ready;
use crate::ports::Ids;
use crate::proto;
use crate::proto::v1::order_service_server::{OrderServiceServer, SERVICE_NAME};

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
/// The listener failed.
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
    let stop = shutdown.clone();
    let incoming = TcpListenerStream::new(listener).map(move |stream| {
        let stream = stream?;
        // tonic sets this only on connections that it accepts itself. It fails
        // if the client has disconnected, which the first read reports.
        let _ = stream.set_nodelay(true);
        Ok::<_, io::Error>(PrefaceTimeout::new(stream, &stop))
    });
    let memory = options.request_memory;
    let account =
        move |request: Request<Body>| request.map(|body| Body::new(AccountedBody::new(body, memory.open())));
    let served = Server::builder()
        .http2_keepalive_interval(Some(options.keep_alive))
        .http2_keepalive_timeout(Some(options.keep_alive))
        .max_concurrent_streams(options.max_concurrent_streams)
        .http2_max_header_list_size(16 * 1024)
        .layer(ErrorDetailsLayer { ids, timeout: options.request_timeout })
        .layer(MapRequestLayer::new(account))
        .add_service(orders)
        .add_service(cutoff().named_layer(health))
        .add_service(cutoff().named_layer(reflection_v1))
        .add_service(cutoff().named_layer(reflection_v1alpha))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned());
    tokio::select! {
        served = served => served.map_err(io::Error::other),
        // Once the final readiness is reported, watchers of the health service
        // have been notified and their streams can end.
        () = async { report(reporter, ready).await; stopped_reporting.cancel(); std::future::pending().await } => Ok(()),
    }
}
