//! Decoding of Kafka records.

use rskafka::record::Record;

use super::record::{EVENT_TYPES, PROTOBUF, cloud_event_type};
use crate::adapters::rows::{Format, Unread, read_event};
use crate::domain::{Event, Traceparent};
use crate::ports::{Offset, RecordContent, SourceRecord, UndecodedRecord};

/// Decodes a record at an offset.
pub(super) fn source_record(offset: i64, record: Record) -> SourceRecord {
    let Record { key, value, headers, .. } = record;
    let offset = Offset(offset);
    let record = UndecodedRecord { offset, cause: String::new(), key, value, headers };
    SourceRecord { offset, content: record_content(record) }
}

/// Decodes a record.
pub(super) fn record_content(record: UndecodedRecord) -> RecordContent {
    match event(&record) {
        Ok(event) => RecordContent::Event(Box::new(event)),
        Err(Unread::Unknown(cause)) => RecordContent::Unknown(UndecodedRecord { cause, ..record }),
        Err(Unread::Undecodable(cause)) => RecordContent::Undecodable(UndecodedRecord { cause, ..record }),
    }
}

fn undecodable<T>(cause: impl Into<String>) -> Result<T, Unread> {
    Err(Unread::Undecodable(cause.into()))
}

/// Reads a CloudEvent in binary mode. A record that was written by hand may have
/// no headers; its value must be JSON.
fn event(record: &UndecodedRecord) -> Result<Event, Unread> {
    if let Some(version) = header(record, "ce_specversion")?
        && !version.starts_with("1.")
    {
        return Err(Unread::Unknown(format!("its CloudEvents version {version:?} is not known")));
    }
    let ce_type = header(record, "ce_type")?;
    if let Some(ce_type) = ce_type
        && !EVENT_TYPES.contains(&ce_type)
    {
        return Err(Unread::Unknown(format!("its ce_type {ce_type:?} is not known")));
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
    let event = read_event(value, format, traceparent)?;
    if let Some(ce_type) = ce_type
        && cloud_event_type(event.event_type) != ce_type
    {
        let in_value = cloud_event_type(event.event_type);
        return undecodable(format!("its ce_type is {ce_type:?}, but the type in its value is {in_value:?}"));
    }
    // A record with another key may be in another partition than the other
    // events of its order.
    let order_id = event.order.order_id.as_str();
    if record.key.as_ref().is_some_and(|key| key != order_id.as_bytes()) {
        return undecodable("its key is not the id of its order");
    }
    Ok(event)
}

fn header<'r>(record: &'r UndecodedRecord, name: &str) -> Result<Option<&'r str>, Unread> {
    let text = record.headers.get(name).map(|bytes| std::str::from_utf8(bytes)).transpose();
    text.or_else(|_| undecodable(format!("its header {name} is not UTF-8")))
}
