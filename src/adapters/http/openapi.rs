//! The OpenAPI document. It is generated at build time from `proto/`
//! (`build/openapi.rs`); this module adds the error responses, so that the
//! mapping of reasons to HTTP exists only once.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::call;
use super::reasons::explain;
use crate::adapters::status::status_codes;
use crate::domain::Reason;

pub(super) const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// The document as served.
pub struct Document {
    /// The JSON text.
    text: Bytes,
    /// Its entity tag.
    etag: HeaderValue,
}

impl Document {
    /// Creates the document of a server with this public URL; empty if it has none.
    pub fn new(public_url: &str) -> Self {
        let text = document(public_url);
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let etag = format!("W/\"{:016x}\"", hasher.finish());
        Self {
            text: text.into(),
            etag: HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("W/\"\"")),
        }
    }

    /// Answers a request for the document.
    pub fn answer(&self, request_headers: &HeaderMap) -> Response {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        if !call::matches(request_headers, &self.etag) {
            response = self.text.clone().into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response.headers_mut().insert(ETAG, self.etag.clone());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// Returns the generated document with the public URL, if there is one, and the error
/// responses of every operation.
pub fn document(public_url: &str) -> String {
    let mut document: Value = serde_json::from_str(GENERATED).unwrap_or_default();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for operation in paths.flat_map(|(_, path)| path.as_object_mut().into_iter().flatten()) {
        let reasons = operation.1.as_object_mut().and_then(|operation| operation.remove("x-reasons"));
        let mut by_status: BTreeMap<u16, Vec<Reason>> = BTreeMap::new();
        for name in reasons.as_ref().and_then(Value::as_array).into_iter().flatten() {
            if let Some(reason) = name.as_str().and_then(Reason::parse) {
                by_status.entry(status_codes(reason).http.as_u16()).or_default().push(reason);
            }
        }
        for (status, reasons) in by_status {
            operation.1["responses"][status.to_string()] = error_response(status, &reasons);
        }
    }
    let schemas = &mut document["components"]["schemas"];
    schemas["Problem"] = problem();
    schemas["BatchError"] = batch_error();
    if let Some(servers) = document["servers"].as_array_mut().filter(|_| !public_url.is_empty()) {
        servers.insert(0, json!({"url": public_url, "description": "The public address."}));
    }
    document.to_string()
}

/// Returns the response of all reasons with one status.
fn error_response(status: u16, reasons: &[Reason]) -> Value {
    let lines: Vec<String> =
        reasons.iter().map(|reason| format!("- `{}`: {}", reason.name(), explain(*reason).meaning)).collect();
    let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    let mut headers = json!({"x-request-id": {"$ref": "#/components/headers/x-request-id"}});
    let retryable = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    if retryable.iter().any(|one| one.as_u16() == status) {
        headers["retry-after"] = json!({"$ref": "#/components/headers/retry-after"});
    }
    json!({
        "description": lines.join("\n"),
        "headers": headers,
        "content": {"application/problem+json": {"schema": {
            "$ref": "#/components/schemas/Problem",
            "properties": {"reason": {"enum": names}, "status": {"const": status}},
        }}},
    })
}

fn problem() -> Value {
    let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    json!({
        "type": "object",
        "description": "A refused request (RFC 9457).",
        "required": ["type", "title", "status", "detail", "instance", "reason", "metadata", "fieldViolations"],
        "properties": {
            "type": {
                "type": "string", "format": "uri-reference", "examples": ["/problems/order-not-found"],
                "description": "The address of a page that explains the reason and what to do: a path, or a URL if `server.public_url` is set.",
            },
            "title": {"type": "string", "description": "A short summary, the same for every problem with this reason."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "A human-readable explanation."},
            "instance": {
                "type": "string", "format": "uri", "examples": ["urn:pvz:request:5d6c1a52"],
                "description": "The correlation id of the request, `urn:pvz:request:` and the `x-request-id`, percent-encoded.",
            },
            "reason": {"type": "string", "enum": names, "description": "The machine-readable reason."},
            "metadata": {
                "type": "object", "additionalProperties": {"type": "string"},
                "description": "The values in the explanation, for programs. Keys are in snake_case.",
            },
            "fieldViolations": {
                "type": "array", "items": {"$ref": "#/components/schemas/FieldViolation"},
                "description": "The invalid fields, all of them.",
            },
            "refusedTotal": {
                "type": "integer",
                "description": "The number of refused orders of a batch.",
            },
            "errors": {
                "type": "array", "items": {"$ref": "#/components/schemas/BatchError"},
                "description": "The refused orders of a batch, in the order of the request.",
            },
        },
    })
}

fn batch_error() -> Value {
    json!({
        "type": "object",
        "description": "The refusal of one order of a batch.",
        "required": ["orderId", "reason", "message", "metadata", "fieldViolations"],
        "properties": {
            "orderId": {"type": "string", "description": "The id of the order."},
            "reason": {"type": "string", "description": "The machine-readable reason."},
            "message": {"type": "string", "description": "A human-readable explanation."},
            "metadata": {
                "type": "object", "additionalProperties": {"type": "string"},
                "description": "The values in the explanation, for programs. Keys are in snake_case.",
            },
            "fieldViolations": {
                "type": "array", "items": {"$ref": "#/components/schemas/FieldViolation"},
                "description": "The invalid fields.",
            },
        },
    })
}
