//! Events read from messages of the contract.

use prost::Message as _;
use serde_json::Value;

use super::{Fault, order};
use crate::adapters::proto_mapping;
use crate::domain::{
    Actor, ActorId, ActorKind, Event, EventId, EventType, OrderId, RequestId, Timestamp, Traceparent,
};
use crate::proto::{json, v1};

const TYPES: [EventType; 4] =
    [EventType::Accepted, EventType::Issued, EventType::Returned, EventType::HandedToCourier];

/// Converts a message to an event. Returns `None` if its type, its actor's kind or
/// its order's state is unknown to this release. Unknown fields are ignored.
///
/// # Errors
/// The first field that breaks an invariant.
fn event_from_message(message: &v1::Event, traceparent: Option<Traceparent>) -> Result<Option<Event>, Fault> {
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
    let Some(kind) = ActorKind::parse(kind) else {
        return if kind.is_empty() { Err(missing("actor.kind")) } else { Ok(None) };
    };
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
pub(super) fn parse_uuid(text: &str) -> Option<EventId> {
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

/// The reason why a record is not read as an event, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It is an event that only a later release can read.
    Unknown(String),
    /// It is not an event.
    Undecodable(String),
}

/// Decodes an event.
///
/// Fields that a later release has added are ignored if the rest is a valid
/// event: they are optional. An event is unknown, not undecodable, if it has a
/// type, an order state or an actor kind of a later release; or if it breaks an
/// invariant of this release, but has fields of a later one, and its ids and
/// sequence identify it.
///
/// # Errors
/// The reason why this release cannot read it.
pub fn read_event(bytes: &[u8], format: Format, traceparent: Option<Traceparent>) -> Result<Event, Unread> {
    let (message, has_later_fields) = match format {
        Format::Protobuf => {
            let message = v1::Event::decode(bytes)
                .map_err(|error| Unread::Undecodable(format!("it is not a Protobuf message: {error}")))?;
            // The decoder drops unknown fields, so the message became shorter.
            let has_later_fields = bytes.len() > message.encoded_len();
            (message, has_later_fields)
        }
        Format::Json => match serde_json::from_slice(bytes) {
            Ok(message) => (message, false),
            Err(_) => (read_later_json(bytes)?, true),
        },
    };
    match event_from_message(&message, traceparent) {
        Ok(Some(event)) => Ok(event),
        Ok(None) => Err(unknown_value()),
        Err(fault) if has_later_fields && is_identified(&message) => {
            Err(Unread::Unknown(format!("it has fields that this release does not know, and {fault}")))
        }
        Err(fault) => Err(Unread::Undecodable(fault.to_string())),
    }
}

fn read_later_json(bytes: &[u8]) -> Result<v1::Event, Unread> {
    json::parse_newer(bytes).map_err(|fault| {
        if is_unknown(bytes) {
            return unknown_value();
        }
        let json::JsonFault { field, description, .. } = fault;
        Unread::Undecodable(format!("it is not an event in JSON: {field} {description}").replace(":  ", ": "))
    })
}

fn unknown_value() -> Unread {
    Unread::Unknown("its type, order state or actor kind is not known to this release".to_owned())
}

/// Returns true if a message names its event, its order and its sequence.
fn is_identified(message: &v1::Event) -> bool {
    let order_id = message.order.as_ref().map(|order| OrderId::parse(&order.order_id));
    parse_uuid(&message.event_id).is_some() && message.sequence >= 1 && matches!(order_id, Some(Ok(_)))
}

/// Returns true if a JSON text that cannot be parsed as an event names a type or
/// an order state that this release does not know.
fn is_unknown(text: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(text) else { return false };
    let is_unknown = |found: Option<&Value>, known: &dyn Fn(&str) -> bool| {
        found.is_some_and(|found| match found {
            Value::String(name) => !known(name),
            // Enum values may be numbers; known ones would have been parsed.
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
    use prost::Message as _;

    use super::{Format, Unread, read_event};
    use crate::domain::Event;
    use crate::proto::v1;

    /// An event with fields of a later release.
    const LATER: &str = r#"{"eventId":"0193a5b0-7c1e-7000-8000-000000000001",
        "type":"EVENT_TYPE_ORDER_ACCEPTED","sequence":"1","occurredAt":"2026-12-01T09:15:00Z",
        "actor":{"kind":"system","id":"a","tenant":1},"shelf":[1],"order":{"orderId":"1","customerId":"2",
        "pickupPointId":"main","colour":"red","state":"ORDER_STATE_STORED","expired":false,
        "storageUntil":"2026-12-31T10:00:00Z","acceptedAt":"2026-12-01T09:15:00Z","priceMinor":"0",
        "surchargeMinor":"0","totalPriceMinor":"0","currency":"RUB","packaging":[],"version":"1"}}"#;

    fn read_json(text: &str) -> Result<Event, Unread> {
        read_event(text.as_bytes(), Format::Json, None)
    }

    /// The event without the fields of a later release.
    fn without_later_fields(text: &str) -> String {
        [r#","tenant":1"#, r#""shelf":[1],"#, r#""colour":"red","#]
            .into_iter()
            .fold(text.to_owned(), |text, field| text.replace(field, ""))
    }

    #[test]
    fn fields_of_a_later_release_are_ignored() {
        let event = read_json(LATER).unwrap();
        assert_eq!(event.order.order_id.as_str(), "1");
        assert_eq!(read_json(&without_later_fields(LATER)), Ok(event.clone()));
        assert_eq!(read_json(&LATER.replace("eventId", "event_id")), Ok(event));
    }

    #[test]
    fn values_of_a_later_release_are_unknown() {
        for (known, later) in [
            ("ORDER_ACCEPTED", "ORDER_MOVED"),
            ("\"EVENT_TYPE_ORDER_ACCEPTED\"", "99"),
            ("STATE_STORED", "STATE_LOST"),
            ("\"ORDER_STATE_STORED\"", "99"),
            ("\"system\"", "\"robot\""),
        ] {
            let text = LATER.replace(known, later);
            assert!(matches!(read_json(&text), Err(Unread::Unknown(_))), "{later}");
            let text = without_later_fields(&text);
            assert!(matches!(read_json(&text), Err(Unread::Unknown(_))), "{later}");
        }
    }

    #[test]
    fn broken_invariant_is_unknown_only_beside_fields_of_a_later_release() {
        for (valid, broken) in [
            (r#""currency":"RUB""#, r#""currency":"POINTS""#),
            (r#""priceMinor":"0""#, r#""priceMinor":"-5""#),
            (r#""storageUntil":"2026-12-31T10:00:00Z","#, ""),
        ] {
            let text = LATER.replace(valid, broken);
            assert!(matches!(read_json(&text), Err(Unread::Unknown(_))), "{broken}");
            let text = without_later_fields(&text);
            assert!(matches!(read_json(&text), Err(Unread::Undecodable(_))), "{broken}");
        }
        // Nothing identifies these events.
        for (valid, broken) in [
            ("0193a5b0-7c1e-7000-8000-000000000001", "1"),
            (r#""sequence":"1""#, r#""sequence":"0""#),
            (r#""orderId":"1""#, r#""orderId":"""#),
        ] {
            let text = LATER.replace(valid, broken);
            assert!(matches!(read_json(&text), Err(Unread::Undecodable(_))), "{broken}");
        }
    }

    #[test]
    fn protobuf_with_a_field_of_a_later_release_is_told_apart_by_its_length() {
        let mut message: v1::Event = serde_json::from_str(&without_later_fields(LATER)).unwrap();
        let read = |bytes: &[u8]| read_event(bytes, Format::Protobuf, None);
        // Field 999, a varint.
        let later = |message: &v1::Event| [message.encode_to_vec(), vec![0xb8, 0x3e, 1]].concat();
        assert_eq!(read(&later(&message)), read_json(LATER));
        message.order.as_mut().unwrap().currency = "POINTS".to_owned();
        assert!(matches!(read(&message.encode_to_vec()), Err(Unread::Undecodable(_))));
        assert!(matches!(read(&later(&message)), Err(Unread::Unknown(_))));
    }

    #[test]
    fn text_that_is_not_an_event_is_undecodable() {
        for broken in ["", "{", "[]", "{}", "null", &LATER[..200]] {
            assert!(matches!(read_json(broken), Err(Unread::Undecodable(_))), "{broken}");
        }
    }
}
