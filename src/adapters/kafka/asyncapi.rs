//! The AsyncAPI document of the topic, generated at build time from `proto/` by
//! `build/asyncapi.rs`.

/// Returns the document as JSON.
pub fn asyncapi_document() -> &'static str {
    include_str!(concat!(env!("OUT_DIR"), "/asyncapi.json"))
}
