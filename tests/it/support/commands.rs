//! Builders of commands: what a test does not say is what most parcels have.

use pvz::domain::{
    Accept, AcceptReturn, Actor, BatchMode, Command, CustomerId, Form, Grams, ImportRow, Issue, Money,
    OrderId, OrderIds, PackagingCode, PickupPointId, RequestId, ReturnToCourier,
};

use super::time::{DAY, START, at};

/// A command on its way: who asks, and under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub command: Command,
    pub key: Option<RequestId>,
    pub actor: Actor,
}

impl Ask {
    pub fn key(self, key: &str) -> Self {
        Self { key: Some(RequestId::parse(key).unwrap()), ..self }
    }
}

impl From<Command> for Ask {
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

/// An accept for customer `c1` at the default point, for a day, of 1 kg in a
/// bag, for 100.00.
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

pub fn accept(accept: Accept) -> Ask {
    Command::Accept(accept).into()
}

pub fn import(accept: Accept) -> Ask {
    Command::Import(ImportRow(accept)).into()
}

pub fn issue(orders: &[&str], mode: BatchMode) -> Ask {
    issue_for(orders, None, None, mode)
}

pub fn issue_for(orders: &[&str], whose: Option<&str>, where_: Option<&str>, mode: BatchMode) -> Ask {
    Command::Issue(Issue {
        order_ids: ids(orders),
        customer_id: whose.map(customer),
        pickup_point_id: where_.map(point),
        mode,
    })
    .into()
}

pub fn bring_back(order_id: &str, whose: &str, where_: Option<&str>) -> Ask {
    Command::AcceptReturn(AcceptReturn {
        order_id: order(order_id),
        customer_id: customer(whose),
        pickup_point_id: where_.map(point),
    })
    .into()
}

pub fn to_courier(orders: &[&str], where_: Option<&str>, mode: BatchMode) -> Ask {
    Command::ReturnToCourier(ReturnToCourier {
        order_ids: ids(orders),
        pickup_point_id: where_.map(point),
        mode,
    })
    .into()
}
