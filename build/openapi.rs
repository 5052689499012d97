//! The OpenAPI 3.1 document of the contract. What each reason is called over
//! HTTP is not known here: `x-reasons` names them, and
//! `src/adapters/http/openapi.rs` writes the answers that they are.

use serde_json::{Map, Value, json};

use crate::contract::{Body, Contract, Operation, Streams, variables};
use crate::schema::{Schemas, Way, in_order};

/// The reasons that every method may refuse with.
const COMMON: [&str; 5] = ["VALIDATION_FAILED", "OVERLOADED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"];

/// Those of a method with a body.
const OF_BODIES: [&str; 2] = ["TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"];

const NDJSON: &str = "application/x-ndjson";

const ABOUT: &str = "The REST face of the service: the same methods as over gRPC, with JSON in the proto3 \
mapping. Names are written in lowerCamelCase and read in snake_case too; 64-bit integers are written as strings \
and read as either; null is an absent field; unknown fields are refused. Every answer that is not a success is \
`application/problem+json` (RFC 9457) with a machine-readable `reason`.\n\nTo repeat a request safely, give it an \
`Idempotency-Key`: the same key with the same content gets the first answer again, and nothing happens twice.";

/// The document, still without the answers that refusals are.
pub fn document(contract: &Contract, version: &str) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: Map<String, Value> = Map::new();
    let mut tags: Vec<String> = Vec::new();
    for operation in &contract.operations {
        let tag = tag(&operation.path);
        if !tags.contains(&tag) {
            tags.push(tag.clone());
        }
        let described = describe(operation, &tag, contract, &mut schemas);
        let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        path[&operation.verb] = described;
    }
    let tags: Vec<Value> = tags.into_iter().map(|name| json!({"name": name})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pvz",
            "version": version,
            "summary": contract.comment,
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that serves this document."}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.named,
            "parameters": request_headers(),
            "headers": answer_headers(),
        },
    })
}

/// `orders` of `/v1/orders:issue`.
fn tag(path: &str) -> String {
    path.split(['/', ':']).nth(2).unwrap_or_default().to_owned()
}

fn describe(operation: &Operation, tag: &str, contract: &Contract, schemas: &mut Schemas) -> Value {
    let summary = operation.comment.split_inclusive(['.', ';']).next().unwrap_or_default();
    let mut described = json!({
        "operationId": lower_first(&operation.name),
        "tags": [tag],
        "summary": summary.trim_end_matches(['.', ';']),
        "description": operation.comment,
        "parameters": parameters(operation, contract, schemas),
        "responses": {"200": success(operation, contract, schemas)},
        "x-reasons": reasons(operation),
    });
    if operation.has_etag() {
        described["responses"]["304"] = json!({
            "description": "The caller has this version already.",
            "headers": headers(&["x-request-id", "etag"]),
        });
    }
    if let Some(body) = body(operation, contract, schemas) {
        described["requestBody"] = body;
    }
    described
}

