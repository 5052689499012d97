//! Every answer that is not a success: `application/problem+json` (RFC 9457).

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message as _;
use serde::Serialize;
use tonic_types::{StatusExt as _, pb};

use super::reasons;
use crate::adapters::status::{reason_of, status_codes};
use crate::domain::{Reason, Refusal};
use crate::proto::v1;

/// The media type of a problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

const DOMAIN: &str = "pvz";

/// What a URN does not hold as it is (RFC 8141), of visible ASCII.
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

/// A refusal as REST tells it. The members are those of `docs/api.md`,
/// Problems.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The page that explains the reason.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    instance: String,
    reason: &'static str,
    metadata: BTreeMap<String, String>,
    field_violations: Vec<v1::FieldViolation>,
    /// How many orders of a batch were refused, also those that `errors` has no
    /// room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_total: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<BatchError>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

/// Why one order of a batch was refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchError {
    order_id: String,
    reason: String,
    message: String,
    metadata: BTreeMap<String, String>,
    field_violations: Vec<v1::FieldViolation>,
}

/// Why a request is not answered: refused by the gateway, or by the service.
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
    /// The answer to the request with that correlation id.
    pub fn into_response(self, correlation_id: &str) -> Response {
        match self {
            Self::Refused(refusal) => Problem::of_refusal(*refusal, correlation_id).into_response(),
            Self::Status(status) => {
                let (problem, headers) = Problem::of_status(&status, correlation_id);
                let mut response = problem.into_response();
                for (name, value) in &headers {
                    response.headers_mut().insert(name, value.clone());
                }
                response
            }
        }
    }

    /// The problem, where no status line can be sent any more.
    pub fn into_problem(self, correlation_id: &str) -> Problem {
        match self {
            Self::Refused(refusal) => Problem::of_refusal(*refusal, correlation_id),
            Self::Status(status) => Problem::of_status(&status, correlation_id).0,
        }
    }
}

impl Problem {
    fn new(reason: Reason, detail: String, correlation_id: &str) -> Self {
        Self {
            kind: reasons::page(reason),
            title: reasons::explain(reason).title,
            status: status_codes(reason).http.as_u16(),
            detail,
            instance: format!("urn:pvz:request:{}", utf8_percent_encode(correlation_id, NOT_IN_URN)),
            reason: reason.name(),
            metadata: BTreeMap::new(),
            field_violations: Vec::new(),
            refused_total: None,
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// Of a refusal that arose in HTTP itself.
    pub fn of_refusal(refusal: Refusal, correlation_id: &str) -> Self {
        let mut problem = Self::new(refusal.reason, refusal.message, correlation_id);
        problem.metadata = refusal.metadata;
        problem.field_violations = refusal
            .violations
            .into_iter()
            .map(|violation| v1::FieldViolation {
                field: violation.field,
                description: violation.description,
            })
            .collect();
        problem.retry_after = refusal.retry_after;
        problem
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Of a status of the service, with the headers that came with it. A status
    /// without details is told by its code alone.
    fn of_status(status: &tonic::Status, correlation_id: &str) -> (Self, HeaderMap) {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let known = info.and_then(|info| Reason::parse(&info.reason));
        let reason = known.unwrap_or_else(|| reason_of(status.code()));
        // Without our own details the text is a library's, and nobody's business.
        let detail = if known.is_none() && reason == Reason::Internal {
            Refusal::internal().message
        } else {
            status.message().to_owned()
        };
        let mut problem = Self::new(reason, detail, correlation_id);
        problem.metadata = info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default();
        problem.field_violations = details
            .bad_request()
            .into_iter()
            .flat_map(|bad_request| &bad_request.field_violations)
            .map(|violation| v1::FieldViolation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            })
            .collect();
        problem.retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        if let Some(batch) = batch_refusal(status) {
            problem.refused_total = Some(batch.refused_total);
            problem.errors = batch.results.into_iter().map(BatchError::from).collect();
        }
        (problem, status.metadata().clone().into_headers())
    }
}

/// The refused orders of a batch, which the standard details do not know.
fn batch_refusal(status: &tonic::Status) -> Option<v1::BatchRefusal> {
    let details = pb::Status::decode(status.details()).ok()?.details;
    let batch = details.iter().find(|detail| detail.type_url.ends_with("/pvz.v1.BatchRefusal"))?;
    v1::BatchRefusal::decode(batch.value.as_slice()).ok()
}

impl From<v1::OrderResult> for BatchError {
    fn from(result: v1::OrderResult) -> Self {
        let refusal = match result.outcome {
            Some(v1::order_result::Outcome::Refusal(refusal)) => refusal,
            Some(v1::order_result::Outcome::Order(_)) | None => v1::Refusal::default(),
        };
        Self {
            order_id: result.order_id,
            reason: refusal.reason,
            message: refusal.message,
            metadata: refusal.metadata,
            field_violations: refusal.field_violations,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(delay) = self.retry_after {
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
