//! HTTP requests as calls of the service, and answers as HTTP responses.

use axum::extract::{FromRequestParts as _, RawPathParams};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

use super::large_texts::LargeTexts;
use super::parameters::Parameters;
use super::problem::Failure;
use crate::domain::{FieldViolation, Reason, Refusal, echo};
use crate::proto::json::{self, JsonFault};

/// Returns the call of the service. The headers become its metadata.
pub fn request<T>(headers: HeaderMap, message: T) -> Request<T> {
    Request::from_parts(MetadataMap::from_headers(headers), Extensions::default(), message)
}

/// Returns the message of a request without a body, from its path and query.
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
    json::read(parameters.clone()).map_err(|first| {
        let parts = parameters.into_each().filter_map(|one| json::read::<T, _>(one).err());
        refusal(json::all_faults(first, parts), "the query")
    })
}

/// Returns the variables of the path; `None` if the route has none.
async fn variables(parts: &mut Parts) -> Result<Option<RawPathParams>, Refusal> {
    use axum::extract::rejection::RawPathParamsRejection as Rejection;
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(variables) => Ok(Some(variables)),
        Err(Rejection::MissingPathParams(_)) => Ok(None),
        Err(_) => Err(Refusal::new(Reason::ValidationFailed, "the path is not percent-encoded UTF-8")
            .with("path", parts.uri.path())),
    }
}

/// Refuses query parameters for methods that read their message from the body.
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

/// Returns the refusal for a text that is not a valid message.
pub fn refusal(faults: Vec<JsonFault>, whole: &str) -> Refusal {
    match faults.as_slice() {
        [JsonFault { field, description, position }] if field.is_empty() => {
            let refusal = Refusal::new(Reason::ValidationFailed, format!("{whole} {description}"));
            match position {
                Some((line, column)) => refusal.with("line", line).with("column", column),
                None => refusal,
            }
        }
        _ => Refusal::violations(faults.into_iter().map(violation).collect()),
    }
}

fn violation(fault: JsonFault) -> FieldViolation {
    let JsonFault { field, description, position: _ } = fault;
    FieldViolation { field, description }
}

/// Returns the entity tag of an order. Expiry is part of it, because it changes
/// the order without a new version.
pub fn etag(version: i64, expired: bool) -> String {
    format!("W/\"{version}{}\"", if expired { "-expired" } else { "" })
}

/// Returns the answer of the service as HTTP. If the request names the current
/// entity tag, the answer is 304 without a body.
pub async fn answer<T: Serialize + prost::Message + 'static>(
    reply: tonic::Response<T>,
    etag: Option<fn(&T) -> String>,
    request_headers: &HeaderMap,
    large_texts: &LargeTexts,
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
        if matches(request_headers, &tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
    }
    // The JSON text is longer than the message by a factor of two to four.
    let size = message.encoded_len();
    let write = move || serde_json::to_vec(&message);
    let body = large_texts.run(size, write).await?.map_err(|error| {
        tracing::error!(%error, "cannot write an answer as JSON");
        Refusal::internal()
    })?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = body.into();
    Ok(response)
}

/// Returns true if `If-None-Match` names the entity tag, by weak comparison (RFC
/// 9110, 13.1.2).
pub fn matches(request_headers: &HeaderMap, tag: &HeaderValue) -> bool {
    fn opaque(tag: &str) -> &str {
        tag.strip_prefix("W/").unwrap_or(tag)
    }
    let Ok(tag) = tag.to_str() else { return false };
    request_headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').map(str::trim).any(|one| one == "*" || opaque(one) == opaque(tag)))
}
