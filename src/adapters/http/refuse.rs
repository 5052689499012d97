//! Refusals that no handler makes: of addresses and methods.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{ALLOW, HeaderValue};

use super::call::settled;
use super::problem::Problem;
use crate::domain::{Reason, Refusal, echo};

/// `ROUTE_NOT_FOUND`.
pub fn unknown_route(headers: &HeaderMap, path: &str) -> Response {
    let refusal =
        Refusal::new(Reason::RouteNotFound, format!("there is nothing at {}", echo(path))).with("path", path);
    Problem::of_refusal(refusal, &settled(headers)).into_response()
}

/// `ROUTE_NOT_FOUND` for whatever no route takes.
pub async fn fallback(request: Request) -> Response {
    unknown_route(request.headers(), request.uri().path())
}

/// `METHOD_NOT_ALLOWED`, with what is.
pub fn wrong_method(request: &Request, allow: &'static str) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let sentence = format!("{} does not take {}, only {allow}", echo(path), echo(method.as_str()));
    let refusal = Refusal::new(Reason::MethodNotAllowed, sentence)
        .with("path", path)
        .with("method", method)
        .with("allow", allow);
    let mut response = Problem::of_refusal(refusal, &settled(request.headers())).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// `INTERNAL`.
pub fn internal(correlation_id: &str) -> Response {
    Problem::of_refusal(Refusal::internal(), correlation_id).into_response()
}
