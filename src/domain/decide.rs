//! The decision: computes new events and an answer, or a refusal, from a command, the current
//! orders, the time and the policy. The order of the checks is that of `docs/domain.md`; the
//! `request_id` is checked before.

use std::collections::HashMap;

use super::packaging::check_weight;
use super::{
    Accept, AcceptReturn, Answer, BatchMode, BatchRefusal, Command, CustomerId, EventType, Grams, ImportRow,
    Issue, Kind, Money, Order, OrderId, OrderResult, OrderState, PackagingCode, PickupPointId, Policy,
    Reason, Refusal, ReturnToCourier, ReturnedAt, Timestamp,
};

/// The orders that a decision may read, by id. An order that is not in the map does not exist.
pub type Orders = HashMap<OrderId, Order>;

/// The effects and the answer of a command that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The changes, at most one per order.
    pub changes: Vec<Change>,
    /// The answer.
    pub answer: Answer,
}

/// A change of an order: an event and the order after it. The event's sequence is the order's
/// version, its instant `order.changed_at()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The type of the event.
    pub event_type: EventType,
    /// The order after it.
    pub order: Order,
}

/// Decides a well-formed command.
///
/// # Errors
/// Returns the refusal. The command then has no effect.
pub fn decide(
    command: &Command,
    orders: &Orders,
    now: Timestamp,
    policy: &Policy,
) -> Result<Decision, Refusal> {
    match command {
        Command::Accept(accept) => accept_order(accept, orders, now, policy),
        Command::Import(row) => import_row(row, orders, now, policy),
        Command::Issue(issue) => issue_orders(issue, orders, now, policy),
        Command::AcceptReturn(accept_return) => accept_return_of(accept_return, orders, now, policy),
        Command::ReturnToCourier(to_courier) => return_to_courier(to_courier, orders, now, policy),
    }
}

impl Decision {
    fn single(event_type: EventType, order: Order, now: Timestamp) -> Self {
        let answer = Answer::Order(order.clone().at(now));
        Self { changes: vec![Change { event_type, order }], answer }
    }
}

fn import_row(
    row: &ImportRow,
    orders: &Orders,
    now: Timestamp,
    policy: &Policy,
) -> Result<Decision, Refusal> {
    if let Some(order) = orders.get(&row.0.order_id)
        && first_difference(&row.0, order, policy).is_none()
    {
        let answer = Answer::AlreadyExisted(order.clone().at(now));
        return Ok(Decision { changes: Vec::new(), answer });
    }
    accept_order(&row.0, orders, now, policy)
}

fn accept_order(
    accept: &Accept,
    orders: &Orders,
    now: Timestamp,
    policy: &Policy,
) -> Result<Decision, Refusal> {
    let order_id = &accept.order_id;
    if let Some(order) = orders.get(order_id) {
        return Err(already_exists(accept, order, policy));
    }
    let about_order = |refusal: Refusal| refusal.with("order_id", order_id);
    let kinds = policy.catalogue.resolve(&accept.packaging).map_err(about_order)?;
    check_weight(&kinds, accept.weight).map_err(about_order)?;
    check_storage_until(accept.storage_until, now, policy).map_err(about_order)?;
    let order = Order {
        order_id: order_id.clone(),
        customer_id: accept.customer_id.clone(),
        pickup_point_id: accept.pickup_point_id.as_ref().unwrap_or(&policy.pickup_point).clone(),
        state: OrderState::Stored,
        storage_until: accept.storage_until,
        accepted_at: now,
        weight: accept.weight,
        price: accept.price,
        surcharge: surcharge(&kinds),
        currency: policy.currency,
        packaging: kinds.iter().map(|kind| kind.code.clone()).collect(),
        version: 1,
    };
    Ok(Decision::single(EventType::Accepted, order, now))
}

fn surcharge(kinds: &[&Kind]) -> Money {
    kinds.iter().map(|kind| kind.surcharge).sum()
}

fn check_storage_until(until: Timestamp, now: Timestamp, policy: &Policy) -> Result<(), Refusal> {
    let last = now.plus(policy.max_storage);
    let wrong =
        |what: String| Refusal::invalid("storage_until", what).with("storage_until", until).with("now", now);
    if until <= now {
        return Err(wrong(format!("must be later than now ({now})")));
    }
    if until > last {
        let what = format!("must not be later than {last}");
        return Err(wrong(what).with("latest_storage_until", last));
    }
    Ok(())
}

fn already_exists(accept: &Accept, order: &Order, policy: &Policy) -> Refusal {
    let order_id = &order.order_id;
    let refusal = |what: String| {
        Refusal::new(Reason::OrderAlreadyExists, format!("order {order_id} was already accepted, {what}"))
            .with("order_id", order_id)
    };
    match first_difference(accept, order, policy) {
        Some(field) => refusal(format!("with another {field}")).with("field", field),
        None => refusal("with the same content".to_owned()).with("identical", true),
    }
}

