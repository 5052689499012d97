//! The AsyncAPI document: the committed document is the generated one, and no change
//! breaks consumers of the topic.
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
fn the_committed_document_is_the_generated_one() {
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
        "proto/pvz/asyncapi.json is stale; if the change is intended, run the test with PVZ_UPDATE=1"
    );
}

#[test]
fn a_breaking_change_is_detected() {
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

/// An event has the same schema as over REST, except the cursor of the feed.
#[test]
fn both_documents_have_the_same_event_schema() {
    let rest: Value = serde_json::from_str(&pvz::adapters::http::openapi_document()).unwrap();
    let (rest, topic) = (&rest["components"]["schemas"], &document()["components"]["schemas"]);
    for (name, schema) in topic.as_object().unwrap() {
        let mut expected = rest[name].clone();
        if name == "Event" {
            expected["properties"].as_object_mut().unwrap().remove("cursor").expect("the cursor of the feed");
        }
        assert_eq!(*schema, expected, "{name}");
    }
    let names: BTreeSet<&str> = topic.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["Actor", "Event", "EventType", "Order", "OrderState"]));
}
