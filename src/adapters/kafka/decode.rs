//! A Kafka record as an event, if it is one.

use rskafka::record::Record;

use super::record::{EVENT_TYPES, PROTOBUF, cloud_event_type};
use crate::adapters::rows::{Format, read_event};
use crate::domain::{Event, Traceparent};
use crate::ports::{Offset, RecordContent, SourceRecord, UndecodedRecord};

/// Why a record is no event, a sentence.
enum Unread {
    /// It is one, of a kind that a later release may know.
    Unknown(String),
    /// It is none.
    Undecodable(String),
}

/// What a record says.
pub(super) fn source_record(offset: i64, record: Record) -> SourceRecord {
    let offset = Offset(offset);
    let content = match event(&record) {
        Ok(event) => RecordContent::Event(Box::new(event)),
        Err(Unread::Unknown(cause)) => RecordContent::Unknown(as_it_is(offset, cause, record)),
        Err(Unread::Undecodable(cause)) => RecordContent::Undecodable(as_it_is(offset, cause, record)),
    };
    SourceRecord { offset, content }
}

fn as_it_is(offset: Offset, cause: String, record: Record) -> UndecodedRecord {
    let Record { key, value, headers, .. } = record;
    UndecodedRecord { offset, cause, key, value, headers }
}

fn undecodable<T>(cause: impl Into<String>) -> Result<T, Unread> {
    Err(Unread::Undecodable(cause.into()))
}

/// The event of a CloudEvent in binary mode. Whoever writes by hand may leave
/// the headers out; then JSON is expected.
fn event(record: &Record) -> Result<Event, Unread> {
    if let Some(version) = header(record, "ce_specversion")?
        && !version.starts_with("1.")
    {
        return Err(Unread::Unknown(format!("CloudEvents {version:?} are not known")));
    }
    let ce_type = header(record, "ce_type")?;
    if let Some(ce_type) = ce_type
        && !EVENT_TYPES.contains(&ce_type)
    {
        return Err(Unread::Unknown(format!("the type {ce_type:?} is not known")));
    }
    let Some(value) = &record.value else { return undecodable("it has no value") };
    let content_type = header(record, "content-type")?.unwrap_or("application/json");
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let format = match essence.to_ascii_lowercase().as_str() {
        "application/json" => Format::Json,
        PROTOBUF | "application/x-protobuf" => Format::Protobuf,
        _ => return undecodable(format!("its content-type {content_type:?} is neither JSON nor Protobuf")),
    };
    let traceparent = header(record, "traceparent").ok().flatten().and_then(Traceparent::parse);
    let event = match read_event(value, format, traceparent) {
        Ok(Some(event)) => event,
        Ok(None) => return Err(Unread::Unknown("its type or state is not known to this release".to_owned())),
        Err(cause) => return undecodable(cause),
    };
    if let Some(ce_type) = ce_type
        && cloud_event_type(event.event_type) != ce_type
    {
        let inside = cloud_event_type(event.event_type);
        return undecodable(format!("its ce_type is {ce_type:?}, and its type that of {inside:?}"));
    }
    // Another key may be in another partition, away from the order's events.
    let order_id = event.order.order_id.as_str();
    if record.key.as_ref().is_some_and(|key| key != order_id.as_bytes()) {
        return undecodable("its key is not the id of its order");
    }
    Ok(event)
}

fn header<'r>(record: &'r Record, name: &str) -> Result<Option<&'r str>, Unread> {
    let text = record.headers.get(name).map(|bytes| std::str::from_utf8(bytes)).transpose();
    text.or_else(|_| undecodable(format!("its header {name} is not text")))
}
