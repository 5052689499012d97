//! Events as rows of a database.

use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use prost::Message as _;

use super::table_row::table_row;
use super::{Fault, instant, order};
use crate::adapters::proto_mapping;
use crate::domain::{Actor, ActorId, ActorKind, Event, EventId, EventType, RequestId, Traceparent};
use crate::ports::{LoggedEvent, Position};
use crate::proto::v1;

table_row! {
    /// An event as a row, without its position.
    pub struct EventRow = "order_events" {
        /// The UUID, 16 bytes.
        event_id: Vec<u8> = "event_id" as Binary,
        /// The order.
        order_id: String = "order_id" as Text,
        /// The number of the event within the order.
        sequence: i64 = "sequence" as BigInt,
        /// The name of its type, [`type_text`].
        event_type: String = "type" as Text,
        /// The kind of the actor.
        actor_kind: String = "actor_kind" as Text,
        /// The id of the actor.
        actor_id: String = "actor_id" as Text,
        /// The `request_id` of the command, if it had one.
        request_id: Option<String> = "request_id" as Nullable<Text>,
        /// When it happened, in microseconds since the epoch.
        occurred_at: i64 = "occurred_at" as BigInt,
        /// The order after the event: an encoded `pvz.v1.Order`.
        body: Vec<u8> = "body" as Binary,
        /// The trace of the command, if its caller sent one.
        traceparent: Option<String> = "traceparent" as Nullable<Text>,
    }
}

const EVENT_TYPES: [EventType; 4] =
    [EventType::Accepted, EventType::Issued, EventType::Returned, EventType::HandedToCourier];

/// Returns the name of an event type in a database.
pub const fn type_text(event_type: EventType) -> &'static str {
    match event_type {
        EventType::Accepted => "ORDER_ACCEPTED",
        EventType::Issued => "ORDER_ISSUED",
        EventType::Returned => "ORDER_RETURNED",
        EventType::HandedToCourier => "ORDER_HANDED_TO_COURIER",
    }
}

impl From<&Event> for EventRow {
    fn from(event: &Event) -> Self {
        let Event { event_id, event_type, sequence, occurred_at, actor, request_id, traceparent, order } =
            event;
        let Actor { kind, id } = actor;
        Self {
            event_id: event_id.0.to_be_bytes().to_vec(),
            order_id: (&order.order_id).into(),
            sequence: *sequence,
            event_type: type_text(*event_type).to_owned(),
            actor_kind: kind.name().to_owned(),
            actor_id: String::from(id),
            request_id: request_id.as_ref().map(Into::into),
            occurred_at: occurred_at.micros(),
            body: event_body(event),
            traceparent: traceparent.as_ref().map(ToString::to_string),
        }
    }
}

/// Encodes the order after an event as a `pvz.v1.Order`.
pub fn event_body(event: &Event) -> Vec<u8> {
    proto_mapping::event_order(&event.order, event.occurred_at).encode_to_vec()
}

/// Returns the id of an event in a column.
///
/// # Errors
/// The column, if it does not have 16 bytes.
pub fn event_id_of(column: &str, bytes: &[u8]) -> Result<EventId, Fault> {
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| Fault::new(column, "must be 16 bytes"))?;
    Ok(EventId(u128::from_be_bytes(bytes)))
}

impl EventRow {
    /// Returns the event, at that position of the log.
    ///
    /// # Errors
    /// The first column that breaks an invariant.
    pub fn logged(self, position: i64) -> Result<LoggedEvent, Fault> {
        Ok(LoggedEvent { position: Position(position), event: self.try_into()? })
    }
}

impl TryFrom<EventRow> for Event {
    type Error = Fault;

    fn try_from(row: EventRow) -> Result<Self, Fault> {
        let EventRow {
            event_id,
            order_id,
            sequence,
            event_type,
            actor_kind,
            actor_id,
            request_id,
            occurred_at,
            body,
            traceparent,
        } = row;
        let event_id = event_id_of("event_id", &event_id)?;
        let event_type = EVENT_TYPES
            .into_iter()
            .find(|known| type_text(*known) == event_type)
            .ok_or_else(|| Fault::new("type", format!("has the unknown value {event_type:?}")))?;
        let kind = ActorKind::parse(&actor_kind)
            .ok_or_else(|| Fault::new("actor_kind", format!("has the unknown value {actor_kind:?}")))?;
        let actor_id = ActorId::parse(&actor_id).map_err(|why| Fault::new("actor_id", why))?;
        let request_id = request_id
            .map(|text| RequestId::parse(&text).map_err(|why| Fault::new("request_id", why)))
            .transpose()?;
        let traceparent = traceparent
            .map(|text| Traceparent::parse(&text).ok_or_else(|| Fault::new("traceparent", "is malformed")))
            .transpose()?;
        let message = v1::Order::decode(body.as_slice())
            .map_err(|error| Fault::new("body", format!("cannot be decoded: {error}")))?;
        let order = order::from_message(&message).map_err(|fault| fault.within("body"))?.order;
        if order.order_id.as_str() != order_id {
            return Err(Fault::new("body.order_id", "differs from the column order_id"));
        }
        Ok(Self {
            event_id,
            event_type,
            sequence,
            occurred_at: instant("occurred_at", occurred_at)?,
            actor: Actor { kind, id: actor_id },
            request_id,
            traceparent,
            order,
        })
    }
}
