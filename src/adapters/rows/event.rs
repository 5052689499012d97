//! Events as rows of a database.

use diesel::Queryable;
use prost::Message as _;

use super::{Fault, instant, order};
use crate::adapters::proto_mapping;
use crate::domain::{Actor, ActorId, ActorKind, Event, EventId, EventType, RequestId, Traceparent};
use crate::ports::{LoggedEvent, Position};
use crate::proto::v1;

/// An event as the columns of its row, in this order, without its position.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct EventRow {
    /// The UUID, 16 bytes.
    pub event_id: Vec<u8>,
    /// The order that it is about.
    pub order_id: String,
    /// Its number within the order.
    pub sequence: i64,
    /// The name of its type.
    pub event_type: String,
    /// The kind of who asked.
    pub actor_kind: String,
    /// Who of that kind.
    pub actor_id: String,
    /// The idempotency key of the command, when it had one.
    pub request_id: Option<String>,
    /// When it happened, in microseconds since the epoch.
    pub occurred_at: i64,
    /// The order after it: an encoded `pvz.v1.Order`.
    pub body: Vec<u8>,
    /// The trace that the command belonged to, if its caller named one.
    pub traceparent: Option<String>,
}

const EVENT_TYPES: [EventType; 4] =
    [EventType::Accepted, EventType::Issued, EventType::Returned, EventType::HandedToCourier];

/// The name of a type in a database.
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
        Self {
            event_id: event.event_id.0.to_be_bytes().to_vec(),
            order_id: (&event.order.order_id).into(),
            sequence: event.sequence,
            event_type: type_text(event.event_type).to_owned(),
            actor_kind: event.actor.kind.name().to_owned(),
            actor_id: String::from(&event.actor.id),
            request_id: event.request_id.as_ref().map(Into::into),
            occurred_at: event.occurred_at.micros(),
            body: event_body(event),
            traceparent: event.traceparent.as_ref().map(ToString::to_string),
        }
    }
}

/// The order after an event, encoded.
pub fn event_body(event: &Event) -> Vec<u8> {
    proto_mapping::event_order(&event.order, event.occurred_at).encode_to_vec()
}

impl EventRow {
    /// The event, at that position of the log.
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
        let event_id = <[u8; 16]>::try_from(row.event_id.as_slice())
            .map_err(|_| Fault::new("event_id", "must be 16 bytes"))?;
        let event_type = EVENT_TYPES
            .into_iter()
            .find(|event_type| type_text(*event_type) == row.event_type)
            .ok_or_else(|| Fault::new("type", format!("is no type: {:?}", row.event_type)))?;
        let kind = ActorKind::parse(&row.actor_kind)
            .ok_or_else(|| Fault::new("actor_kind", format!("is no kind: {:?}", row.actor_kind)))?;
        let actor_id = ActorId::parse(&row.actor_id).map_err(|why| Fault::new("actor_id", why))?;
        let request_id = row
            .request_id
            .map(|key| RequestId::parse(&key).map_err(|why| Fault::new("request_id", why)))
            .transpose()?;
        let traceparent = row
            .traceparent
            .map(|text| Traceparent::parse(&text).ok_or_else(|| Fault::new("traceparent", "is malformed")))
            .transpose()?;
        let message = v1::Order::decode(row.body.as_slice())
            .map_err(|error| Fault::new("body", format!("cannot be decoded: {error}")))?;
        let order = order::from_message(&message).map_err(|fault| fault.within("body"))?.order;
        if order.order_id.as_str() != row.order_id {
            return Err(Fault::new("body.order_id", "is not the order_id beside it"));
        }
        Ok(Self {
            event_id: EventId(u128::from_be_bytes(event_id)),
            event_type,
            sequence: row.sequence,
            occurred_at: instant("occurred_at", row.occurred_at)?,
            actor: Actor { kind, id: actor_id },
            request_id,
            traceparent,
            order,
        })
    }
}
