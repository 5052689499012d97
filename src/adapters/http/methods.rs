//! The methods of the service with the reasons of their refusals, for the pages of
//! the reasons.

use std::sync::LazyLock;

use serde_json::Value;

use super::openapi::GENERATED;

/// A method of the service.
pub struct Method {
    /// The HTTP method: `POST`.
    pub verb: String,
    /// The path: `/v1/orders`.
    pub path: String,
    /// The fragment of its place in Swagger UI: `/orders/acceptOrder`.
    pub fragment: String,
    /// The names of the reasons.
    pub reasons: Vec<String>,
}

/// Returns all methods.
pub fn all() -> &'static [Method] {
    static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
        let document: Value = serde_json::from_str(GENERATED).unwrap_or_default();
        let mut methods = Vec::new();
        for (path, verbs) in document["paths"].as_object().into_iter().flatten() {
            for (verb, operation) in verbs.as_object().into_iter().flatten() {
                methods.push(method(path, verb, operation));
            }
        }
        methods
    });
    &METHODS
}

fn method(path: &str, verb: &str, operation: &Value) -> Method {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Method {
        verb: verb.to_ascii_uppercase(),
        path: path.to_owned(),
        fragment: format!("/{}/{}", text(&operation["tags"][0]), text(&operation["operationId"])),
        reasons: operation["x-reasons"].as_array().into_iter().flatten().map(text).collect(),
    }
}