/// Returns the first field in which an accept differs from the accepted order, with defaults
/// filled in.
fn first_difference(accept: &Accept, order: &Order, policy: &Policy) -> Option<&'static str> {
    // Every field is named, so a field that is added does not compile until it
    // is compared, or left out on purpose.
    let Accept { order_id: _, customer_id, storage_until, weight, price, packaging, pickup_point_id } =
        accept;
    let Order {
        order_id: _,
        customer_id: known_customer,
        pickup_point_id: known_point,
        state: _,
        storage_until: known_deadline,
        accepted_at: _,
        weight: known_weight,
        price: known_price,
        surcharge: _,
        currency: _,
        packaging: known_packaging,
        version: _,
    } = order;
    let point = pickup_point_id.as_ref().unwrap_or(&policy.pickup_point);
    let packaging: Vec<PackagingCode> = policy.catalogue.container_first(packaging);
    [
        ("customer_id", customer_id == known_customer),
        ("pickup_point_id", point == known_point),
        ("storage_until", storage_until == known_deadline),
        ("weight_grams", weight.map(Grams::get) == known_weight.map(Grams::get)),
        ("price_minor", price == known_price),
        ("packaging", *packaging == **known_packaging),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

fn issue_orders(
    issue: &Issue,
    orders: &Orders,
    now: Timestamp,
    policy: &Policy,
) -> Result<Decision, Refusal> {
    let point = issue.pickup_point_id.as_ref().unwrap_or(&policy.pickup_point);
    let ids = issue.order_ids.as_slice();
    let first = ids.iter().find_map(|id| orders.get(id)).map(|order| &order.customer_id);
    let customer = issue.customer_id.as_ref().or(first);
    batch(ids, issue.mode, EventType::Issued, now, |order_id| {
        let order = orders.get(order_id).ok_or_else(|| Refusal::order_not_found(order_id))?;
        check_point(order, point)?;
        if let Some(customer) = customer {
            check_customer(order, customer)?;
        }
        match order.state {
            OrderState::Stored if now < order.storage_until => {
                Ok(advance(order, OrderState::Issued { issued_at: now.max(order.changed_at()) }))
            }
            OrderState::Stored => Err(storage_expired(order, now)),
            OrderState::Issued { issued_at } => Err(already_issued(order, issued_at)),
            OrderState::Returned(at) => Err(returned(order, at)),
            OrderState::HandedToCourier { handed_to_courier_at, .. } => {
                Err(handed(order, handed_to_courier_at))
            }
        }
    })
}

fn return_to_courier(
    to_courier: &ReturnToCourier,
    orders: &Orders,
    now: Timestamp,
    policy: &Policy,
) -> Result<Decision, Refusal> {
    let point = to_courier.pickup_point_id.as_ref().unwrap_or(&policy.pickup_point);
    let ids = to_courier.order_ids.as_slice();
    batch(ids, to_courier.mode, EventType::HandedToCourier, now, |order_id| {
        let order = orders.get(order_id).ok_or_else(|| Refusal::order_not_found(order_id))?;
        check_point(order, point)?;
        let handed_to_courier_at = now.max(order.changed_at());
        match order.state {
            OrderState::Stored if now >= order.storage_until => {
                Ok(advance(order, OrderState::HandedToCourier { returned: None, handed_to_courier_at }))
            }
            OrderState::Stored => Err(storage_not_expired(order, now)),
            OrderState::Issued { issued_at } => Err(already_issued(order, issued_at)),
            OrderState::Returned(at) => {
                Ok(advance(order, OrderState::HandedToCourier { returned: Some(at), handed_to_courier_at }))
            }
            OrderState::HandedToCourier { handed_to_courier_at, .. } => {
                Err(handed(order, handed_to_courier_at))
            }
        }
    })
}

fn accept_return_of(
    accept_return: &AcceptReturn,
    orders: &Orders,
    now: Timestamp,
    policy: &Policy,
) -> Result<Decision, Refusal> {
    let order_id = &accept_return.order_id;
    let order = orders.get(order_id).ok_or_else(|| Refusal::order_not_found(order_id))?;
    check_point(order, accept_return.pickup_point_id.as_ref().unwrap_or(&policy.pickup_point))?;
    check_customer(order, &accept_return.customer_id)?;
    match order.state {
        OrderState::Stored => Err(Refusal::new(
            Reason::OrderNotIssued,
            format!("order {order_id} has not been issued, so it cannot be returned"),
        )
        .with("order_id", order_id)),
        OrderState::Issued { issued_at } => {
            let closed_at = issued_at.plus(policy.return_window);
            if now >= closed_at {
                return Err(window_closed(order, issued_at, closed_at, now));
            }
            let returned_at = now.max(order.changed_at());
            let order = advance(order, OrderState::Returned(ReturnedAt { issued_at, returned_at }));
            Ok(Decision::single(EventType::Returned, order, now))
        }
        OrderState::Returned(at) => Err(returned(order, at)),
        OrderState::HandedToCourier { handed_to_courier_at, .. } => Err(handed(order, handed_to_courier_at)),
    }
}

/// Decides each order of a batch and combines the results according to the mode.
fn batch(
    ids: &[OrderId],
    mode: BatchMode,
    event_type: EventType,
    now: Timestamp,
    one: impl Fn(&OrderId) -> Result<Order, Refusal>,
) -> Result<Decision, Refusal> {
    let mut changes = Vec::with_capacity(ids.len());
    let mut results = Vec::with_capacity(ids.len());
    for order_id in ids {
        let outcome = one(order_id).map(|order| {
            changes.push(Change { event_type, order: order.clone() });
            order.at(now)
        });
        results.push(OrderResult { order_id: order_id.clone(), outcome });
    }
    match mode {
        BatchMode::Partial => Ok(Decision { changes, answer: Answer::Results(results) }),
        BatchMode::Atomic => match results.iter().find_map(|result| result.outcome.as_ref().err()) {
            None => Ok(Decision { changes, answer: Answer::Results(results) }),
            Some(first) => {
                let first = first.clone();
                results.retain(|result| result.outcome.is_err());
                let batch = Some(BatchRefusal { refused_total: results.len(), results });
                Err(Refusal { batch, ..first })
            }
        },
    }
}

fn advance(order: &Order, state: OrderState) -> Order {
    Order { state, version: order.version + 1, ..order.clone() }
}

fn check_point(order: &Order, asked: &PickupPointId) -> Result<(), Refusal> {
    let (order_id, point) = (&order.order_id, &order.pickup_point_id);
    if point == asked {
        return Ok(());
    }
    let message = format!("order {order_id} is at the pickup point {point}, not at {asked}");
    Err(Refusal::new(Reason::WrongPickupPoint, message)
        .with("order_id", order_id)
        .with("pickup_point_id", point)
        .with("asked_pickup_point_id", asked))
}

/// The refusal does not name the order's customer, because the caller may not be entitled to know
/// it.
fn check_customer(order: &Order, asked: &CustomerId) -> Result<(), Refusal> {
    let order_id = &order.order_id;
    if order.customer_id == *asked {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::WrongCustomer,
        format!("order {order_id} does not belong to the customer {asked}"),
    )
    .with("order_id", order_id)
    .with("customer_id", asked))
}

