//! The gRPC server: the service with its limits, health, reflection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::LayerExt as _;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use super::bare_status::BareStatusLayer;
use super::direct::DirectLayer;
use super::ending::EndingLayer;
use super::preface_timeout::PrefaceTimeout;
use super::service::GrpcOrderService;
use crate::app::Ready;
use crate::ports::Ids;
use crate::proto;
use crate::proto::v1::order_service_server::{OrderServiceServer, SERVICE_NAME};

/// Limits of the server.
#[derive(Debug, Clone, Copy)]
pub struct GrpcOptions {
    /// The largest message, in bytes, in either direction.
    pub max_message: usize,
    /// How long a call without a deadline may take.
    pub request_timeout: Duration,
    /// How many calls one connection may have under way.
    pub max_concurrent_streams: u32,
    /// How often a silent connection is asked whether it is alive, and how
    /// long it may take to say so.
    pub keep_alive: Duration,
}

/// Tells health checks whether the service takes work, for the server as a
/// whole and for the service, until nobody sets it any more.
async fn report(reporter: HealthReporter, mut ready: Ready) {
    loop {
        let status =
            if *ready.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        reporter.set_service_status(SERVICE_NAME, status).await;
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// Serves until `shutdown` is cancelled and what was under way is done.
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
    let told = CancellationToken::new();
    let ending = || tower::ServiceBuilder::new().layer(EndingLayer(told.clone()));
    let end = shutdown.clone();
    // Not left to tonic, which sets this only on connections that it accepts.
    let incoming = TcpListenerStream::new(listener).map(move |stream| {
        let stream = stream?;
        // Fails when the client has gone already, which reading will tell.
        let _ = stream.set_nodelay(true);
        Ok::<_, io::Error>(PrefaceTimeout::new(stream, &end))
    });
    let served = Server::builder()
        .http2_keepalive_interval(Some(options.keep_alive))
        .http2_keepalive_timeout(Some(options.keep_alive))
        .max_concurrent_streams(options.max_concurrent_streams)
        .http2_max_header_list_size(16 * 1024)
        .layer(BareStatusLayer { ids, timeout: options.request_timeout })
        .layer(DirectLayer(orders))
        .add_service(ending().named_layer(health))
        .add_service(ending().named_layer(reflection_v1))
        .add_service(ending().named_layer(reflection_v1alpha))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned());
    tokio::select! {
        served = served => served.map_err(io::Error::other),
        // Readiness has fallen for good and was reported: the service stops,
        // and whoever watches its health has heard of it.
        () = async { report(reporter, ready).await; told.cancel(); std::future::pending().await } => Ok(()),
    }
}
