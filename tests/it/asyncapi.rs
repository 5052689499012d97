//! The AsyncAPI document: what is committed is what the build makes of the
//! contract, and nothing in it breaks who reads the topic.
//!
//! Test T18 of `docs/reliability.md`.

use std::collections::BTreeSet;
use std::path::Path;

use pvz::adapters::kafka::asyncapi_document;
use serde_json::Value;

use crate::openapi::{breaking, without_texts};

fn document() -> Value {
    serde_json::from_str(asyncapi_document()).unwrap()
}

#[test]
fn the_committed_document_is_the_one_of_the_contract() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/pvz/asyncapi.json");
    if std::env::var_os("PVZ_UPDATE").is_some() {
        std::fs::write(&path, asyncapi_document()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    let mut found = Vec::new();
    let old = without_texts(serde_json::from_str(&committed).unwrap());
    breaking(&old, &without_texts(document()), "", &mut found);
    assert!(found.is_empty(), "breaking changes:\n{}", found.join("\n"));
    assert!(
        committed == asyncapi_document(),
        "proto/pvz/asyncapi.json is stale; if the change is meant, run the test with PVZ_UPDATE=1"
    );
}

#[test]
fn a_breaking_change_is_noticed() {
    let changes: [fn(&mut Value); 4] = [
        |document| document["channels"]["events"]["address"] = "elsewhere".into(),
        |document| drop(document["components"]["messages"].as_object_mut().unwrap().remove("issued")),
        |document| {
            document["components"]["schemas"]["Event"]["properties"]["sequence"]["type"] = "integer".into();
        },
        |document| {
            let headers = &mut document["components"]["messageTraits"]["cloudEvent"]["headers"];
            drop(headers["properties"].as_object_mut().unwrap().remove("ce_sequence"));
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

/// The events share their schemas with REST, all but the feed's cursor.
#[test]
fn both_documents_say_the_same_of_an_event() {
    let rest: Value = serde_json::from_str(pvz::adapters::http::openapi_document()).unwrap();
    let (rest, topic) = (&rest["components"]["schemas"], &document()["components"]["schemas"]);
    for (name, schema) in topic.as_object().unwrap() {
        let mut same = rest[name].clone();
        if name == "Event" {
            same["properties"].as_object_mut().unwrap().remove("cursor").expect("a cursor in the feed");
        }
        assert_eq!(*schema, same, "{name}");
    }
    let names: BTreeSet<&str> = topic.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["Actor", "Event", "EventType", "Order", "OrderState"]));
}
