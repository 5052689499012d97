//! Orders as rows of a database, and as messages inside events and answers.

use diesel::sql_types::{BigInt, Nullable, Text};

use super::table_row::table_row;
use super::{Fault, instant};
use crate::adapters::proto_mapping;
use crate::domain::{
    Currency, CustomerId, Grams, Money, Order, OrderId, OrderState, OrderView, PackagingCode, PickupPointId,
    ReturnedAt, StateName, Timestamp,
};
use crate::proto::{self, v1};

table_row! {
    /// An order as a row. Instants are microseconds since the epoch, amounts
    /// minor units.
    pub struct OrderRow = "orders" {
        /// The key.
        order_id: String = "order_id" as Text,
        /// The customer who may collect it.
        customer_id: String = "customer_id" as Text,
        /// The pickup point that accepted it.
        pickup_point_id: String = "pickup_point_id" as Text,
        /// The name of its state, [`OrderRow::state_text`].
        state: String = "state" as Text,
        /// The storage deadline.
        storage_until: i64 = "storage_until" as BigInt,
        /// When it was accepted from a courier.
        accepted_at: i64 = "accepted_at" as BigInt,
        /// When it was issued to its customer.
        issued_at: Option<i64> = "issued_at" as Nullable<BigInt>,
        /// When its customer returned it.
        returned_at: Option<i64> = "returned_at" as Nullable<BigInt>,
        /// When it was handed to a courier.
        handed_to_courier_at: Option<i64> = "handed_to_courier_at" as Nullable<BigInt>,
        /// Its weight in grams, if known.
        weight_grams: Option<i64> = "weight_grams" as Nullable<BigInt>,
        /// Its price.
        price_minor: i64 = "price_minor" as BigInt,
        /// The surcharge of its packaging.
        surcharge_minor: i64 = "surcharge_minor" as BigInt,
        /// The ISO 4217 code of the amounts.
        currency: String = "currency" as Text,
        /// The packaging codes joined by `+`, the container first.
        packaging: String = "packaging" as Text,
        /// The number of its events.
        version: i64 = "version" as BigInt,
    }
}

impl OrderRow {
    /// Returns the name of a state in a database.
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
            packaging: _,
            version,
        } = order;
        Self {
            order_id: order_id.into(),
            customer_id: customer_id.into(),
            pickup_point_id: pickup_point_id.into(),
            state: Self::state_text(order.state_name()).to_owned(),
            storage_until: storage_until.micros(),
            accepted_at: accepted_at.micros(),
            issued_at: order.issued_at().map(Timestamp::micros),
            returned_at: order.returned_at().map(Timestamp::micros),
            handed_to_courier_at: order.handed_to_courier_at().map(Timestamp::micros),
            weight_grams: weight.map(Grams::get),
            price_minor: price.minor(),
            surcharge_minor: surcharge.minor(),
            currency: currency.as_str().to_owned(),
            packaging: order.packaging_text(),
            version: *version,
        }
    }
}

impl TryFrom<OrderRow> for Order {
    type Error = Fault;

    fn try_from(row: OrderRow) -> Result<Self, Fault> {
        let OrderRow {
            order_id,
            customer_id,
            pickup_point_id,
            state,
            storage_until,
            accepted_at,
            issued_at,
            returned_at,
            handed_to_courier_at,
            weight_grams,
            price_minor,
            surcharge_minor,
            currency,
            packaging,
            version,
        } = row;
        let optional = |column: &str, micros: Option<i64>| micros.map(|at| instant(column, at)).transpose();
        let name = StateName::ALL
            .into_iter()
            .find(|known| OrderRow::state_text(*known) == state)
            .ok_or_else(|| Fault::new("state", format!("has the unknown value {state:?}")))?;
        let state = order_state(
            name,
            optional("issued_at", issued_at)?,
            optional("returned_at", returned_at)?,
            optional("handed_to_courier_at", handed_to_courier_at)?,
        )?;
        let codes = packaging.split('+').filter(|code| !code.is_empty());
        Ok(Self {
            order_id: parsed("order_id", OrderId::parse(&order_id))?,
            customer_id: parsed("customer_id", CustomerId::parse(&customer_id))?,
            pickup_point_id: parsed("pickup_point_id", PickupPointId::parse(&pickup_point_id))?,
            state,
            storage_until: instant("storage_until", storage_until)?,
            accepted_at: instant("accepted_at", accepted_at)?,
            weight: weight_grams.map(|grams| parsed("weight_grams", Grams::new(grams))).transpose()?,
            price: parsed("price_minor", Money::price(price_minor))?,
            surcharge: parsed("surcharge_minor", Money::price(surcharge_minor))?,
            currency: parsed("currency", Currency::parse(&currency))?,
            packaging: codes.map(PackagingCode::new).collect(),
            version: order_version(version)?,
        })
    }
}

/// Returns a state with exactly the instants that it implies.
fn order_state(
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
        _ => {
            let state = OrderRow::state_text(name);
            Err(Fault::new(
                "state",
                format!("{state} contradicts issued_at, returned_at or handed_to_courier_at"),
            ))
        }
    }
}

fn parsed<T>(column: &str, result: Result<T, impl Into<String>>) -> Result<T, Fault> {
    result.map_err(|why| Fault::new(column, why))
}

fn order_version(version: i64) -> Result<i64, Fault> {
    if version >= 1 { Ok(version) } else { Err(Fault::new("version", "must be at least 1")) }
}

/// Reads an order from the message inside an event or an answer. The total
/// price is not read: it is the sum of the other two.
pub(super) fn from_message(message: &v1::Order) -> Result<OrderView, Fault> {
    let v1::Order {
        order_id,
        customer_id,
        pickup_point_id,
        state,
        expired,
        storage_until,
        accepted_at,
        issued_at,
        returned_at,
        handed_to_courier_at,
        weight_grams,
        price_minor,
        surcharge_minor,
        total_price_minor: _,
        currency,
        packaging,
        version,
    } = message;
    let name = StateName::ALL
        .into_iter()
        .find(|known| i32::from(proto_mapping::state(*known)) == *state)
        .ok_or_else(|| Fault::new("state", format!("has the unknown value {state}")))?;
    let state = order_state(
        name,
        optional("issued_at", *issued_at)?,
        optional("returned_at", *returned_at)?,
        optional("handed_to_courier_at", *handed_to_courier_at)?,
    )?;
    let order = Order {
        order_id: parsed("order_id", OrderId::parse(order_id))?,
        customer_id: parsed("customer_id", CustomerId::parse(customer_id))?,
        pickup_point_id: parsed("pickup_point_id", PickupPointId::parse(pickup_point_id))?,
        state,
        storage_until: required("storage_until", *storage_until)?,
        accepted_at: required("accepted_at", *accepted_at)?,
        weight: weight_grams.map(|grams| parsed("weight_grams", Grams::new(grams))).transpose()?,
        price: parsed("price_minor", Money::price(*price_minor))?,
        surcharge: parsed("surcharge_minor", Money::price(*surcharge_minor))?,
        currency: parsed("currency", Currency::parse(currency))?,
        packaging: packaging.iter().map(|code| PackagingCode::new(code)).collect(),
        version: order_version(*version)?,
    };
    Ok(OrderView { order, expired: *expired })
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
