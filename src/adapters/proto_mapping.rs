//! Values of the domain as messages of the contract.

use crate::domain::{
    Actor, BatchMode, BatchRefusal, DayStatistics, Event, EventType, FieldViolation, Kind, Order,
    OrderResult, OrderView, Refusal, StateName, Timestamp,
};
use crate::ports::{DeadLetter, LoggedEvent, Resolution};
use crate::proto::{self, v1};

/// Maps an instant.
pub fn timestamp(instant: Timestamp) -> proto::Timestamp {
    let (seconds, nanos) = instant.parts();
    proto::Timestamp { seconds, nanos }
}

/// Maps a state.
pub fn state(name: StateName) -> v1::OrderState {
    match name {
        StateName::Stored => v1::OrderState::Stored,
        StateName::Issued => v1::OrderState::Issued,
        StateName::Returned => v1::OrderState::Returned,
        StateName::HandedToCourier => v1::OrderState::HandedToCourier,
    }
}

/// Maps the type of an event.
pub fn event_type(event_type: EventType) -> v1::EventType {
    match event_type {
        EventType::Accepted => v1::EventType::OrderAccepted,
        EventType::Issued => v1::EventType::OrderIssued,
        EventType::Returned => v1::EventType::OrderReturned,
        EventType::HandedToCourier => v1::EventType::OrderHandedToCourier,
    }
}

/// Maps an order with its computed expiry.
pub fn order(view: OrderView) -> v1::Order {
    let OrderView { order, expired } = view;
    let (state, issued_at, returned_at) = (state(order.state_name()), order.issued_at(), order.returned_at());
    let handed_to_courier_at = order.handed_to_courier_at();
    let Order {
        order_id,
        customer_id,
        pickup_point_id,
        state: _,
        storage_until,
        accepted_at,
        weight,
        price,
        surcharge,
        currency,
        packaging,
        version,
    } = order;
    v1::Order {
        order_id: (&order_id).into(),
        customer_id: (&customer_id).into(),
        pickup_point_id: (&pickup_point_id).into(),
        state: state.into(),
        expired,
        storage_until: Some(timestamp(storage_until)),
        accepted_at: Some(timestamp(accepted_at)),
        issued_at: issued_at.map(timestamp),
        returned_at: returned_at.map(timestamp),
        handed_to_courier_at: handed_to_courier_at.map(timestamp),
        weight_grams: weight.map(crate::domain::Grams::get),
        price_minor: price.minor(),
        surcharge_minor: surcharge.minor(),
        total_price_minor: (price + surcharge).minor(),
        currency: currency.as_str().to_owned(),
        packaging: packaging.iter().map(|code| code.as_str().to_owned()).collect(),
        version,
    }
}

/// Maps the order of an event. Its expiry is that at the time of the event.
pub fn event_order(event_order: &Order, occurred_at: Timestamp) -> v1::Order {
    order(event_order.clone().at(occurred_at))
}

/// Maps an actor.
pub fn actor(actor: &Actor) -> v1::Actor {
    v1::Actor { kind: actor.kind.name().to_owned(), id: String::from(&actor.id) }
}

/// Maps an event without a cursor.
pub fn event(event: &Event) -> v1::Event {
    // The traceparent is not part of the message: it travels as a header.
    let Event {
        event_id,
        event_type: kind,
        sequence,
        occurred_at,
        actor: by,
        request_id,
        traceparent: _,
        order,
    } = event;
    v1::Event {
        event_id: event_id.to_string(),
        r#type: event_type(*kind).into(),
        sequence: *sequence,
        occurred_at: Some(timestamp(*occurred_at)),
        actor: Some(actor(by)),
        request_id: request_id.as_ref().map(Into::into),
        order: Some(event_order(order, *occurred_at)),
        cursor: None,
    }
}

/// Maps an event with its cursor.
pub fn logged_event(logged: &LoggedEvent) -> v1::Event {
    v1::Event { cursor: Some(logged.position.0.to_string()), ..event(&logged.event) }
}

/// Maps a refusal without the orders of its batch.
pub fn refusal(refusal: &Refusal) -> v1::Refusal {
    v1::Refusal {
        reason: refusal.reason.name().to_owned(),
        message: refusal.message.clone(),
        metadata: refusal.metadata.clone(),
        field_violations: refusal.violations.iter().map(violation).collect(),
    }
}

/// Maps a field violation.
pub fn violation(violation: &FieldViolation) -> v1::FieldViolation {
    v1::FieldViolation { field: violation.field.clone(), description: violation.description.clone() }
}

/// Maps the result of an order of a batch.
pub fn order_result(result: OrderResult) -> v1::OrderResult {
    use v1::order_result::Outcome;
    let outcome = match result.outcome {
        Ok(view) => Outcome::Order(order(view)),
        Err(refused) => Outcome::Refusal(refusal(&refused)),
    };
    v1::OrderResult { order_id: (&result.order_id).into(), outcome: Some(outcome) }
}

/// Maps the refusal of a batch with all refused orders.
pub fn batch_refusal(batch: &BatchRefusal) -> v1::BatchRefusal {
    v1::BatchRefusal {
        refused_total: i32::try_from(batch.refused_total).unwrap_or(i32::MAX),
        results: batch.results.iter().cloned().map(order_result).collect(),
    }
}

/// Maps a kind of packaging.
pub fn packaging_kind(kind: &Kind) -> v1::PackagingKind {
    v1::PackagingKind {
        code: kind.code.to_string(),
        role: kind.role.name().to_owned(),
        weight_below_grams: kind.weight_below.map(crate::domain::Grams::get),
        surcharge_minor: kind.surcharge.minor(),
    }
}

/// Returns the batch mode for its enum number; `None` if the number is unknown.
pub fn batch_mode(mode: i32) -> Option<BatchMode> {
    match v1::BatchMode::try_from(mode).ok()? {
        v1::BatchMode::Unspecified | v1::BatchMode::Atomic => Some(BatchMode::Atomic),
        v1::BatchMode::Partial => Some(BatchMode::Partial),
    }
}

/// Maps the statistics of a pickup point for a day.
pub fn day_statistics(day: &DayStatistics) -> v1::DayStatistics {
    v1::DayStatistics {
        pickup_point_id: day.pickup_point_id.to_string(),
        day: day.day.to_string(),
        currency: day.currency.clone(),
        accepted: day.accepted,
        issued: day.issued,
        returned: day.returned,
        handed_to_courier: day.handed_to_courier,
        surcharge_minor: day.surcharge_minor,
        accepted_minor: day.accepted_minor,
        issued_minor: day.issued_minor,
        returned_minor: day.returned_minor,
    }
}

/// Maps a dead letter.
pub fn dead_letter(letter: &DeadLetter) -> v1::DeadLetter {
    let resolution = letter.resolution.map(|resolution| match resolution {
        Resolution::Retry => v1::DeadLetterResolution::Retry,
        Resolution::Drop => v1::DeadLetterResolution::Drop,
    });
    v1::DeadLetter {
        order_id: letter.order_id.to_string(),
        sequence: letter.sequence,
        cursor: letter.position.0.to_string(),
        cause: letter.cause.clone(),
        buried_at: Some(timestamp(letter.refused_at)),
        resolution: resolution.map(Into::into),
    }
}
