//! Events read from messages of the contract.

use prost::Message as _;
use serde_json::Value;

use super::{Fault, order};
use crate::adapters::proto_mapping;
use crate::domain::{
    Actor, ActorId, ActorKind, Event, EventId, EventType, RequestId, Timestamp, Traceparent,
};
use crate::proto::{json, v1};

const TYPES: [EventType; 4] =
    [EventType::Accepted, EventType::Issued, EventType::Returned, EventType::HandedToCourier];

/// Reads an event from a message. Returns `None` if its type, or the state of
/// its order, is unknown to this release. Unknown fields are ignored.
///
/// # Errors
/// The first field that breaks an invariant.
pub fn event_from_message(
    message: &v1::Event,
    traceparent: Option<Traceparent>,
) -> Result<Option<Event>, Fault> {
    // Not read: the cursor, which is the position in the feed of one store.
    let v1::Event { event_id, r#type, sequence, occurred_at, actor, request_id, order, cursor: _ } = message;
    let known = TYPES.into_iter().find(|known| i32::from(proto_mapping::event_type(*known)) == *r#type);
    let Some(event_type) = known else {
        if *r#type == 0 {
            return Err(Fault::new("type", "is missing"));
        }
        return Ok(None);
    };
    let missing = |field| Fault::new(field, "is missing");
    let v1::Actor { kind, id } = actor.as_ref().ok_or_else(|| missing("actor"))?;
    let kind = ActorKind::parse(kind)
        .ok_or_else(|| Fault::new("actor.kind", format!("has the unknown value {kind:?}")))?;
    let actor_id = ActorId::parse(id).map_err(|why| Fault::new("actor.id", why))?;
    let request_id = request_id.as_deref().filter(|text| !text.is_empty());
    let request_id = request_id.map(RequestId::parse).transpose();
    let order = order.as_ref().ok_or_else(|| missing("order"))?;
    if v1::OrderState::try_from(order.state).is_err() {
        return Ok(None);
    }
    let order = order::from_message(order).map_err(|fault| fault.within("order"))?.order;
    let occurred_at = occurred_at.ok_or_else(|| missing("occurred_at"))?;
    let occurred_at = Timestamp::from_parts(occurred_at.seconds, occurred_at.nanos);
    if *sequence < 1 || *sequence != order.version {
        return Err(Fault::new("sequence", "must be the version of the order after the event"));
    }
    Ok(Some(Event {
        event_id: parse_uuid(event_id).ok_or_else(|| Fault::new("event_id", "is not a UUID"))?,
        event_type,
        sequence: *sequence,
        occurred_at: occurred_at
            .ok_or_else(|| Fault::new("occurred_at", "is not within the years 1 to 9999"))?,
        actor: Actor { kind, id: actor_id },
        request_id: request_id.map_err(|why| Fault::new("request_id", why))?,
        traceparent,
        order,
    }))
}

/// Reads a UUID in its hyphenated form.
fn parse_uuid(text: &str) -> Option<EventId> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    let well_formed = groups.len() == lengths.len()
        && groups.iter().zip(lengths).all(|(group, length)| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
    if !well_formed {
        return None;
    }
    u128::from_str_radix(&groups.concat(), 16).ok().map(EventId)
}

/// The encoding of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The JSON mapping of `pvz.v1.Event`.
    Json,
    /// `pvz.v1.Event` as Protobuf.
    Protobuf,
}

/// Decodes an event. Returns `None` if its type, or the state of its order, is
/// unknown to this release. Fields that a later release added are ignored,
/// because they are optional there too.
///
/// # Errors
/// A sentence that says why the bytes are not an event.
pub fn read_event(
    bytes: &[u8],
    format: Format,
    traceparent: Option<Traceparent>,
) -> Result<Option<Event>, String> {
    let message = match format {
        Format::Protobuf => {
            v1::Event::decode(bytes).map_err(|error| format!("it is not a Protobuf message: {error}"))?
        }
        Format::Json => match serde_json::from_slice(bytes) {
            Ok(message) => message,
            Err(_) => match json::parse_newer(bytes) {
                Ok(message) => message,
                Err(_) if has_unknown_name(bytes) => return Ok(None),
                Err(json::JsonFault { field, description, .. }) => {
                    return Err(
                        format!("it is not an event in JSON: {field} {description}").replace(":  ", ": ")
                    );
                }
            },
        },
    };
    event_from_message(&message, traceparent).map_err(|fault| fault.to_string())
}

/// Returns true if a JSON text has a type or a state that is unknown to this
/// release.
fn has_unknown_name(text: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(text) else { return false };
    let is_unknown = |found: Option<&Value>, known: &dyn Fn(&str) -> bool| {
        found.is_some_and(|found| match found {
            Value::String(name) => !known(name),
            // The JSON mapping takes enum numbers as well as names.
            Value::Number(number) => number.as_i64().is_some_and(|number| number > i64::from(LAST_KNOWN)),
            _ => false,
        })
    };
    let state = event.get("order").and_then(|order| order.get("state"));
    is_unknown(event.get("type"), &|name| v1::EventType::from_str_name(name).is_some())
        || is_unknown(state, &|name| v1::OrderState::from_str_name(name).is_some())
}

/// The highest known number of an event type, and of a state.
const LAST_KNOWN: i32 = v1::EventType::OrderHandedToCourier as i32;

#[cfg(test)]
mod tests {
    use super::{Format, read_event};

    #[test]
    fn added_fields_are_ignored_and_added_types_and_states_are_unknown() {
        let event = r#"{"eventId":"0193a5b0-7c1e-7000-8000-000000000001","type":"EVENT_TYPE_ORDER_ACCEPTED",
            "sequence":"1","occurredAt":"2026-12-01T09:15:00Z","actor":{"kind":"system","id":"a","tenant":1},
            "shelf":[1],"order":{"orderId":"1","customerId":"2","pickupPointId":"main","colour":"red",
            "state":"ORDER_STATE_STORED","expired":false,"storageUntil":"2026-12-31T10:00:00Z",
            "acceptedAt":"2026-12-01T09:15:00Z","priceMinor":"0","surchargeMinor":"0",
            "totalPriceMinor":"0","currency":"RUB","packaging":[],"version":"1"}}"#;
        let read = read_event(event.as_bytes(), Format::Json, None).unwrap().unwrap();
        assert_eq!(read.order.order_id.as_str(), "1");
        for (known, later) in [
            ("ORDER_ACCEPTED", "ORDER_MOVED"),
            ("\"EVENT_TYPE_ORDER_ACCEPTED\"", "99"),
            ("STATE_STORED", "STATE_LOST"),
            ("\"ORDER_STATE_STORED\"", "99"),
        ] {
            let later = event.replace(known, later);
            assert_eq!(read_event(later.as_bytes(), Format::Json, None), Ok(None), "{later}");
        }
        let proto_names = event.replace("eventId", "event_id").replace("\"requestId", "\"request_id");
        assert_eq!(read_event(proto_names.as_bytes(), Format::Json, None), Ok(Some(read)));
        for broken in ["", "{", "[]", "{}", "null", &event[..200]] {
            assert!(read_event(broken.as_bytes(), Format::Json, None).is_err(), "{broken}");
        }
    }
}
