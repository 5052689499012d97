//! Parser of the proto3 JSON mapping, with errors that name the field.
//!
//! The generated types implement most of the mapping. The [`deserializer`] wraps
//! their input: it treats null as absent, detects a field that is given twice in
//! any spelling, decides numbers on their text, and records the path to a fault.

mod describe;
mod deserializer;
mod faults;
mod number;
mod trace;

use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use self::trace::Trace;

pub use faults::all_faults;

/// The byte-order mark that some programs write at the beginning of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A fault in a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFault {
    /// The path of the field in proto spelling (`order_ids[2]`); empty if the text
    /// is not JSON.
    pub field: String,
    /// The problem, as the continuation of a sentence that begins with the field. It names line and
    /// column if the text is not JSON.
    pub description: String,
    /// Line and column, from 1, if the text is not JSON.
    pub position: Option<(usize, usize)>,
}

/// Returns a text without the byte-order mark at its beginning.
#[must_use]
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Parses a message.
///
/// # Errors
/// The only fault if the text is not a JSON object. Otherwise the faults of all
/// members: an unknown or repeated field, a value of the wrong type. Never empty.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Vec<JsonFault>> {
    parse_first(text).map_err(|first| faults::of_members::<T>(text, first))
}

/// Parses a message, and stops at the first fault.
fn parse_first<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonFault> {
    parse_under(text, &Trace::of_json(false))
}

/// Parses a message that a later release may have written. Unknown fields are
/// ignored.
///
/// # Errors
/// The first fault.
pub fn parse_newer<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonFault> {
    parse_under(text, &Trace::of_json(true))
}

fn parse_under<T: DeserializeOwned>(text: &[u8], trace: &Trace) -> Result<T, JsonFault> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = T::deserialize(deserializer::Proto3JsonDeserializer::new(&mut deserializer, trace));
    read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| match error.classify() {
        Category::Data => trace.fault(&error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => unreadable(&error),
    })
}

fn unreadable(error: &serde_json::Error) -> JsonFault {
    JsonFault {
        field: String::new(),
        description: format!("cannot be read as JSON: {error}"),
        position: Some((error.line(), error.column())),
    }
}

/// Reads a message from another deserializer with names and values, by the same
/// rules.
///
/// # Errors
/// The first fault.
pub fn read<'de, T, D>(source: D) -> Result<T, JsonFault>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let trace = Trace::default();
    T::deserialize(deserializer::Proto3JsonDeserializer::new(source, &trace))
        .map_err(|error| trace.fault(&error.to_string()))
}
