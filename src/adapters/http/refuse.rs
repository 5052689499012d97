//! Refusals outside of handlers: unknown paths and methods, malformed requests.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter};
use http::header::ALLOW;
use http::{HeaderValue, StatusCode};

use super::problem::{Problem, ProblemContext};
use crate::domain::{Reason, Refusal, echo};

/// Returns `ROUTE_NOT_FOUND`.
pub fn unknown_route(context: &ProblemContext, path: &str) -> Response {
    let refusal =
        Refusal::new(Reason::RouteNotFound, format!("no route matches {}", echo(path))).with("path", path);
    Problem::new(refusal, context).into_response()
}

/// Answers requests without a route with `ROUTE_NOT_FOUND`.
pub async fn fallback(request: Request) -> Response {
    unknown_route(&ProblemContext::of(request.extensions()), request.uri().path())
}

/// Adds OPTIONS to a route, and `METHOD_NOT_ALLOWED` for its other methods.
pub fn other_methods<S: Clone + Send + Sync + 'static>(
    route: MethodRouter<S>,
    allow: &'static str,
) -> MethodRouter<S> {
    route
        .on(MethodFilter::OPTIONS, move || async move {
            (StatusCode::NO_CONTENT, [(ALLOW, HeaderValue::from_static(allow))])
        })
        .fallback(move |request: Request| async move { wrong_method(&request, allow) })
}

/// Returns `METHOD_NOT_ALLOWED`, with the allowed methods.
fn wrong_method(request: &Request, allow: &'static str) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let sentence = format!("{} does not allow {}, only {allow}", echo(path), echo(method.as_str()));
    let refusal = Refusal::new(Reason::MethodNotAllowed, sentence)
        .with("path", path)
        .with("method", method)
        .with("allow", allow);
    let mut response = Problem::new(refusal, &ProblemContext::of(request.extensions())).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Returns `VALIDATION_FAILED` with a sentence about the whole request.
pub fn invalid(sentence: &str, context: &ProblemContext) -> Response {
    Problem::new(Refusal::new(Reason::ValidationFailed, sentence), context).into_response()
}

/// Returns `INTERNAL`.
pub fn internal(context: &ProblemContext) -> Response {
    Problem::new(Refusal::internal(), context).into_response()
}
