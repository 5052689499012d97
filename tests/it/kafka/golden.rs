//! Golden events: files that this version writes and every later version must read.
//! A new version of the format has a folder of its own; committed files never change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use pvz::adapters::kafka::{Encoding, KafkaOptions, KafkaSink, asyncapi_document};
use pvz::domain::{Actor, ActorId, ActorKind, Event, EventId, Grams, Money, Order, OrderState, RequestId};
use pvz::ports::{EventSink as _, LoggedEvent, Position};
use pvz::proto::v1;
use serde_json::{Value, json};

use super::broker::Broker;
use super::{options, topic};
use crate::contract::fixtures::{accepted, at, event, handed_over, issued, returned, traceparent};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Returns events of every type, with all optional fields and without any.
fn events() -> Vec<Event> {
    let first = accepted("full-1", 0);
    let second = issued(&first, 1);
    let third = returned(&second, 2);
    let fourth = handed_over(&third, 3);
    let full = [&first, &second, &third, &fourth].map(event);
    let bare = Order {
        weight: None,
        price: Money::default(),
        surcharge: Money::default(),
        packaging: [].into(),
        ..accepted("bare-1", 10)
    };
    let sold = issued(&bare, 11);
    // An order that was not collected has no issue.
    let expired = Order {
        state: OrderState::HandedToCourier { returned: None, handed_to_courier_at: at(2_000) },
        version: 2,
        ..Order { order_id: crate::contract::fixtures::id("bare-2"), ..bare.clone() }
    };
    let bare = [&bare, &sold, &returned(&sold, 12), &expired].map(event);
    let kinds = ActorKind::ALL.into_iter().cycle();
    let full = full.into_iter().zip(kinds).map(|(event, kind)| Event {
        actor: Actor { kind, id: ActorId::parse(&format!("{}-1", kind.name())).unwrap() },
        request_id: RequestId::parse("a-key").ok(),
        traceparent: Some(traceparent()),
        ..event
    });
    let bare = bare.into_iter().map(|event| Event {
        actor: Actor::anonymous(),
        request_id: None,
        traceparent: None,
        ..event
    });
    full.chain(bare).map(|event| Event { event_id: version_7(event.event_id), ..event }).collect()
}

/// Sets the version and the variant of a UUIDv7.
fn version_7(EventId(id): EventId) -> EventId {
    EventId(id & !(0xf << 76) & !(0x3 << 62) | 0x7 << 76 | 0x2 << 62)
}

/// Publishes the events. Returns the headers and values of their records, in order.
async fn written(encoding: Encoding) -> Vec<(Value, Vec<u8>)> {
    let topic = format!("golden-{encoding:?}").to_lowercase();
    let sink = KafkaSink::new(KafkaOptions { partitions: 1, encoding, ..options(&topic) });
    let events = events();
    let logged =
        |(number, event): (i64, &Event)| LoggedEvent { position: Position(number), event: event.clone() };
    let events: Vec<LoggedEvent> = (1..).zip(&events).map(logged).collect();
    let delivery = sink.publish(&events).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
    let read = topic::read(&Broker::shared().address(), &topic).await;
    let record = |record: &rskafka::record::Record| {
        let headers: BTreeMap<&String, String> =
            record.headers.keys().map(|name| (name, topic::header(record, name))).collect();
        (json!({"key": topic::key(record), "headers": headers}), record.value.clone().unwrap())
    };
    read.iter().flatten().map(record).collect()
}

fn lines(values: impl IntoIterator<Item = Value>) -> String {
    values.into_iter().map(|value| value.to_string() + "\n").collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn this_version_writes_the_golden_events() {
    let (json, protobuf) = (written(Encoding::Json).await, written(Encoding::Protobuf).await);
    let mut encoded = Vec::new();
    for (_, value) in &protobuf {
        prost::encode_length_delimiter(value.len(), &mut encoded).unwrap();
        encoded.extend(value);
    }
    let values: Vec<u8> = json.iter().flat_map(|(_, value)| [value, &b"\n"[..]].concat()).collect();
    let records =
        |written: Vec<(Value, Vec<u8>)>| lines(written.into_iter().map(|(record, _)| record)).into_bytes();
    for (name, bytes) in [
        ("events.jsonl", values),
        ("events.pb", encoded),
        ("records.json.jsonl", records(json)),
        ("records.protobuf.jsonl", records(protobuf)),
    ] {
        let path = folder().join(name);
        if std::env::var_os("PVZ_UPDATE").is_some() && !path.exists() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let golden = fs::read(&path).unwrap();
        assert!(golden == bytes, "this version does not write {name}: {}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn golden_events_are_decoded() {
    let expected = events();
    let text = fs::read_to_string(folder().join("events.jsonl")).unwrap();
    let json: Vec<v1::Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let bytes = fs::read(folder().join("events.pb")).unwrap();
    let (mut rest, mut protobuf) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        protobuf.push(v1::Event::decode_length_delimited(&mut rest).unwrap());
    }
    assert_eq!(json, protobuf, "both encodings have the same content");
    assert_eq!(json.len(), expected.len());
    for (message, event) in json.iter().zip(&expected) {
        let order = message.order.as_ref().unwrap();
        assert_eq!(message.event_id, event.event_id.to_string());
        assert_eq!(
            (order.order_id.as_str(), message.sequence),
            (event.order.order_id.as_str(), event.sequence)
        );
        assert_eq!(message.request_id.as_deref(), event.request_id.as_ref().map(RequestId::as_str));
        assert_eq!(order.weight_grams, event.order.weight.map(Grams::get));
        assert_eq!(order.version, event.sequence);
    }
    let records = fs::read_to_string(folder().join("records.json.jsonl")).unwrap();
    let document: Value = serde_json::from_str(asyncapi_document()).unwrap();
    let messages = document["components"]["messages"].as_object().unwrap();
    let names: Vec<&Value> = messages.values().map(|message| &message["name"]).collect();
    let described = &document["components"]["messageTraits"]["cloudEvent"]["headers"];
    for line in records.lines() {
        let headers = serde_json::from_str::<Value>(line).unwrap()["headers"].clone();
        assert!(names.contains(&&headers["ce_type"]), "{headers}");
        for (name, value) in headers.as_object().unwrap() {
            assert!(value.is_string() && described["properties"].get(name).is_some(), "{name}");
        }
        for name in described["required"].as_array().unwrap() {
            assert!(headers.get(name.as_str().unwrap()).is_some(), "{name}");
        }
    }
}
