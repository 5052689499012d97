//! The AsyncAPI 3 document of the Kafka topic of events. The schemas are those of
//! the OpenAPI document, without the cursor, which is not part of a record.

use prost_reflect::Kind;
use serde_json::{Map, Value, json};

use crate::contract::{Contract, Result, comment};
use crate::schema::{Direction, Schemas};

const DESCRIPTION: &str = "The events of all orders, in an Apache Kafka topic. The key of a record is the order id, so all \
events of an order are in one partition (Kafka's default partitioner), ordered by sequence. Records are CloudEvents \
1.0 in binary mode. Delivery is at least once: an event may be written more than once and is never omitted. A consumer \
that remembers `(ce_subject, ce_sequence)` and ignores duplicates applies each event exactly once, and detects a \
missing one by the gap in the sequence.\n\nThe value is the JSON mapping of `pvz.v1.Event` or, if so configured, \
`pvz.v1.Event` as Protobuf; `content-type` says which. Later releases may add fields and event types: ignore those \
that you do not know.";

const BINDING_VERSION: &str = "0.5.0";

/// Returns the document.
pub fn document(contract: &Contract, version: &str) -> Result<Value> {
    let mut schemas = Schemas::default();
    schemas.message(&contract.event, Direction::Response, &contract.options);
    if let Some(event) = schemas.named.get_mut("Event") {
        event["properties"].as_object_mut().ok_or("Event has no properties")?.remove("cursor");
    }
    let kind = contract.event.get_field_by_name("type").ok_or("Event has no type")?.kind();
    let Kind::Enum(types) = kind else { return Err("Event.type is not an enum".into()) };
    let (mut messages, mut references) = (Map::new(), Map::new());
    for value in types.values().filter(|value| value.number() != 0) {
        let short = value.name().trim_start_matches("EVENT_TYPE_ORDER_").to_lowercase();
        let comment = comment(&types.parent_file(), value.path());
        messages.insert(short.clone(), message(&short, value.name(), &comment));
        references.insert(short.clone(), json!({"$ref": format!("#/components/messages/{short}")}));
    }
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "pvz events",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {
            "host": "localhost:9092",
            "protocol": "kafka",
            "description": "The brokers in `events.url`. TLS and SASL are configurable.",
        }},
        "channels": {"events": {
            "address": "pvz.events-log",
            "description": "The default topic; `events.url` may name another. The numbers of partitions and replicas apply when the topic is created.",
            "servers": [{"$ref": "#/servers/kafka"}],
            "messages": references,
            "bindings": {"kafka": {"partitions": 8, "replicas": 1, "bindingVersion": BINDING_VERSION}},
        }},
        "operations": {"publishEvents": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "The service publishes every event.",
        }},
        "components": {
            "messages": messages,
            "messageTraits": {"cloudEvent": {
                "headers": headers(),
                "bindings": {"kafka": {
                    "key": {"type": "string", "description": "The order id."},
                    "bindingVersion": BINDING_VERSION,
                }},
            }},
            "schemas": schemas.named,
        },
    }))
}

/// Returns the message of an event type.
fn message(short: &str, name: &str, comment: &str) -> Value {
    let kind = format!("pvz.order.{short}.v1");
    json!({
        "name": kind,
        "title": comment.trim_end_matches('.'),
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "headers": {"type": "object", "properties": {"ce_type": {"const": kind}}},
        "payload": {"allOf": [
            {"$ref": "#/components/schemas/Event"},
            {"type": "object", "properties": {"type": {"const": name}}},
        ]},
    })
}

/// Returns the schema of the headers. All of them are strings.
fn headers() -> Value {
    let header =
        |text: &str, example: &str| json!({"type": "string", "description": text, "examples": [example]});
    let trace = "The trace context of the command (W3C Trace Context), if the caller sent one.";
    json!({
        "type": "object",
        "required": [
            "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_sequence", "content-type",
        ],
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0", "description": "The CloudEvents version."},
            "ce_id": header("The id of the event, a UUIDv7. A duplicate has the same id.", "0193a5b0-7c1e-7000-8000-000000000001"),
            "ce_type": header("The event type and the format version.", "pvz.order.accepted.v1"),
            "ce_source": header("`/pvz/` and the pickup point.", "/pvz/main"),
            "ce_subject": header("The order id.", "1"),
            "ce_time": header("The time of the event, in RFC 3339.", "2026-12-01T09:15:00.123456Z"),
            "ce_sequence": header("The number of the event within its order, from 1 without gaps.", "1"),
            "content-type": {
                "type": "string",
                "enum": ["application/json", "application/protobuf"],
                "description": "The format of the value.",
            },
            "traceparent": header(trace, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        },
    })
}
