//! Builders of commands with default values.

use pvz::domain::{
    Accept, AcceptReturn, Actor, BatchMode, Command, CustomerId, Form, Grams, ImportRow, Issue, Money,
    OrderId, OrderIds, PackagingCode, PickupPointId, RequestId, ReturnToCourier,
};

use super::time::{DAY, START, at};

/// A command with its actor and its idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCommand {
    pub command: Command,
    pub key: Option<RequestId>,
    pub actor: Actor,
}

impl TestCommand {
    /// Sets the idempotency key.
    pub fn key(self, key: &str) -> Self {
        Self { key: Some(RequestId::parse(key).unwrap()), ..self }
    }
}

impl From<Command> for TestCommand {
    fn from(command: Command) -> Self {
        Self { command, key: None, actor: Actor::anonymous() }
    }
}

pub fn order(id: &str) -> OrderId {
    OrderId::parse(id).unwrap()
}

pub fn customer(id: &str) -> CustomerId {
    CustomerId::parse(id).unwrap()
}

pub fn point(id: &str) -> PickupPointId {
    PickupPointId::parse(id).unwrap()
}

pub fn codes(codes: &[&str]) -> Vec<PackagingCode> {
    codes.iter().map(|code| PackagingCode::new(code)).collect()
}

fn ids(ids: &[&str]) -> OrderIds {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    OrderIds::parse(&mut Form::default(), &ids).expect("well-formed order ids")
}

/// Returns an order of customer `c1` at the default pickup point: stored for a
/// day, 1 kg in a bag, price 100.00.
pub fn parcel(id: &str) -> Accept {
    Accept {
        order_id: order(id),
        customer_id: customer("c1"),
        storage_until: at(START + DAY),
        weight: Grams::new(1_000).ok(),
        price: Money::price(10_000).unwrap(),
        packaging: codes(&["bag"]),
        pickup_point_id: None,
    }
}

pub fn accept(accept: Accept) -> TestCommand {
    Command::Accept(accept).into()
}

pub fn import(accept: Accept) -> TestCommand {
    Command::Import(ImportRow(accept)).into()
}

pub fn issue(orders: &[&str], mode: BatchMode) -> TestCommand {
    issue_for(orders, None, None, mode)
}

pub fn issue_for(
    orders: &[&str],
    customer_id: Option<&str>,
    point_id: Option<&str>,
    mode: BatchMode,
) -> TestCommand {
    Command::Issue(Issue {
        order_ids: ids(orders),
        customer_id: customer_id.map(customer),
        pickup_point_id: point_id.map(point),
        mode,
    })
    .into()
}

pub fn accept_return(order_id: &str, customer_id: &str, point_id: Option<&str>) -> TestCommand {
    Command::AcceptReturn(AcceptReturn {
        order_id: order(order_id),
        customer_id: customer(customer_id),
        pickup_point_id: point_id.map(point),
    })
    .into()
}

pub fn to_courier(orders: &[&str], point_id: Option<&str>, mode: BatchMode) -> TestCommand {
    Command::ReturnToCourier(ReturnToCourier {
        order_ids: ids(orders),
        pickup_point_id: point_id.map(point),
        mode,
    })
    .into()
}
