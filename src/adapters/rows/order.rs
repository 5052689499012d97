//! Orders as rows of a database, and as bytes inside of events and answers.

use diesel::Queryable;

use super::{Fault, instant};
use crate::adapters::proto_mapping;
use crate::domain::{
    Currency, CustomerId, Grams, Money, Order, OrderId, OrderState, OrderView, PackagingCode, PickupPointId,
    ReturnedAt, StateName, Timestamp,
};
use crate::proto::{self, v1};

/// An order as the columns of its row, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct OrderRow {
    /// The key.
    pub order_id: String,
    /// Who may collect it.
    pub customer_id: String,
    /// The counter that accepted it.
    pub pickup_point_id: String,
    /// The name of its state, [`OrderRow::state_text`].
    pub state: String,
    /// The storage deadline, in microseconds since the epoch, as all instants.
    pub storage_until: i64,
    /// When the courier brought it.
    pub accepted_at: i64,
    /// When the customer collected it.
    pub issued_at: Option<i64>,
    /// When the customer brought it back.
    pub returned_at: Option<i64>,
    /// When it went away with a courier.
    pub handed_to_courier_at: Option<i64>,
    /// Its weight in grams, if known.
    pub weight_grams: Option<i64>,
    /// Its price in minor units.
    pub price_minor: i64,
    /// What the packaging added, in minor units.
    pub surcharge_minor: i64,
    /// The ISO 4217 code of the amounts.
    pub currency: String,
    /// The packaging codes joined by `+`, the container first.
    pub packaging: String,
    /// How many events it has had.
    pub version: i64,
}

impl OrderRow {
    /// The name of a state in a database.
    pub const fn state_text(state: StateName) -> &'static str {
        match state {
            StateName::Stored => "STORED",
            StateName::Issued => "ISSUED",
            StateName::Returned => "RETURNED",
            StateName::HandedToCourier => "HANDED_TO_COURIER",
        }
    }
}

impl From<&Order> for OrderRow {
    fn from(order: &Order) -> Self {
        Self {
            order_id: (&order.order_id).into(),
            customer_id: (&order.customer_id).into(),
            pickup_point_id: (&order.pickup_point_id).into(),
            state: Self::state_text(order.state_name()).to_owned(),
            storage_until: order.storage_until.micros(),
            accepted_at: order.accepted_at.micros(),
            issued_at: order.issued_at().map(Timestamp::micros),
            returned_at: order.returned_at().map(Timestamp::micros),
            handed_to_courier_at: order.handed_to_courier_at().map(Timestamp::micros),
            weight_grams: order.weight.map(Grams::get),
            price_minor: order.price.minor(),
            surcharge_minor: order.surcharge.minor(),
            currency: order.currency.as_str().to_owned(),
            packaging: order.packaging_text(),
            version: order.version,
        }
    }
}

impl TryFrom<OrderRow> for Order {
    type Error = Fault;

    fn try_from(row: OrderRow) -> Result<Self, Fault> {
        let optional = |column: &str, micros: Option<i64>| micros.map(|at| instant(column, at)).transpose();
        let name = StateName::ALL
            .into_iter()
            .find(|state| OrderRow::state_text(*state) == row.state)
            .ok_or_else(|| Fault::new("state", format!("is no state: {:?}", row.state)))?;
        let state = state(
            name,
            optional("issued_at", row.issued_at)?,
            optional("returned_at", row.returned_at)?,
            optional("handed_to_courier_at", row.handed_to_courier_at)?,
        )?;
        let codes = row.packaging.split('+').filter(|code| !code.is_empty());
        Ok(Self {
            order_id: key("order_id", OrderId::parse(&row.order_id))?,
            customer_id: key("customer_id", CustomerId::parse(&row.customer_id))?,
            pickup_point_id: key("pickup_point_id", PickupPointId::parse(&row.pickup_point_id))?,
            state,
            storage_until: instant("storage_until", row.storage_until)?,
            accepted_at: instant("accepted_at", row.accepted_at)?,
            weight: row.weight_grams.map(|grams| key("weight_grams", Grams::new(grams))).transpose()?,
            price: key("price_minor", Money::price(row.price_minor))?,
            surcharge: key("surcharge_minor", Money::price(row.surcharge_minor))?,
            currency: key("currency", Currency::parse(&row.currency))?,
            packaging: codes.map(PackagingCode::new).collect(),
            version: version(row.version)?,
        })
    }
}

