//! The OpenAPI document: written at build time from `proto/`
//! (`build/openapi.rs`), completed here with the answers that refusals are, so
//! that what a reason is called over HTTP stands in one place.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::reasons::explain;
use crate::adapters::status::status_codes;
use crate::domain::Reason;

const WRITTEN: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// The document as it is served.
pub struct Document {
    /// JSON.
    pub text: Bytes,
    /// Its tag.
    pub etag: HeaderValue,
}

/// The document.
pub fn document() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let text = complete().to_string();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let etag = format!("W/\"{:016x}\"", hasher.finish());
        Document {
            text: text.into(),
            etag: HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("W/\"\"")),
        }
    });
    &DOCUMENT
}

/// The written document with the answers of every operation.
fn complete() -> Value {
    let mut document: Value = serde_json::from_str(WRITTEN).unwrap_or_default();
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
            operation.1["responses"][status.to_string()] = refusal(status, &reasons);
        }
    }
    let schemas = &mut document["components"]["schemas"];
    schemas["Problem"] = problem();
    schemas["BatchError"] = batch_error();
    document
}

/// The answer that refusals with one status are.
fn refusal(status: u16, reasons: &[Reason]) -> Value {
    let lines: Vec<String> =
        reasons.iter().map(|reason| format!("- `{}`: {}", reason.name(), explain(*reason).meaning)).collect();
    let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    let mut headers = json!({"x-request-id": {"$ref": "#/components/headers/x-request-id"}});
    let waits = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    if waits.iter().any(|one| one.as_u16() == status) {
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
        "description": "Why a request was refused (RFC 9457).",
        "required": ["type", "title", "status", "detail", "instance", "reason", "metadata", "fieldViolations"],
        "properties": {
            "type": {
                "type": "string", "format": "uri-reference", "examples": ["/problems/order-not-found"],
                "description": "A page that says what the reason means and what to do.",
            },
            "title": {"type": "string", "description": "A few words, the same for every problem of the reason."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "A sentence for a person."},
            "instance": {
                "type": "string", "format": "uri", "examples": ["urn:pvz:request:5d6c1a52"],
                "description": "The correlation id of the request, `urn:pvz:request:` and the `x-request-id`, percent-encoded.",
            },
            "reason": {"type": "string", "enum": names, "description": "The machine-readable name of the refusal."},
            "metadata": {
                "type": "object", "additionalProperties": {"type": "string"},
                "description": "Everything that the sentence mentions; keys in snake_case.",
            },
            "fieldViolations": {
                "type": "array", "items": {"$ref": "#/components/schemas/FieldViolation"},
                "description": "The fields at fault, all at once.",
            },
            "refusedTotal": {
                "type": "integer",
                "description": "How many orders of a batch were refused, also those that `errors` has no room for.",
            },
            "errors": {
                "type": "array", "items": {"$ref": "#/components/schemas/BatchError"},
                "description": "Why each refused order of a batch was, in the order asked.",
            },
        },
    })
}

fn batch_error() -> Value {
    json!({
        "type": "object",
        "description": "Why one order of a batch was refused.",
        "required": ["orderId", "reason", "message", "metadata", "fieldViolations"],
        "properties": {
            "orderId": {"type": "string", "description": "The order."},
            "reason": {"type": "string", "description": "The machine-readable name of the refusal."},
            "message": {"type": "string", "description": "A sentence for a person."},
            "metadata": {
                "type": "object", "additionalProperties": {"type": "string"},
                "description": "Everything that the sentence mentions; keys in snake_case.",
            },
            "fieldViolations": {
                "type": "array", "items": {"$ref": "#/components/schemas/FieldViolation"},
                "description": "The fields at fault.",
            },
        },
    })
}