/// Returns a refusal about an order, with an instant that its sentence mentions.
fn at(reason: Reason, order: &Order, message: String, key: &str, instant: Timestamp) -> Refusal {
    Refusal::new(reason, message).with("order_id", &order.order_id).with(key, instant)
}

fn storage_expired(order: &Order, now: Timestamp) -> Refusal {
    let until = order.storage_until;
    let message = format!("the storage deadline of order {} was {until}; it is now {now}", order.order_id);
    at(Reason::StorageExpired, order, message, "storage_until", until).with("now", now)
}

fn storage_not_expired(order: &Order, now: Timestamp) -> Refusal {
    let until = order.storage_until;
    let message = format!("the storage deadline of order {} is {until}; it is now {now}", order.order_id);
    at(Reason::StorageNotExpired, order, message, "storage_until", until).with("now", now)
}

fn already_issued(order: &Order, issued_at: Timestamp) -> Refusal {
    let message = format!("order {} was issued to its customer at {issued_at}", order.order_id);
    at(Reason::OrderAlreadyIssued, order, message, "issued_at", issued_at)
}

fn returned(order: &Order, when: ReturnedAt) -> Refusal {
    let message = format!("order {} was returned at {}", order.order_id, when.returned_at);
    at(Reason::OrderReturned, order, message, "returned_at", when.returned_at)
}

fn handed(order: &Order, when: Timestamp) -> Refusal {
    let message = format!("order {} was handed to a courier at {when}", order.order_id);
    at(Reason::OrderHandedToCourier, order, message, "handed_to_courier_at", when)
}

fn window_closed(order: &Order, issued_at: Timestamp, closed_at: Timestamp, now: Timestamp) -> Refusal {
    let message = format!(
        "order {} was issued at {issued_at} and could be returned until {closed_at}; it is now {now}",
        order.order_id
    );
    at(Reason::ReturnWindowClosed, order, message, "issued_at", issued_at)
        .with("return_window_closed_at", closed_at)
        .with("now", now)
}
