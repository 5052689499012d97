//! The AsyncAPI document of the topic, written at build time from `proto/`
//! (`build/asyncapi.rs`).

/// JSON.
pub fn asyncapi_document() -> &'static str {
    include_str!(concat!(env!("OUT_DIR"), "/asyncapi.json"))
}