fn reasons(operation: &Operation) -> Vec<&str> {
    let of_bodies = OF_BODIES.iter().filter(|_| operation.body != Body::None);
    let own = operation.reasons.iter().map(String::as_str);
    let mut reasons: Vec<&str> = Vec::new();
    for reason in own.chain(of_bodies.copied()).chain(COMMON) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

fn parameters(operation: &Operation, contract: &Contract, schemas: &mut Schemas) -> Vec<Value> {
    let in_path: Vec<&str> = variables(&operation.path).collect();
    let mut parameters = Vec::new();
    for field in in_order(&operation.input) {
        if in_path.contains(&field.name()) {
            parameters.push(schemas.parameter(&field, "path", &contract.options));
        } else if operation.body == Body::None {
            parameters.push(schemas.parameter(&field, "query", &contract.options));
        }
    }
    let mut shared = vec!["pvz-actor", "x-request-id"];
    if operation.mutation {
        shared.push("traceparent");
    }
    if operation.mutation && operation.streams == Streams::Unary {
        shared.push("Idempotency-Key");
    }
    if operation.has_etag() {
        shared.push("If-None-Match");
    }
    if operation.streams == Streams::Out {
        shared.push("Last-Event-ID");
    }
    parameters.extend(shared.iter().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    parameters
}

fn body(operation: &Operation, contract: &Contract, schemas: &mut Schemas) -> Option<Value> {
    let content = match &operation.body {
        Body::None => return None,
        Body::Message => {
            let schema = schemas.message(&operation.input, Way::In, &contract.options);
            json!({"application/json": {"schema": schema}})
        }
        Body::Field(row) => {
            let row = operation.input.get_field_by_name(row)?.kind();
            let item = schemas.message(row.as_message()?, Way::In, &contract.options);
            json!({NDJSON: lines(&item, "Rows, one JSON object a line; a line is at most 64 KiB.")})
        }
    };
    Some(json!({"required": true, "content": content}))
}

/// OpenAPI 3.1 cannot say what the lines of a text are.
fn lines(item: &Value, text: &str) -> Value {
    json!({"schema": {"type": "string", "description": text, "x-item-schema": item}})
}

fn success(operation: &Operation, contract: &Contract, schemas: &mut Schemas) -> Value {
    let item = schemas.message(&operation.output, Way::Out, &contract.options);
    let text = contract_comment(operation);
    let content = match operation.streams {
        Streams::Unary => json!({"application/json": {"schema": item}}),
        Streams::Both => {
            json!({NDJSON: lines(&item, "Results, one JSON object a line, in any order; a stream that fails ends with one line `{\"problem\":{…}}`.")})
        }
        Streams::Out => json!({
            NDJSON: lines(&item, "Items, one JSON object a line; an empty line every 15 s; a stream that fails ends with one line `{\"problem\":{…}}`."),
            "text/event-stream": lines(&item, "The same as Server-Sent Events; `id` is the cursor, a comment comes every 15 s; a stream that fails ends with an event `problem`."),
        }),
    };
    let mut with = vec!["x-request-id"];
    if operation.mutation && operation.streams == Streams::Unary {
        with.push("idempotent-replayed");
    }
    if operation.has_etag() {
        with.push("etag");
    }
    json!({"description": text, "content": content, "headers": headers(&with)})
}

fn contract_comment(operation: &Operation) -> String {
    crate::contract::comment(&operation.output.parent_file(), operation.output.path())
}

fn headers(names: &[&str]) -> Value {
    let of = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    Value::Object(names.iter().map(of).collect())
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// An empty pattern: the header is never refused.
fn request_headers() -> Value {
    let header = |name: &str, text: &str, pattern: &str, example: &str| {
        let mut schema = json!({"type": "string", "examples": [example]});
        if !pattern.is_empty() {
            schema["pattern"] = pattern.into();
        }
        json!({"name": name, "in": "header", "required": false, "description": text, "schema": schema})
    };
    json!({
        "pvz-actor": header(
            "pvz-actor",
            "Who asks, `<kind>:<id>`; absent: `operator:anonymous`. Recorded with every event.",
            "^(courier|operator|customer|system):[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "operator:anna",
        ),
        "x-request-id": header(
            "x-request-id",
            "A correlation id, echoed in the answer and written in the log; made when absent, replaced when longer than 128 or not visible ASCII. Not the idempotency key.",
            "",
            "0193a5b0-7c1e-7000-8000-000000000001",
        ),
        "traceparent": header(
            "traceparent",
            "The trace that the call belongs to (W3C Trace Context). It goes with the events that the call makes; a malformed one counts as absent.",
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        "Idempotency-Key": header(
            "Idempotency-Key",
            "The `requestId` of the body: the same key with the same content gets the first answer again. A value in double quotes is the string inside. Kept 7 days.",
            "^[!-~]{1,128}$",
            "5d6c1a52-accept-1",
        ),
        "If-None-Match": header(
            "If-None-Match",
            "The `etag` that the caller has; when it is still right, the answer is 304 without a body.",
            "",
            "W/\"1\"",
        ),
        "Last-Event-ID": header(
            "Last-Event-ID",
            "The cursor to go on from, as an EventSource sends it when it reconnects; goes before `after`.",
            "^[0-9]{1,19}$",
            "1",
        ),
    })
}

fn answer_headers() -> Value {
    json!({
        "x-request-id": {
            "description": "The correlation id of the request.",
            "schema": {"type": "string"},
        },
        "idempotent-replayed": {
            "description": "`true` when the answer is a stored one: nothing happened again.",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "etag": {
            "description": "The tag of this version of the order.",
            "schema": {"type": "string"},
        },
        "retry-after": {
            "description": "How long to wait before the request is repeated. Unit: s.",
            "schema": {"type": "integer", "minimum": 1},
        },
    })
}
