//! Events, and the fold that computes an order from them.

use std::fmt;

use super::{ActorId, Order, OrderState, RequestId, ReturnedAt, Timestamp, Traceparent};

/// The unique id of an event: a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u128);

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0;
        let part = |shift: u32, bits: u32| (id >> shift) & ((1 << bits) - 1);
        write!(
            formatter,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 32),
            part(80, 16),
            part(64, 16),
            part(48, 16),
            part(0, 48)
        )
    }
}

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// A courier brought the order.
    Accepted,
    /// The customer collected the order.
    Issued,
    /// The customer returned the order.
    Returned,
    /// A courier took the order away.
    HandedToCourier,
}

/// The kind of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A courier.
    Courier,
    /// An operator of the pickup point.
    Operator,
    /// A customer.
    Customer,
    /// A program.
    System,
}

impl ActorKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Courier, Self::Operator, Self::Customer, Self::System];

    /// Returns the name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Courier => "courier",
            Self::Operator => "operator",
            Self::Customer => "customer",
            Self::System => "system",
        }
    }

    /// Returns the kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The actor of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its kind. Recorded, never checked against the command.
    pub kind: ActorKind,
    /// Its id, unique among the actors of its kind.
    pub id: ActorId,
}

impl Actor {
    /// Returns `operator:anonymous`, the actor of a command that names none.
    pub fn anonymous() -> Self {
        Self { kind: ActorKind::Operator, id: ActorId::anonymous() }
    }

    /// Parses `<kind>:<id>`.
    ///
    /// # Errors
    /// Returns a predicate of the header's name: "must be …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "must be <kind>:<id>, where the kind is courier, operator, customer or system, and the id a key";
        let (kind, id) = text.split_once(':').ok_or(EXPECTED)?;
        let kind = ActorKind::parse(kind).ok_or(EXPECTED)?;
        let id = ActorId::parse(id).map_err(|_| EXPECTED)?;
        Ok(Self { kind, id })
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind.name(), self.id)
    }
}

/// An event: the fact that a command took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The unique id.
    pub event_id: EventId,
    /// The type.
    pub event_type: EventType,
    /// The number of the event within its order, from 1.
    pub sequence: i64,
    /// The instant at which it occurred.
    pub occurred_at: Timestamp,
    /// The actor of the command.
    pub actor: Actor,
    /// The `request_id` of the command, if it had one.
    pub request_id: Option<RequestId>,
    /// The trace of the command, if its caller sent one.
    pub traceparent: Option<Traceparent>,
    /// The order after the event.
    pub order: Order,
}

/// A contradiction in the history of an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// The first event is not an accept, or a later event is one.
    #[error("event {sequence} ({event_type:?}) cannot follow the state {before}")]
    Impossible {
        /// The event's sequence.
        sequence: i64,
        /// The event's type.
        event_type: EventType,
        /// The state before.
        before: String,
    },
    /// The sequence has a gap or a repetition.
    #[error("event {found} found where event {expected} was expected")]
    Sequence {
        /// The expected sequence.
        expected: i64,
        /// The sequence of the event.
        found: i64,
    },
    /// An event occurred before its predecessor.
    #[error("event {sequence} occurred at {occurred_at}, before its predecessor")]
    Backwards {
        /// The event's sequence.
        sequence: i64,
        /// Its instant.
        occurred_at: Timestamp,
    },
    /// The order was issued after its storage deadline.
    #[error("event {sequence} issued the order at {occurred_at}, after its storage deadline {storage_until}")]
    IssuedLate {
        /// The event's sequence.
        sequence: i64,
        /// Its instant.
        occurred_at: Timestamp,
        /// The deadline.
        storage_until: Timestamp,
    },
    /// A stored order was handed to a courier before its storage deadline.
    #[error(
        "event {sequence} handed the order to a courier at {occurred_at}, before its storage deadline {storage_until}"
    )]
    HandedEarly {
        /// The event's sequence.
        sequence: i64,
        /// Its instant.
        occurred_at: Timestamp,
        /// The deadline.
        storage_until: Timestamp,
    },
    /// The order in the event is not the fold of the events up to it.
    #[error("event {sequence} carries an order that is not the fold of the events up to it")]
    Snapshot {
        /// The event's sequence.
        sequence: i64,
    },
}

/// Returns the order after an event, computed from the order before it and the facts of the
/// event. The order inside the event is used only for an accept.
///
/// # Errors
/// Returns an error if the event cannot follow that order.
pub fn evolve(before: Option<&Order>, event: &Event) -> Result<Order, Inconsistency> {
    let expected = before.map_or(0, |order| order.version) + 1;
    if event.sequence != expected {
        return Err(Inconsistency::Sequence { expected, found: event.sequence });
    }
    if before.is_some_and(|order| event.occurred_at < order.changed_at()) {
        let (sequence, occurred_at) = (event.sequence, event.occurred_at);
        return Err(Inconsistency::Backwards { sequence, occurred_at });
    }
    let after = step(before, event)?;
    if after == event.order { Ok(after) } else { Err(Inconsistency::Snapshot { sequence: event.sequence }) }
}

fn step(before: Option<&Order>, event: &Event) -> Result<Order, Inconsistency> {
    let at = event.occurred_at;
    let Some(order) = before else {
        if event.event_type != EventType::Accepted {
            return Err(impossible(None, event));
        }
        return Ok(with_accepted_facts(&event.order, OrderState::Stored, at, 1));
    };
    let (sequence, storage_until) = (event.sequence, order.storage_until);
    let state = match (order.state, event.event_type) {
        (OrderState::Stored, EventType::Issued) if at >= storage_until => {
            return Err(Inconsistency::IssuedLate { sequence, occurred_at: at, storage_until });
        }
        (OrderState::Stored, EventType::Issued) => OrderState::Issued { issued_at: at },
        (OrderState::Issued { issued_at }, EventType::Returned) => {
            OrderState::Returned(ReturnedAt { issued_at, returned_at: at })
        }
        (OrderState::Stored, EventType::HandedToCourier) if at < storage_until => {
            return Err(Inconsistency::HandedEarly { sequence, occurred_at: at, storage_until });
        }
        (OrderState::Stored, EventType::HandedToCourier) => {
            OrderState::HandedToCourier { returned: None, handed_to_courier_at: at }
        }
        (OrderState::Returned(returned), EventType::HandedToCourier) => {
            OrderState::HandedToCourier { returned: Some(returned), handed_to_courier_at: at }
        }
        _ => return Err(impossible(before, event)),
    };
    Ok(with_accepted_facts(order, state, order.accepted_at, order.version + 1))
}

/// Returns an order with the facts of an accept, which no later event changes. Every field is named,
/// so a field that is added does not compile until it is one of those facts, or computed by [`step`].
fn with_accepted_facts(accepted: &Order, state: OrderState, accepted_at: Timestamp, version: i64) -> Order {
    let Order {
        order_id,
        customer_id,
        pickup_point_id,
        state: _,
        storage_until,
        accepted_at: _,
        weight,
        price,
        surcharge,
        currency,
        packaging,
        version: _,
    } = accepted.clone();
    Order {
        order_id,
        customer_id,
        pickup_point_id,
        state,
        storage_until,
        accepted_at,
        weight,
        price,
        surcharge,
        currency,
        packaging,
        version,
    }
}

fn impossible(before: Option<&Order>, event: &Event) -> Inconsistency {
    Inconsistency::Impossible {
        sequence: event.sequence,
        event_type: event.event_type,
        before: before.map_or_else(|| "none".to_owned(), |order| format!("{:?}", order.state_name())),
    }
}