/// A state with the instants that it implies, and no others.
fn state(
    name: StateName,
    issued: Option<Timestamp>,
    returned: Option<Timestamp>,
    handed_over: Option<Timestamp>,
) -> Result<OrderState, Fault> {
    let at = |issued_at, returned_at| ReturnedAt { issued_at, returned_at };
    match (name, issued, returned, handed_over) {
        (StateName::Stored, None, None, None) => Ok(OrderState::Stored),
        (StateName::Issued, Some(issued_at), None, None) => Ok(OrderState::Issued { issued_at }),
        (StateName::Returned, Some(issued), Some(returned), None) => {
            Ok(OrderState::Returned(at(issued, returned)))
        }
        (StateName::HandedToCourier, None, None, Some(handed_to_courier_at)) => {
            Ok(OrderState::HandedToCourier { returned: None, handed_to_courier_at })
        }
        (StateName::HandedToCourier, Some(issued), Some(returned), Some(handed_to_courier_at)) => {
            Ok(OrderState::HandedToCourier { returned: Some(at(issued, returned)), handed_to_courier_at })
        }
        _ => Err(Fault::new("state", format!("{name:?} does not go with the instants beside it"))),
    }
}

fn key<T>(column: &str, parsed: Result<T, &'static str>) -> Result<T, Fault> {
    parsed.map_err(|why| Fault::new(column, why))
}

fn version(version: i64) -> Result<i64, Fault> {
    if version >= 1 { Ok(version) } else { Err(Fault::new("version", "must be at least 1")) }
}

/// An order from the message that events and answers keep.
pub(super) fn from_message(message: &v1::Order) -> Result<OrderView, Fault> {
    let name = StateName::ALL
        .into_iter()
        .find(|state| i32::from(proto_mapping::state(*state)) == message.state)
        .ok_or_else(|| Fault::new("state", format!("is no state: {}", message.state)))?;
    let state = state(
        name,
        optional("issued_at", message.issued_at)?,
        optional("returned_at", message.returned_at)?,
        optional("handed_to_courier_at", message.handed_to_courier_at)?,
    )?;
    let order = Order {
        order_id: key("order_id", OrderId::parse(&message.order_id))?,
        customer_id: key("customer_id", CustomerId::parse(&message.customer_id))?,
        pickup_point_id: key("pickup_point_id", PickupPointId::parse(&message.pickup_point_id))?,
        state,
        storage_until: required("storage_until", message.storage_until)?,
        accepted_at: required("accepted_at", message.accepted_at)?,
        weight: message.weight_grams.map(|grams| key("weight_grams", Grams::new(grams))).transpose()?,
        price: key("price_minor", Money::price(message.price_minor))?,
        surcharge: key("surcharge_minor", Money::price(message.surcharge_minor))?,
        currency: key("currency", Currency::parse(&message.currency))?,
        packaging: message.packaging.iter().map(|code| PackagingCode::new(code)).collect(),
        version: version(message.version)?,
    };
    Ok(OrderView { order, expired: message.expired })
}

fn required(column: &str, value: Option<proto::Timestamp>) -> Result<Timestamp, Fault> {
    optional(column, value)?.ok_or_else(|| Fault::new(column, "is missing"))
}

fn optional(column: &str, value: Option<proto::Timestamp>) -> Result<Option<Timestamp>, Fault> {
    let parse = |value: proto::Timestamp| {
        Timestamp::from_parts(value.seconds, value.nanos)
            .ok_or_else(|| Fault::new(column, "is not within the years 1 to 9999"))
    };
    value.map(parse).transpose()
}
