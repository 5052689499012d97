//! A Postman collection (v2.1) of all methods, generated from the OpenAPI document.
//! Bruno, Insomnia and other clients import it too. `src/adapters/http/pages.rs`
//! serves it, with the address of the server in place of `x-base-url`.

use serde_json::{Value, json};

const SCHEMA: &str = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";

const DESCRIPTION: &str = "All methods of the REST interface with the examples of its OpenAPI document, in the order of a \
story: an order is accepted, issued, returned and handed to a courier. The variable `baseUrl` is the address of the \
server. Parameters that are not needed are switched off.";

/// A script that runs before each request. It sets the variable that replaces the
/// instants in examples, so that they are ahead whenever a request is sent.
const SET_DEADLINE: &str =
    "pm.variables.set('deadline', new Date(Date.now() + 7 * 24 * 3600 * 1000).toISOString());";

/// Returns the collection of a document.
pub fn collection(document: &Value) -> Value {
    let folders: Vec<Value> = list(&document["tags"]).map(|tag| folder(document, tag)).collect();
    json!({
        "info": {"name": document["info"]["title"], "description": DESCRIPTION, "schema": SCHEMA},
        "variable": [{"key": "baseUrl", "value": "x-base-url"}],
        "event": [{"listen": "prerequest", "script": {"type": "text/javascript", "exec": [SET_DEADLINE]}}],
        "item": folders,
    })
}

/// Returns the folder of the operations with a tag.
fn folder(document: &Value, tag: &Value) -> Value {
    let mut requests = Vec::new();
    for (path, verbs) in members(&document["paths"]) {
        for (verb, operation) in members(verbs) {
            if list(&operation["tags"]).any(|one| *one == tag["name"]) {
                requests.push(request(document, path, verb, operation));
            }
        }
    }
    json!({"name": tag["name"], "description": tag["description"], "item": requests})
}

fn request(document: &Value, path: &str, verb: &str, operation: &Value) -> Value {
    let mut headers = Vec::new();
    let mut query = Vec::new();
    let mut variables = Vec::new();
    for parameter in list(&operation["parameters"]) {
        let parameter = resolved(document, parameter);
        let mut entry = json!({
            "key": parameter["name"],
            "value": value(parameter),
            "description": parameter["description"],
        });
        if parameter["required"] != true {
            entry["disabled"] = true.into();
        }
        match parameter["in"].as_str() {
            Some("path") => variables.push(entry),
            Some("query") => query.push(entry),
            _ => headers.push(entry),
        }
    }
    let mut request = json!({"method": verb.to_ascii_uppercase(), "description": operation["description"]});
    if let Some((media_type, media)) = members(&operation["requestBody"]["content"]).next() {
        headers.insert(0, json!({"key": "content-type", "value": media_type}));
        request["body"] = json!({
            "mode": "raw",
            "raw": body(document, media),
            "options": {"raw": {"language": "json"}},
        });
    }
    request["header"] = headers.into();
    request["url"] = url(path, &query, &variables);
    json!({"name": operation["summary"], "request": request})
}

/// Returns an address: `/v1/orders/{order_id}` with the segments `v1`, `orders` and
/// `:order_id`.
fn url(path: &str, query: &[Value], variables: &[Value]) -> Value {
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        Some(name) => format!(":{name}"),
        None => segment.to_owned(),
    };
    let segments: Vec<String> = path.split('/').skip(1).map(segment).collect();
    json!({
        "raw": format!("{{{{baseUrl}}}}/{}", segments.join("/")),
        "host": ["{{baseUrl}}"],
        "path": segments,
        "query": query,
        "variable": variables,
    })
}

/// Returns the example of a body as text: JSON, or lines of JSON.
fn body(document: &Value, media: &Value) -> String {
    let example =
        members(&media["examples"]).next().map(|(_, example)| &resolved(document, example)["value"]);
    match example {
        None => String::new(),
        Some(Value::String(lines)) => {
            let rows = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
            rows.map(|row| with_deadlines(row).to_string()).collect::<Vec<_>>().join("\n")
        }
        Some(value) => serde_json::to_string_pretty(&with_deadlines(value.clone())).unwrap_or_default(),
    }
}

/// Replaces the instants in an example with the variable of the collection.
fn with_deadlines(value: Value) -> Value {
    match value {
        Value::String(text) if is_instant(&text) => "{{deadline}}".into(),
        Value::Array(items) => items.into_iter().map(with_deadlines).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, member)| (name, with_deadlines(member))).collect()
        }
        other => other,
    }
}

/// Returns true for an instant as `2026-12-31T10:00:00Z`, in this form alone.
fn is_instant(text: &str) -> bool {
    let fits =
        |(byte, pattern): (u8, u8)| if pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern };
    let pattern = "0000-00-00T00:00:00Z";
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

/// Follows the references of a part of the document.
fn resolved<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    let mut part = part;
    while let Some(pointer) = part["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
        part = document.pointer(pointer).unwrap_or(&Value::Null);
    }
    part
}

/// Returns the example of a parameter as text; empty if it has none.
fn value(parameter: &Value) -> String {
    let schema = &parameter["schema"];
    let items = &schema["items"];
    // The first value of an enumeration means "not given".
    let example = parameter.get("example").or(schema["examples"].get(0)).or(items["enum"].get(1));
    match example {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
