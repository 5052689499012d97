//! Examples for the OpenAPI document. A request is made of the examples of its fields
//! in `proto/`, which together tell one story. `build/answers.json` has the answers
//! of a server to the requests of the story; `tests/it/openapi_story.rs` records
//! them and compares them with those of the server under test.

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::contract::{Contract, MethodKind, Operation, Options, Result};
use crate::schema::in_order;

/// The recorded answers, by operation id. The answer of a stream is the list of its
/// messages.
pub struct Answers(Map<String, Value>);

impl Answers {
    /// Reads the recorded answers.
    pub fn read() -> Result<Self> {
        Ok(Self(serde_json::from_str(include_str!("answers.json"))?))
    }

    /// Returns the answer in this media type; `None` if the method refuses its example.
    pub fn of(&self, operation_id: &str, media_type: &str) -> Option<Value> {
        let answer = self.0.get(operation_id)?;
        let Some(items) = answer.as_array() else { return Some(answer.clone()) };
        let line = |item: &Value| match (media_type, item["cursor"].as_str()) {
            ("text/event-stream", Some(cursor)) => format!("id: {cursor}\ndata: {item}\n\n"),
            _ => format!("{item}\n"),
        };
        Some(items.iter().map(line).collect::<String>().into())
    }
}

/// Returns the example of a message, with the fields that have one.
pub fn message(message: &MessageDescriptor, options: &Options) -> Map<String, Value> {
    let example = |field| options.bounds(&field).example.map(|value| (field.json_name().to_owned(), value));
    in_order(message).into_iter().filter_map(example).collect()
}

/// Returns the rows of a stream of requests, one per line: each completes the example
/// of their message with the values in that of the field.
pub fn lines(operation: &Operation, field: &str, contract: &Contract) -> Option<String> {
    let field = operation.input.get_field_by_name(field)?;
    let Kind::Message(row) = field.kind() else { return None };
    let example = contract.options.bounds(&field).example?;
    let line = |changes: &Value| {
        let mut row = message(&row, &contract.options);
        row.extend(
            changes.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())),
        );
        format!("{}\n", Value::Object(row))
    };
    Some(example.as_array()?.iter().map(line).collect())
}

/// Returns true if a request of the story has this parameter. An optional one is left
/// out, except the cursor of a stream, without which a reader would wait for events.
pub fn has_parameter(operation: &Operation, location: &str) -> bool {
    location == "path" || operation.kind == MethodKind::ServerStreaming
}
