//! Reads of the topic by an independent client: kcat, which uses librdkafka.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::broker::Broker;
use crate::process::{Server, eventually};

/// A record, as kcat prints it.
struct Printed {
    partition: usize,
    key: String,
    headers: BTreeMap<String, String>,
    value: Vec<u8>,
}

/// Reads a topic with kcat.
fn kcat(topic: &str) -> Vec<Printed> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &Broker::shared().address(), "-C", "-t", topic, "-o", "beginning", "-e", "-q"]);
    // Values may contain any byte, so each is preceded by its length.
    let output = kcat.args(["-f", "%p|%k|%h|%S|%s"]).stdin(Stdio::null()).output();
    let output = output.expect("kcat, which tests/run installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut rest, mut records) = (output.stdout.as_slice(), Vec::new());
    while !rest.is_empty() {
        let mut field = || {
            let end = rest.iter().position(|byte| *byte == b'|').unwrap();
            let field = String::from_utf8(rest[..end].to_vec()).unwrap();
            rest = &rest[end + 1..];
            field
        };
        let (partition, key, headers, length) = (field(), field(), field(), field());
        let (value, more) = rest.split_at(length.parse().unwrap());
        let header =
            |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = headers.split(',').map(|pair| header(pair).unwrap()).collect();
        records.push(Printed { partition: partition.parse().unwrap(), key, headers, value: value.to_vec() });
        rest = more;
    }
    records
}

/// Decodes an event with the published descriptors only.
fn read(record: &Printed) -> Value {
    match record.headers["content-type"].as_str() {
        "application/json" => serde_json::from_slice(&record.value).unwrap(),
        "application/protobuf" => {
            let pool = DescriptorPool::decode(pvz::proto::DESCRIPTORS).unwrap();
            let event = pool.get_message_by_name("pvz.v1.Event").unwrap();
            let message = DynamicMessage::decode(event, record.value.as_slice()).unwrap();
            assert!(message.unknown_fields().next().is_none());
            let mut text = Vec::new();
            let mut serializer = serde_json::Serializer::new(&mut text);
            // Version 1 also writes fields that are zero.
            let options = SerializeOptions::new().skip_default_fields(false);
            message.serialize_with_options(&mut serializer, &options).unwrap();
            serde_json::from_slice(&text).unwrap()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn independent_client_reads_the_documented_records() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for encoding in ["json", "protobuf"] {
        let topic = format!("outsider-{encoding}");
        let dir = tempfile::tempdir().unwrap();
        let url = format!("kafka://{}/{topic}", Broker::shared().address());
        let config = format!("[events]\nurl = '{url}'\nkafka_encoding = '{encoding}'\n");
        let config = crate::process::file(dir.path(), "pvz.toml", &config);
        let server = Server::start_with(dir.path(), &[&format!("--config={config}")]);
        let until = "--storage-until=2027-06-01T00:00:00Z";
        let mut accept = server.cli(&["accept", "--order-id=anna-1", "--customer-id=7", until]);
        accept.args(["--packaging=box", "--weight=1500g", "--price=199.90"]);
        accept.args(["--actor=courier:42", "--request-id=key-1"]).env("TRACEPARENT", TRACE);
        assert!(accept.stdout(Stdio::null()).status().unwrap().success());
        server.json(&["issue", "--order-ids=anna-1"]);
        server.json(&["accept-return", "--order-id=anna-1", "--customer-id=7"]);
        server.json(&["return-to-courier", "--order-ids=anna-1"]);
        let mut records = Vec::new();
        eventually("four records", || {
            // The topic is created with the first record.
            let topics =
                Command::new("kcat").args(["-b", &Broker::shared().address(), "-L"]).output().unwrap();
            if String::from_utf8_lossy(&topics.stdout).contains(&format!("\"{topic}\"")) {
                records = kcat(&topic);
            }
            records.len() >= 4
        });
        let feed = server.json(&["events", "--page-size=100"]);
        assert_eq!(records.len(), 4);
        assert_eq!(records.iter().map(|record| record.partition).collect::<BTreeSet<_>>().len(), 1);
        for (record, stored) in records.iter().zip(feed["events"].as_array().unwrap()) {
            assert_eq!(record.key, "anna-1");
            let headers: BTreeSet<&str> = record.headers.keys().map(String::as_str).collect();
            let mut expected = BTreeSet::from([
                "ce_specversion",
                "ce_id",
                "ce_type",
                "ce_source",
                "ce_subject",
                "ce_time",
                "ce_sequence",
                "content-type",
            ]);
            if record.headers["ce_sequence"] == "1" {
                expected.insert("traceparent");
                assert_eq!(record.headers["traceparent"], TRACE);
            }
            assert_eq!(headers, expected);
            assert_eq!(record.headers["ce_id"], stored["eventId"].as_str().unwrap());
            assert_eq!(record.headers["ce_time"], stored["occurredAt"].as_str().unwrap());
            let mut stored = stored.clone();
            stored.as_object_mut().unwrap().remove("cursor");
            assert_equivalent(&read(record), &stored);
        }
        server.stop();
    }
}

/// Asserts that two messages are equal, except that the decoded one may have
/// additional fields that are zero.
fn assert_equivalent(decoded: &Value, expected: &Value) {
    match (decoded, expected) {
        (Value::Object(decoded), Value::Object(expected)) => {
            for (name, value) in expected {
                assert_equivalent(decoded.get(name).unwrap_or(&Value::Null), value);
            }
            for (name, value) in decoded.iter().filter(|(name, _)| !expected.contains_key(*name)) {
                let zero =
                    value.is_null() || [Value::from(0), "0".into(), "".into(), false.into()].contains(value);
                assert!(zero, "{name}: {value}");
            }
        }
        (decoded, expected) => assert_eq!(decoded, expected),
    }
}
