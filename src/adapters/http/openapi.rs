//! The OpenAPI document. It is generated at build time from `proto/`
//! (`build/openapi.rs`); this module adds the error responses, so that the
//! mapping of reasons to HTTP exists only once. It works on the text, because the
//! order of its members is that of the story that the examples tell.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::call;
use super::problem_examples::example;
use super::reasons::explain;
use crate::adapters::status::status_codes;
use crate::domain::{Day, Reason};
use crate::ports::Clock;

/// The document without the parts of this module. It is JSON, so that a reader can
/// look up the reasons of an operation in `x-reasons`.
pub(super) const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// The day of the examples: the deadlines in them are later. The served document
/// moves it to today.
const DAY_OF_EXAMPLES: &str = "2026-12-01";

/// The number of spaces of an indentation.
const INDENT: usize = 2;

/// The document as served.
pub struct Document {
    /// The JSON text, with the dates of the contract.
    text: String,
    /// The dates in the text, with their positions.
    dates: Vec<(usize, Day)>,
    hash: u64,
    clock: Arc<dyn Clock>,
}

impl Document {
    /// Creates the document of a server with this public URL; empty if it has none.
    pub fn new(public_url: &str, clock: Arc<dyn Clock>) -> Self {
        let text = document(public_url);
        let date = |(at, _)| Some((at, Day::parse(text.get(at..at + DAY_OF_EXAMPLES.len())?).ok()?));
        let dates = text.match_indices("20").filter_map(date).collect();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { dates, hash: hasher.finish(), text, clock }
    }

    /// Answers a request for the document.
    pub fn answer(&self, request_headers: &HeaderMap) -> Response {
        let today = Day::of(self.clock.now());
        let etag = format!("W/\"{:016x}-{today}\"", self.hash);
        let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("W/\"\""));
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        if !call::matches(request_headers, &etag) {
            response = self.on(today).into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response.headers_mut().insert(ETAG, etag);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    /// Returns the text with the dates moved, so that the examples happen on this day.
    fn on(&self, today: Day) -> String {
        let Ok(day) = Day::parse(DAY_OF_EXAMPLES) else { return self.text.clone() };
        let mut text = self.text.clone();
        for (at, date) in &self.dates {
            let moved = Day(date.0 + today.0 - day.0).to_string();
            text.replace_range(*at..*at + DAY_OF_EXAMPLES.len(), &moved);
        }
        text
    }
}

/// Returns the generated document with the public URL, if there is one, and the error
/// responses of every operation.
pub fn document(public_url: &str) -> String {
    let mut used = BTreeSet::new();
    let mut parts = GENERATED.split("\"x-reasons\": ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (names, rest) = part.split_at(part.find(']').map_or(0, |end| end + 1));
        let names: Vec<String> = serde_json::from_str(names).unwrap_or_default();
        let reasons: Vec<Reason> = names.iter().filter_map(|name| Reason::parse(name)).collect();
        // The reasons follow the object of the responses: reopen it.
        text.truncate(text.rfind('}').unwrap_or_default());
        text.truncate(text.trim_end().len());
        for (status, response) in error_responses(&reasons) {
            text.push_str(",\n");
            text.push_str(&indented(&format!("\"{status}\": {response:#}"), 5));
        }
        text = text + "\n" + &" ".repeat(4 * INDENT) + "}" + rest;
        used.extend(reasons);
    }
    for (placeholder, value) in [
        ("x-problem", problem()),
        ("x-batch-error", batch_error()),
        ("x-problem-examples", problem_examples(&used, &public_url.into())),
    ] {
        let depth = if placeholder == "x-problem-examples" { 2 } else { 3 };
        let value = indented(&format!("{value:#}"), depth);
        text = text.replacen(&format!("\"{placeholder}\""), value.trim_start(), 1);
    }
    if !public_url.is_empty() {
        let server = json!({"url": public_url, "description": "The public address."});
        text = text.replacen("\"servers\": [", &format!("\"servers\": [{server},"), 1);
    }
    text
}

/// Returns a JSON text at this depth of an indented one.
fn indented(text: &str, depth: usize) -> String {
    let margin = " ".repeat(depth * INDENT);
    format!("{margin}{}", text.replace('\n', &format!("\n{margin}")))
}

/// Returns the error responses of an operation, by status.
fn error_responses(reasons: &[Reason]) -> BTreeMap<u16, Value> {
    let mut by_status: BTreeMap<u16, Vec<Reason>> = BTreeMap::new();
    for reason in reasons {
        by_status.entry(status_codes(*reason).http.as_u16()).or_default().push(*reason);
    }
    by_status.into_iter().map(|(status, reasons)| (status, error_response(status, &reasons))).collect()
}

/// Returns an example of a problem for each of these reasons.
fn problem_examples(reasons: &BTreeSet<Reason>, public_url: &Arc<str>) -> Value {
    let example = |reason: &Reason| {
        let problem = serde_json::to_value(example(*reason, public_url)?).ok()?;
        Some((reason.name().to_owned(), json!({"summary": explain(*reason).title, "value": problem})))
    };
    Value::Object(reasons.iter().filter_map(example).collect())
}

/// Returns the response of all reasons with one status.
fn error_response(status: u16, reasons: &[Reason]) -> Value {
    let lines: Vec<String> =
        reasons.iter().map(|reason| format!("- `{}`: {}", reason.name(), explain(*reason).meaning)).collect();
    let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    let example =
        |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/examples/{name}")}));
    let examples: Map<String, Value> = names.iter().map(example).collect();
    let mut headers = json!({"x-request-id": {"$ref": "#/components/headers/x-request-id"}});
    let retryable = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    if retryable.iter().any(|one| one.as_u16() == status) {
        headers["retry-after"] = json!({"$ref": "#/components/headers/retry-after"});
    }
    json!({
        "description": lines.join("\n"),
        "headers": headers,
        "content": {"application/problem+json": {
            "schema": {
                "$ref": "#/components/schemas/Problem",
                "properties": {"reason": {"enum": names}, "status": {"const": status}},
            },
            "examples": examples,
        }},
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
