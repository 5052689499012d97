//! Error responses: `application/problem+json` (RFC 9457).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{Extensions, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::reasons;
use crate::adapters::proto_mapping;
use crate::adapters::status::{RefusalSource, reason_of, status_codes};
use crate::domain::{OrderResult, Reason, Refusal};
use crate::proto::v1;

/// The media type of a problem.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The visible ASCII characters that a URN must percent-encode (RFC 8141).
const NOT_IN_URN: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The parts of a problem that come from the request and the installation, not from
/// the refusal. The router adds it to the extensions of every request.
#[derive(Debug, Clone, Default)]
pub struct ProblemContext {
    /// The correlation id of the request.
    pub correlation_id: Arc<str>,
    /// The prefix of the addresses of pages.
    pub public_url: Arc<str>,
}

impl ProblemContext {
    /// Returns the context of the request with these extensions.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }
}

/// A refusal over REST. The members are those of `docs/api.md`, Problems.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The address of the page that explains the reason.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    instance: String,
    reason: &'static str,
    metadata: BTreeMap<String, String>,
    field_violations: Vec<v1::FieldViolation>,
    /// The number of refused orders of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_total: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<BatchError>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

/// The refusal of one order of a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchError {
    order_id: String,
    reason: &'static str,
    message: String,
    metadata: BTreeMap<String, String>,
    field_violations: Vec<v1::FieldViolation>,
}

/// A failed request: refused by the gateway, or by the service.
#[derive(Debug)]
pub enum Failure {
    /// By the gateway.
    Refused(Box<Refusal>),
    /// By the service.
    Status(Box<tonic::Status>),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Failure {
    /// Returns the answer to the request with this context.
    pub fn into_response(self, context: &ProblemContext) -> Response {
        let metadata = match &self {
            Self::Refused(_) => None,
            Self::Status(status) => Some(status.metadata().clone().into_headers()),
        };
        let mut response = self.into_problem(context).into_response();
        for (name, value) in metadata.iter().flatten() {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    /// Returns the problem without a response, for a stream whose status line is
    /// already sent.
    pub fn into_problem(self, context: &ProblemContext) -> Problem {
        let refusal = match self {
            Self::Refused(refusal) => *refusal,
            Self::Status(status) => match RefusalSource::of(&status) {
                Some(refusal) => refusal.clone(),
                None => without_source(&status),
            },
        };
        Problem::new(refusal, context)
    }
}

/// Returns the refusal for a status that does not come from a refusal. Its
/// message is a library's, and is not shown for an internal error.
fn without_source(status: &tonic::Status) -> Refusal {
    match reason_of(status.code()) {
        Reason::Internal => Refusal::internal(),
        reason => Refusal::new(reason, status.message()),
    }
}

impl Problem {
    /// Returns the problem for a refusal.
    pub fn new(refusal: Refusal, context: &ProblemContext) -> Self {
        let Refusal { reason, message, metadata, violations, batch, retry_after } = refusal;
        let (refused_total, results) = match batch {
            Some(batch) => (Some(batch.refused_total), batch.results),
            None => (None, Vec::new()),
        };
        Self {
            kind: format!("{}{}", context.public_url, reasons::page(reason)),
            title: reasons::explain(reason).title,
            status: status_codes(reason).http.as_u16(),
            detail: message,
            instance: format!("urn:pvz:request:{}", utf8_percent_encode(&context.correlation_id, NOT_IN_URN)),
            reason: reason.name(),
            metadata,
            field_violations: violations.iter().map(proto_mapping::violation).collect(),
            refused_total,
            errors: results.into_iter().filter_map(batch_error).collect(),
            retry_after,
        }
    }

    /// Returns the value of the header `retry-after`.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let delay = self.retry_after?;
        Some((delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1))
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn batch_error(result: OrderResult) -> Option<BatchError> {
    let Refusal { reason, message, metadata, violations, .. } = result.outcome.err()?;
    Some(BatchError {
        order_id: result.order_id.to_string(),
        reason: reason.name(),
        message,
        metadata,
        field_violations: violations.iter().map(proto_mapping::violation).collect(),
    })
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
