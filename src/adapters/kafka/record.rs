//! Encoding of events as Kafka records: CloudEvents in binary mode.

use std::collections::BTreeMap;

use prost::Message as _;
use rskafka::chrono::DateTime;
use rskafka::record::Record;

use crate::adapters::proto_mapping;
use crate::domain::{Event, EventType};

/// The encoding of record values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// The JSON mapping of `pvz.v1.Event`.
    #[default]
    Json,
    /// `pvz.v1.Event` as Protobuf.
    Protobuf,
}

impl Encoding {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => PROTOBUF,
        }
    }
}

/// The content type of a Protobuf value.
pub(super) const PROTOBUF: &str = "application/protobuf";

/// Every `ce_type` that this release knows.
pub(super) const EVENT_TYPES: [&str; 4] = [
    cloud_event_type(EventType::Accepted),
    cloud_event_type(EventType::Issued),
    cloud_event_type(EventType::Returned),
    cloud_event_type(EventType::HandedToCourier),
];

/// The bytes of a record besides key, value and headers: lengths, offset,
/// timestamp.
const RECORD_OVERHEAD: usize = 40;

/// Returns an upper estimate of the uncompressed size of a record, in bytes.
pub(super) fn size(record: &Record) -> usize {
    record.approximate_size() + RECORD_OVERHEAD
}

/// Returns the `ce_type` of an event type, with the version of the contract.
pub(super) const fn cloud_event_type(event_type: EventType) -> &'static str {
    match event_type {
        EventType::Accepted => "pvz.order.accepted.v1",
        EventType::Issued => "pvz.order.issued.v1",
        EventType::Returned => "pvz.order.returned.v1",
        EventType::HandedToCourier => "pvz.order.handed_to_courier.v1",
    }
}

/// Encodes an event.
///
/// # Errors
/// Returns an error if the event cannot be written as JSON. No valid event causes
/// one.
pub(super) fn record(event: &Event, encoding: Encoding) -> serde_json::Result<Record> {
    let message = proto_mapping::event(event);
    let value = match encoding {
        Encoding::Json => serde_json::to_vec(&message)?,
        Encoding::Protobuf => message.encode_to_vec(),
    };
    let order_id = event.order.order_id.as_str();
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", event.event_id.to_string()),
        ("ce_type", cloud_event_type(event.event_type).to_owned()),
        ("ce_source", format!("/pvz/{}", event.order.pickup_point_id)),
        ("ce_subject", order_id.to_owned()),
        ("ce_time", event.occurred_at.to_string()),
        ("ce_sequence", event.sequence.to_string()),
        ("content-type", encoding.content_type().to_owned()),
    ];
    let traceparent = event.traceparent.as_ref().map(|traceparent| ("traceparent", traceparent.to_string()));
    let headers: BTreeMap<String, Vec<u8>> = headers
        .into_iter()
        .chain(traceparent)
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
    Ok(Record {
        key: Some(order_id.as_bytes().to_vec()),
        value: Some(value),
        headers,
        timestamp: DateTime::from_timestamp_micros(event.occurred_at.micros()).unwrap_or_default(),
    })
}
