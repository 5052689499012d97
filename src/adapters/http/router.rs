//! All routes, and the processing common to all requests and responses:
//! correlation id, compression, CORS, panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter};
use futures::FutureExt as _;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tower::{Layer as _, Service as _};
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use super::call::etag;
use super::gateway::{Gateway, Shared, Unary, unary};
use super::import::import;
use super::problem::{Problem, ProblemContext};
use super::watch::{Watch, watch};
use super::{HttpOptions, pages, refuse};
use crate::adapters::api::{CORRELATION_ID, correlation_id};
use crate::adapters::connections;
use crate::ports::Ids;
use crate::proto::v1;
use crate::proto::v1::order_service_server::OrderService;

include!(concat!(env!("OUT_DIR"), "/routes.rs"));

/// The smallest response that is compressed, in bytes.
const COMPRESS_ABOVE: u64 = 1024;

/// Returns the route of a path, to which the table adds the methods.
fn resource<S: OrderService>(allow: &'static str) -> MethodRouter<Shared<S>> {
    refuse::other_methods(MethodRouter::new(), allow)
}

/// The HTTP service: the routes with their common processing.
#[derive(Clone)]
pub struct HttpService {
    router: Router,
    /// The router with CORS, if any origin is allowed.
    cors: Option<Cors<Router>>,
    ids: Arc<dyn Ids>,
    public_url: Arc<str>,
}

impl HttpService {
    /// Creates the HTTP service.
    pub fn new<S: OrderService>(gateway: Gateway<S>) -> Self {
        let HttpOptions { ids, clock, public_url, .. } = gateway.options.clone();
        let cors = cors(&gateway.options);
        // Streams and compressed media are not compressed.
        let compressible = SizeAbove::new(COMPRESS_ABOVE)
            .and(NotForContentType::new("application/x-ndjson"))
            .and(NotForContentType::SSE)
            .and(NotForContentType::IMAGES);
        let router = routes::<S>()
            .with_state(Arc::new(gateway))
            .merge(pages::routes(&public_url, clock))
            .fallback(refuse::fallback)
            .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(compressible));
        let cors = cors.map(|layer| layer.layer(router.clone()));
        Self { router, cors, ids, public_url }
    }

    /// Answers a request. A panic is answered with `INTERNAL`.
    pub async fn answer(&mut self, mut request: Request<Body>) -> Response {
        let context = self.context(request.headers());
        let header = header_of(&context.correlation_id);
        if let Err(sentence) = connections::check_host(&request) {
            let mut response = refuse::invalid(sentence, &context);
            decorate(&mut response, header);
            return response;
        }
        request.headers_mut().insert(CORRELATION_ID, header.clone());
        request.extensions_mut().insert(context.clone());
        normalize(request.uri_mut());
        let cross_origin = request.headers().contains_key(ORIGIN)
            && (request.method() != Method::OPTIONS
                || request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD));
        let response = async {
            match &mut self.cors {
                Some(cors) if cross_origin => cors.call(request).await,
                _ => self.router.call(request).await,
            }
        };
        let mut response = match AssertUnwindSafe(response).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_panic) => {
                tracing::error!(request_id = &*context.correlation_id, "a handler panicked");
                refuse::internal(&context)
            }
        };
        decorate(&mut response, header);
        response
    }

    /// Refuses a request on a connection above the limit.
    pub fn refuse(&self, headers: &HeaderMap) -> Response {
        let context = self.context(headers);
        let mut response = Problem::new(connections::refusal(), &context).into_response();
        decorate(&mut response, header_of(&context.correlation_id));
        response
    }

    fn context(&self, headers: &HeaderMap) -> ProblemContext {
        ProblemContext {
            correlation_id: correlation_id(headers, self.ids.as_ref()).into(),
            public_url: self.public_url.clone(),
        }
    }
}

/// Returns the header of a correlation id.
fn header_of(correlation_id: &str) -> HeaderValue {
    HeaderValue::try_from(correlation_id).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Adds the headers of every response.
fn decorate(response: &mut Response, correlation_id: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(CORRELATION_ID, correlation_id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Returns the CORS layer for the allowed origins; `None` if there are none.
fn cors(options: &HttpOptions) -> Option<CorsLayer> {
    if options.cors_origins.is_empty() {
        return None;
    }
    let origins = if options.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(options.cors_origins.iter().filter_map(|origin| origin.parse().ok()))
    };
    let headers =
        |names: &[&'static str]| names.iter().copied().map(HeaderName::from_static).collect::<Vec<_>>();
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS])
        .allow_headers(headers(&[
            "authorization",
            "content-type",
            "idempotency-key",
            "if-none-match",
            "last-event-id",
            "pvz-actor",
            "traceparent",
            "x-request-id",
        ]))
        .expose_headers(headers(&["etag", "idempotent-replayed", "retry-after", "x-request-id"]))
        .max_age(std::time::Duration::from_hours(1));
    Some(layer)
}

/// Decodes percent-encoded unreserved characters and colons in the path, because
/// routes are matched as text (RFC 3986, 6.2.2.2). Other characters stay encoded:
/// `%2F` is part of an id.
fn normalize(uri: &mut Uri) {
    let Some(path) = plain(uri.path()) else { return };
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if let Ok(path_and_query) = PathAndQuery::try_from(path_and_query) {
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = Some(path_and_query);
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

/// Returns the path without needless percent-encoding; `None` if there is no
/// percent sign.
fn plain(path: &str) -> Option<String> {
    if !path.contains('%') {
        return None;
    }
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let code = after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        let letter = code.filter(|code| code.is_ascii_alphanumeric() || b"-._~:".contains(code));
        (text, rest) = match letter {
            Some(letter) => (text + char::from(letter).encode_utf8(&mut [0; 4]), &after[2..]),
            None => (text + "%", after),
        };
    }
    text.push_str(rest);
    Some(text)
}
