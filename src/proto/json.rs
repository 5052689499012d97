//! Reading the proto3 JSON mapping, with errors that name the field.
//!
//! The generated types read most of the mapping by themselves. Around them
//! stands [`deserializer`], which treats null as absent, notices a field that stands
//! twice in any spelling, and keeps the path to a fault.

mod describe;
mod deserializer;

use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// What is wrong with a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFault {
    /// The path of the field in proto spelling (`order_ids[2]`); empty when the
    /// text as a whole cannot be read.
    pub field: String,
    /// What is wrong, to stand after the field's name, with line and column
    /// when the text cannot be read.
    pub description: String,
    /// Line and column, from 1, when the text cannot be read.
    pub position: Option<(usize, usize)>,
}

/// Reads a message.
///
/// # Errors
/// The first fault: not JSON, an unknown or repeated field, a value of the
/// wrong type.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonFault> {
    parse_under(text, &deserializer::Trace::default())
}

/// Reads a message that a newer release may have written: fields that it does
/// not have are passed over.
///
/// # Errors
/// The first fault.
pub fn parse_newer<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonFault> {
    parse_under(text, &deserializer::Trace::tolerant())
}

fn parse_under<T: DeserializeOwned>(text: &[u8], trace: &deserializer::Trace) -> Result<T, JsonFault> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = T::deserialize(deserializer::Proto3JsonDeserializer::new(&mut deserializer, trace));
    read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| match error.classify() {
        Category::Data => trace.fault(&error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => JsonFault {
            field: String::new(),
            description: format!("cannot be read as JSON: {error}"),
            position: Some((error.line(), error.column())),
        },
    })
}

/// Reads a message from anything else that has names and values, by the same
/// rules.
///
/// # Errors
/// The first fault.
pub fn read<'de, T, D>(source: D) -> Result<T, JsonFault>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let trace = deserializer::Trace::default();
    T::deserialize(deserializer::Proto3JsonDeserializer::new(source, &trace))
        .map_err(|error| trace.fault(&error.to_string()))
}
