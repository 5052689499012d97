//! The AsyncAPI 3 document of the topic of events. The schemas are those of the
//! OpenAPI document; the feed's cursor is no part of a record.

use prost_reflect::Kind;
use serde_json::{Map, Value, json};

use crate::contract::{Contract, Result, comment};
use crate::schema::{Schemas, Way};

const ABOUT: &str = "Everything that happens to orders, in a topic of Apache Kafka. The key of a record is the \
order's id, so all events of an order are in one partition (Kafka's default partitioner), and there in sequence. \
Records are CloudEvents 1.0 in binary mode. An event may be written more than once and is never left out: who \
remembers `(ce_subject, ce_sequence)` and drops what was seen applies each exactly once, and a number that is \
left out would show.\n\nThe value is the JSON mapping of `pvz.v1.Event`; by configuration it is `pvz.v1.Event` as \
Protobuf instead, and `content-type` says which. Fields and event types may be added: pass over what you do not \
know.";

const BINDING: &str = "0.5.0";

/// The document.
pub fn document(contract: &Contract, version: &str) -> Result<Value> {
    let mut schemas = Schemas::default();
    schemas.message(&contract.event, Way::Out, &contract.options);
    if let Some(event) = schemas.named.get_mut("Event") {
        event["properties"].as_object_mut().ok_or("Event has no properties")?.remove("cursor");
    }
    let kind = contract.event.get_field_by_name("type").ok_or("Event has no type")?.kind();
    let Kind::Enum(types) = kind else { return Err("Event.type is no enum".into()) };
    let (mut messages, mut named) = (Map::new(), Map::new());
    for value in types.values().filter(|value| value.number() != 0) {
        let short = value.name().trim_start_matches("EVENT_TYPE_ORDER_").to_lowercase();
        let about = comment(&types.parent_file(), value.path());
        messages.insert(short.clone(), message(&short, value.name(), &about));
        named.insert(short.clone(), json!({"$ref": format!("#/components/messages/{short}")}));
    }
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "pvz events",
            "version": version,
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {
            "host": "localhost:9092",
            "protocol": "kafka",
            "description": "The brokers of `events.url`; TLS and SASL by configuration.",
        }},
        "channels": {"events": {
            "address": "pvz.events-log",
            "description": "The topic, unless `events.url` names another. Partitions and replicas are what it is created with.",
            "servers": [{"$ref": "#/servers/kafka"}],
            "messages": named,
            "bindings": {"kafka": {"partitions": 8, "replicas": 1, "bindingVersion": BINDING}},
        }},
        "operations": {"publishEvents": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "The service writes every event.",
        }},
        "components": {
            "messages": messages,
            "messageTraits": {"cloudEvent": {
                "headers": headers(),
                "bindings": {"kafka": {
                    "key": {"type": "string", "description": "The order's id."},
                    "bindingVersion": BINDING,
                }},
            }},
            "schemas": schemas.named,
        },
    }))
}

fn message(short: &str, name: &str, about: &str) -> Value {
    let kind = format!("pvz.order.{short}.v1");
    json!({
        "name": kind,
        "title": about.trim_end_matches('.'),
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "headers": {"type": "object", "properties": {"ce_type": {"const": kind}}},
        "payload": {"allOf": [
            {"$ref": "#/components/schemas/Event"},
            {"type": "object", "properties": {"type": {"const": name}}},
        ]},
    })
}

/// Every header is a text.
fn headers() -> Value {
    let header =
        |text: &str, example: &str| json!({"type": "string", "description": text, "examples": [example]});
    let trace = "The trace that the command belonged to (W3C Trace Context), if its caller named one.";
    json!({
        "type": "object",
        "required": [
            "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_sequence", "content-type",
        ],
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0", "description": "The version of CloudEvents."},
            "ce_id": header("The event's id, a UUIDv7; the same when it is written again.", "0193a5b0-7c1e-7000-8000-000000000001"),
            "ce_type": header("What happened, and the version of the format.", "pvz.order.accepted.v1"),
            "ce_source": header("`/pvz/` and the pick-up point.", "/pvz/main"),
            "ce_subject": header("The order's id.", "1"),
            "ce_time": header("When it happened, in RFC 3339.", "2026-12-01T09:15:00.123456Z"),
            "ce_sequence": header("The event's number within its order, from 1 without a gap.", "1"),
            "content-type": {
                "type": "string",
                "enum": ["application/json", "application/protobuf"],
                "description": "How the value is written.",
            },
            "traceparent": header(trace, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        },
    })
}
