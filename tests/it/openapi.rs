//! The OpenAPI document: the committed document is the served one, and it covers
//! the whole contract.

use std::collections::BTreeSet;
use std::path::Path;

use pvz::adapters::http::openapi_document;
use pvz::adapters::status::status_codes;
use pvz::domain::Reason;
use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(&openapi_document()).unwrap()
}

/// Removes descriptions, summaries and examples, which may change.
pub fn without_texts(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|key, member| {
                    !(matches!(key.as_str(), "description" | "summary") && member.is_string()
                        || key == "example"
                        || key == "examples")
                });
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

/// Collects the changes that can break a client of the old document.
pub fn breaking(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let member = format!("{path}/{key}");
                match new.get(key) {
                    Some(now) => breaking(value, now, &member, found),
                    None => found.push(format!("removed: {member}")),
                }
            }
        }
        // Lists are sets: values may be added, but not removed.
        (Value::Array(old), Value::Array(new)) => {
            for value in old {
                if !new.contains(value) {
                    found.push(format!("removed: {path}: {value}"));
                }
            }
            if path.ends_with("/required") {
                for value in new.iter().filter(|value| !old.contains(value)) {
                    found.push(format!("newly required: {path}: {value}"));
                }
            }
        }
        (old, new) if old != new && !path.ends_with("/version") => {
            found.push(format!("changed: {path}: {old} -> {new}"));
        }
        _ => {}
    }
}

#[test]
fn the_committed_document_is_the_served_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi.json");
    let served = openapi_document();
    if std::env::var_os("PVZ_UPDATE").is_some() {
        std::fs::write(&path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    let mut found = Vec::new();
    let old = without_texts(serde_json::from_str(&committed).unwrap());
    breaking(&old, &without_texts(document()), "", &mut found);
    assert!(found.is_empty(), "breaking changes:\n{}", found.join("\n"));
    assert!(
        committed == served,
        "tests/openapi.json is not the served document; if the change is intended, run the test with PVZ_UPDATE=1"
    );
}

#[test]
fn a_breaking_change_is_detected() {
    let changes: [fn(&mut Value); 4] = [
        |document| drop(document["paths"].as_object_mut().unwrap().remove("/v1/returns")),
        |document| {
            document["components"]["schemas"]["Order"]["properties"]["version"]["type"] = "integer".into();
        },
        |document| {
            drop(document["components"]["schemas"]["OrderState"]["enum"].as_array_mut().unwrap().pop());
        },
        |document| {
            let required = &mut document["components"]["schemas"]["AcceptOrderRequest"]["required"];
            required.as_array_mut().unwrap().push("priceMinor".into());
        },
    ];
    for change in changes {
        let mut altered = document();
        change(&mut altered);
        let mut found = Vec::new();
        breaking(&without_texts(document()), &without_texts(altered), "", &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn the_document_covers_every_method_with_its_reasons() {
    let document = document();
    let pool = prost_reflect::DescriptorPool::decode(pvz::proto::DESCRIPTORS).unwrap();
    let reasons = pool.get_extension_by_name("pvz.options.v1.reasons").unwrap();
    let service = pool.get_service_by_name("pvz.v1.OrderService").unwrap();
    let operations: Vec<&Value> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .collect();
    assert_eq!(operations.len(), service.methods().len());
    for method in service.methods() {
        let mut id = method.name().to_owned();
        id[..1].make_ascii_lowercase();
        let operation = operations.iter().find(|operation| operation["operationId"] == *id).expect(&id);
        for reason in method.options().get_extension(&reasons).as_list().unwrap_or_default() {
            let reason = Reason::parse(reason.as_str().unwrap()).expect("a reason of the domain");
            let status = status_codes(reason).http.as_u16().to_string();
            let schema = &operation["responses"][&status]["content"]["application/problem+json"]["schema"];
            let listed = schema["properties"]["reason"]["enum"].as_array().unwrap();
            assert!(listed.contains(&reason.name().into()), "{id} {reason:?}");
        }
    }
}

#[test]
fn every_field_has_a_description() {
    let document = document();
    let mut undescribed = BTreeSet::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["description"].as_str().is_none_or(str::is_empty) {
                undescribed.insert(format!("{name}.{field}"));
            }
        }
        if schema["description"].as_str().is_none_or(str::is_empty) {
            undescribed.insert(name.clone());
        }
    }
    assert_eq!(undescribed, BTreeSet::new());
}
