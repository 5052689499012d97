//! From an HTTP request to a call of the service, and back.

use axum::extract::{FromRequestParts as _, RawPathParams};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

use super::parameters::Parameters;
use super::problem::Failure;
use crate::domain::{Reason, Refusal, echo};
use crate::ports::Ids;
use crate::proto::json::{self, JsonFault};

/// The correlation id of a request and its answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest correlation id that is taken from a caller, in characters.
const MAX_CORRELATION_ID: usize = 128;

/// The caller's correlation id, or a fresh one when it is absent, too long or
/// not visible ASCII.
pub fn correlation_id(headers: &HeaderMap, ids: &dyn Ids) -> HeaderValue {
    if let Some(given) = headers.get(REQUEST_ID) {
        let bytes = given.as_bytes();
        if (1..=MAX_CORRELATION_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) {
            return given.clone();
        }
    }
    HeaderValue::try_from(ids.correlation_id()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The correlation id that [`correlation_id`] settled for a request.
pub fn settled(headers: &HeaderMap) -> String {
    headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The call of the service, with the caller's headers as its metadata.
pub fn request<T>(headers: HeaderMap, message: T) -> Request<T> {
    Request::from_parts(MetadataMap::from_headers(headers), Extensions::default(), message)
}

/// The message of a request without a body, from its path and its query.
///
/// # Errors
/// `VALIDATION_FAILED`.
pub async fn bind<T: DeserializeOwned>(parts: &mut Parts) -> Result<T, Refusal> {
    let variables = variables(parts).await?;
    let mut parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
    if let Some(variables) = &variables {
        for (name, value) in variables {
            parameters.set(name, value);
        }
    }
    json::read(parameters).map_err(|fault| refusal(fault, "the query"))
}

/// The variables of the path; `None` when it has none.
async fn variables(parts: &mut Parts) -> Result<Option<RawPathParams>, Refusal> {
    use axum::extract::rejection::RawPathParamsRejection as Rejection;
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(variables) => Ok(Some(variables)),
        Err(Rejection::MissingPathParams(_)) => Ok(None),
        Err(_) => Err(Refusal::new(Reason::ValidationFailed, "the path is not percent-encoded UTF-8")
            .with("path", parts.uri.path())),
    }
}

/// Refuses query parameters where the whole message is the body.
///
/// # Errors
/// `VALIDATION_FAILED`.
pub fn no_query(parts: &Parts) -> Result<(), Refusal> {
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
    match parameters.first_name() {
        None => Ok(()),
        Some(name) => Err(Refusal::invalid(echo(name), "is not a known parameter")),
    }
}

/// What is wrong with a text, as a refusal.
pub fn refusal(fault: JsonFault, whole: &str) -> Refusal {
    let sentence = format!("{whole} {}", fault.description);
    match fault.position {
        Some((line, column)) => {
            Refusal::new(Reason::ValidationFailed, sentence).with("line", line).with("column", column)
        }
        None if fault.field.is_empty() => Refusal::new(Reason::ValidationFailed, sentence),
        None => Refusal::invalid(fault.field, fault.description),
    }
}

/// The tag of a version: an order changes with its version, and, without one,
/// when it expires.
pub fn etag(version: i64, expired: bool) -> String {
    format!("W/\"{version}{}\"", if expired { "-expired" } else { "" })
}

/// The answer of the service as HTTP. With a tag that the caller has already,
/// the body is left out.
pub fn answer<T: Serialize>(
    reply: tonic::Response<T>,
    etag: Option<fn(&T) -> String>,
    asked: &HeaderMap,
) -> Result<Response, Failure> {
    let (metadata, message, _) = reply.into_parts();
    let mut response = Response::default();
    *response.headers_mut() = metadata.into_headers();
    let tag = etag.and_then(|etag| HeaderValue::try_from(etag(&message)).ok());
    let headers = response.headers_mut();
    headers
        .insert(CACHE_CONTROL, HeaderValue::from_static(if tag.is_some() { "no-cache" } else { "no-store" }));
    if let Some(tag) = tag {
        headers.insert(ETAG, tag.clone());
        if matches(asked, &tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
    }
    let body = serde_json::to_vec(&message).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Refusal::internal()
    })?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = body.into();
    Ok(response)
}

/// Whether `If-None-Match` names the tag. The comparison is weak (RFC 9110,
/// 13.1.2).
pub fn matches(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    fn opaque(tag: &str) -> &str {
        tag.strip_prefix("W/").unwrap_or(tag)
    }
    let Ok(tag) = tag.to_str() else { return false };
    asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').map(str::trim).any(|one| one == "*" || opaque(one) == opaque(tag)))
}
