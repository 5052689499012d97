//! The OpenAPI 3.1 document of the contract. It lists the reasons of an operation
//! in `x-reasons`, after its responses; `src/adapters/http/openapi.rs`, which knows
//! their HTTP statuses, replaces these by error responses. It also replaces the
//! strings `x-…` in `components`.

use serde_json::{Map, Value, json};

use crate::contract::{Body, Contract, MethodKind, Operation, comment, variables};
use crate::examples::{self, Answers};
use crate::schema::{Direction, Schemas, in_order};

/// The reasons of every method.
const COMMON_REASONS: [&str; 5] =
    ["VALIDATION_FAILED", "OVERLOADED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"];

/// The additional reasons of a method with a body.
const BODY_REASONS: [&str; 2] = ["TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"];

const NDJSON: &str = "application/x-ndjson";

const DESCRIPTION: &str = "The REST interface of the service: the same methods as over gRPC, with JSON in the proto3 \
mapping. Output uses lowerCamelCase names; input accepts snake_case names too. 64-bit integers are strings in output \
and strings or numbers in input. null means that a field is absent. Unknown fields are refused. Errors are \
`application/problem+json` (RFC 9457) with a machine-readable `reason`.\n\nTo make retries safe, send an \
`Idempotency-Key`: a repeated request with the same key and content gets the stored answer and has no further \
effect.";

/// Returns the document without the error responses.
pub fn document(contract: &Contract, answers: &Answers, version: &str) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: Map<String, Value> = Map::new();
    for operation in &contract.operations {
        let described = describe(operation, contract, answers, &mut schemas);
        let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        path[&operation.verb] = described;
    }
    let tag = |(name, text): &(String, String)| json!({"name": name, "description": text});
    let tags: Vec<Value> = contract.tags.iter().map(tag).collect();
    let mut schemas = schemas.named;
    for (name, placeholder) in [("Problem", "x-problem"), ("BatchError", "x-batch-error")] {
        schemas.insert(name.to_owned(), placeholder.into());
    }
    schemas.insert("StreamProblem".to_owned(), stream_problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pvz",
            "version": version,
            "summary": contract.comment,
            "description": DESCRIPTION,
            "contact": {"name": "The maintainers of pvz"},
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        // Relative to the address of the document, which a proxy may prefix.
        "servers": [{"url": ".", "description": "The server of this document."}],
        // There is no authentication yet.
        "security": [],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": request_headers(),
            "headers": response_headers(),
            "examples": "x-problem-examples",
        },
    })
}

/// Returns the operation object of a method.
fn describe(operation: &Operation, contract: &Contract, answers: &Answers, schemas: &mut Schemas) -> Value {
    let summary = operation.comment.split_inclusive(['.', ';']).next().unwrap_or_default();
    let mut description = operation.comment.clone();
    if operation.kind == MethodKind::ServerStreaming {
        let path = &operation.path;
        description = format!(
            "{description}\n\nThe answer does not end. Swagger UI shows what arrives in 5 seconds; curl shows each event as it \
             happens:\n\n```sh\ncurl -N 'http://127.0.0.1:8081{path}?after=0'\n```"
        );
    }
    let mut described = json!({
        "operationId": lower_first(&operation.name),
        "tags": [operation.tag],
        "summary": summary.trim_end_matches(['.', ';']),
        "description": description,
        "parameters": parameters(operation, contract, schemas),
    });
    if let Some(body) = body(operation, contract, schemas) {
        described["requestBody"] = body;
    }
    described["responses"] = json!({"200": success(operation, contract, answers, schemas)});
    if operation.has_etag() {
        described["responses"]["304"] = json!({
            "description": "The entity tag in `If-None-Match` is current.",
            "headers": headers(&["x-request-id", "etag"]),
        });
    }
    described["x-reasons"] = reasons(operation).into();
    described
}

