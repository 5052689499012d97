//! The HTTP server: the limits of its protocols.

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;

use super::HttpOptions;
use super::router::HttpService;
use crate::adapters::connections::{Connections, Endpoint};

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Serves until the service stops, and then until every request is answered.
pub async fn serve(connections: Connections, service: HttpService, options: &HttpOptions) {
    let mut builder = connections.builder();
    builder.http1().max_buf_size(MAX_HEAD);
    builder
        .http2()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(options.connections.idle_timeout);
    let refusing = service.clone();
    let answer = move |request: Request<Incoming>| {
        let mut service = service.clone();
        async move { service.answer(request.map(Body::new)).await }
    };
    let refuse = move |request: &Request<Incoming>| refusing.refuse(request.headers());
    connections.serve(builder, Endpoint { answer, refuse, wrap: |stream| stream }).await;
}