fn reasons(operation: &Operation) -> Vec<&str> {
    let of_body = BODY_REASONS.iter().filter(|_| operation.body != Body::None);
    let own = operation.reasons.iter().map(String::as_str);
    let mut reasons: Vec<&str> = Vec::new();
    for reason in own.chain(of_body.copied()).chain(COMMON_REASONS) {
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
        let location = match &operation.body {
            _ if in_path.contains(&field.name()) => "path",
            Body::None => "query",
            Body::Message | Body::Field(_) => continue,
        };
        let mut parameter = schemas.parameter(&field, location, &contract.options);
        if let Some(example) = contract.options.bounds(&field).example
            && examples::has_parameter(operation, location)
        {
            parameter["example"] = example;
        }
        parameters.push(parameter);
    }
    let mut headers = vec!["pvz-actor", "x-request-id"];
    if operation.mutation {
        headers.push("traceparent");
    }
    if operation.mutation && operation.kind == MethodKind::Unary {
        headers.push("Idempotency-Key");
    }
    if operation.has_etag() {
        headers.push("If-None-Match");
    }
    if operation.kind == MethodKind::ServerStreaming {
        headers.push("Last-Event-ID");
    }
    parameters.extend(headers.iter().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    parameters
}

fn body(operation: &Operation, contract: &Contract, schemas: &mut Schemas) -> Option<Value> {
    let content = match &operation.body {
        Body::None => return None,
        Body::Message => {
            let schema = schemas.message(&operation.input, Direction::Request, &contract.options);
            let mut example = json!({"value": examples::message(&operation.input, &contract.options)});
            if let Some(reason) = &operation.example_refusal {
                example["summary"] = format!("On a new installation, the answer is {reason}").into();
            }
            json!({"application/json": {"schema": schema, "examples": {"story": example}}})
        }
        Body::Field(field) => {
            let row = operation.input.get_field_by_name(field)?.kind();
            let item = schemas.message(row.as_message()?, Direction::Request, &contract.options);
            let text = "Rows, one JSON object per line. A line has at most 64 KiB.";
            let mut rows = json!({"schema": lines(&item, text)});
            if let Some(example) = examples::lines(operation, field, contract) {
                rows["examples"] = json!({"story": {"value": example}});
            }
            let file = json!({"type": "string", "format": "binary", "description": "A file with such rows."});
            json!({NDJSON: rows, "application/octet-stream": {"schema": file}})
        }
    };
    Some(json!({"required": true, "content": content}))
}

/// Returns the schema of a text with one JSON value per line. It has no
/// `contentMediaType`, for which Swagger UI would ask for a file.
fn lines(item: &Value, text: &str) -> Value {
    json!({
        "type": "string",
        "description": text,
        "contentSchema": {"type": "array", "items": item},
    })
}

/// Returns the schema of the last line of a stream that failed.
fn stream_problem() -> Value {
    json!({
        "type": "object",
        "description": "The last line of a stream that failed.",
        "required": ["problem"],
        "properties": {"problem": {
            "$ref": "#/components/schemas/Problem",
            "description": "The reason of the failure.",
        }},
    })
}

fn success(operation: &Operation, contract: &Contract, answers: &Answers, schemas: &mut Schemas) -> Value {
    let item = schemas.message(&operation.output, Direction::Response, &contract.options);
    let text = comment(&operation.output.parent_file(), operation.output.path());
    let line = json!({"oneOf": [item, {"$ref": "#/components/schemas/StreamProblem"}]});
    let stream = |media_type, text| (media_type, lines(&line, text));
    let forms = match operation.kind {
        MethodKind::Unary => vec![("application/json", item)],
        MethodKind::Bidirectional => vec![stream(
            NDJSON,
            "Results, one JSON object per line, in any order. A failed stream ends with a line `{\"problem\":{…}}`.",
        )],
        MethodKind::ServerStreaming => vec![
            stream(
                NDJSON,
                "Items, one JSON object per line, and an empty line every 15 s. A failed stream ends with a line `{\"problem\":{…}}`.",
            ),
            stream(
                "text/event-stream",
                "The items as Server-Sent Events with the cursor as `id`, and a comment every 15 s. A failed stream ends with an event `problem`.",
            ),
        ],
    };
    let mut content = Map::new();
    for (media_type, schema) in forms {
        let mut form = json!({"schema": schema});
        if let Some(answer) = answers.of(&lower_first(&operation.name), media_type) {
            form["examples"] = json!({"story": {"value": answer}});
        }
        content.insert(media_type.to_owned(), form);
    }
    let mut names = vec!["x-request-id"];
    if operation.mutation && operation.kind == MethodKind::Unary {
        names.push("idempotent-replayed");
    }
    if operation.has_etag() {
        names.push("etag");
    }
    json!({"description": text, "content": content, "headers": headers(&names)})
}

fn headers(names: &[&str]) -> Value {
    let of = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    Value::Object(names.iter().map(of).collect())
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Returns the request headers. One with an empty pattern accepts any value. Those
/// that change the answer of a later request have no example, because tools send
/// examples.
fn request_headers() -> Value {
    let header = |name: &str, text: &str, pattern: &str, example: &str| {
        let mut schema = json!({"type": "string"});
        if !pattern.is_empty() {
            schema["pattern"] = pattern.into();
        }
        if !example.is_empty() {
            schema["examples"] = json!([example]);
        }
        json!({"name": name, "in": "header", "required": false, "description": text, "schema": schema})
    };
    json!({
        "pvz-actor": header(
            "pvz-actor",
            "The actor, `<kind>:<id>`; absent means `operator:anonymous`. It is recorded with every event.",
            "^(courier|operator|customer|system):[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "operator:anna",
        ),
        "x-request-id": header(
            "x-request-id",
            "The correlation id, echoed in the answer and written to the log. The server generates one if it is absent, longer than 128 characters, or not visible ASCII. It is not the idempotency key.",
            "",
            "0193a5b0-7c1e-7000-8000-000000000001",
        ),
        "traceparent": header(
            "traceparent",
            "The trace context of the call (W3C Trace Context), published with the events of the call. A malformed one counts as absent.",
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        "Idempotency-Key": header(
            "Idempotency-Key",
            "The `requestId` of the body: a repeated request with the same key and content gets the stored answer. A value in double quotes is the string inside. Stored for 7 days.",
            "^[!-~]{1,128}$",
            "",
        ),
        "If-None-Match": header(
            "If-None-Match",
            "The `etag` of an earlier answer. If it is current, the answer is 304 without a body.",
            "",
            "",
        ),
        "Last-Event-ID": header(
            "Last-Event-ID",
            "The cursor to continue from, as an EventSource sends it after a reconnect. It takes precedence over `after`.",
            "^[0-9]{1,19}$",
            "",
        ),
    })
}

fn response_headers() -> Value {
    json!({
        "x-request-id": {
            "description": "The correlation id of the request.",
            "schema": {"type": "string"},
        },
        "idempotent-replayed": {
            "description": "`true` if the answer is a stored one and the request had no further effect.",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "etag": {
            "description": "The entity tag of this version of the order.",
            "schema": {"type": "string"},
        },
        "retry-after": {
            "description": "The time to wait before the request is repeated. Unit: s.",
            "schema": {"type": "integer", "minimum": 1},
        },
    })
}
