//! The content of a command, by which a repeated `request_id` is recognised:
//! the RPC and its fields as sent, in message order. Configured defaults, the
//! actor and the `request_id` itself do not count (`docs/domain.md`,
//! Idempotency).

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Accept, BatchMode, Catalogue, Command, CustomerId, OrderIds, PickupPointId};

/// The RPC of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `AcceptOrder`
    AcceptOrder,
    /// `ImportOrders`
    ImportOrders,
    /// `IssueOrders`
    IssueOrders,
    /// `AcceptReturn`
    AcceptReturn,
    /// `ReturnToCourier`
    ReturnToCourier,
}

impl Method {
    /// Every method that changes orders.
    pub const ALL: [Self; 5] =
        [Self::AcceptOrder, Self::ImportOrders, Self::IssueOrders, Self::AcceptReturn, Self::ReturnToCourier];

    /// The name of the RPC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptOrder => "AcceptOrder",
            Self::ImportOrders => "ImportOrders",
            Self::IssueOrders => "IssueOrders",
            Self::AcceptReturn => "AcceptReturn",
            Self::ReturnToCourier => "ReturnToCourier",
        }
    }

    /// The method with that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The fields that count, in message order.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::AcceptOrder | Self::ImportOrders => &[
                "order_id",
                "customer_id",
                "storage_until",
                "weight_grams",
                "price_minor",
                "packaging",
                "pickup_point_id",
            ],
            Self::IssueOrders => &["order_ids", "customer_id", "pickup_point_id", "mode"],
            Self::AcceptReturn => &["order_id", "customer_id", "pickup_point_id"],
            Self::ReturnToCourier => &["order_ids", "pickup_point_id", "mode"],
        }
    }
}

/// What counts of a command: a text for each of [`Method::fields`]. Two
/// commands are the same when their contents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<'a> {
    /// The RPC.
    pub method: Method,
    /// The fields, in message order.
    pub fields: Vec<Cow<'a, str>>,
}

impl<'a> Content<'a> {
    /// The content of a command. The catalogue tells which packaging is the
    /// container, to be put first.
    pub fn of(command: &'a Command, catalogue: &Catalogue) -> Self {
        let (method, fields) = match command {
            Command::Accept(accept) => (Method::AcceptOrder, accept_fields(accept, catalogue)),
            Command::Import(row) => (Method::ImportOrders, accept_fields(&row.0, catalogue)),
            Command::Issue(issue) => (
                Method::IssueOrders,
                vec![
                    ids(&issue.order_ids),
                    optional(issue.customer_id.as_ref().map(CustomerId::as_str)),
                    optional(issue.pickup_point_id.as_ref().map(PickupPointId::as_str)),
                    mode(issue.mode),
                ],
            ),
            Command::AcceptReturn(accept_return) => (
                Method::AcceptReturn,
                vec![
                    accept_return.order_id.as_str().into(),
                    accept_return.customer_id.as_str().into(),
                    optional(accept_return.pickup_point_id.as_ref().map(PickupPointId::as_str)),
                ],
            ),
            Command::ReturnToCourier(to_courier) => (
                Method::ReturnToCourier,
                vec![
                    ids(&to_courier.order_ids),
                    optional(to_courier.pickup_point_id.as_ref().map(PickupPointId::as_str)),
                    mode(to_courier.mode),
                ],
            ),
        };
        Self { method, fields }
    }
}

fn accept_fields<'a>(accept: &'a Accept, catalogue: &Catalogue) -> Vec<Cow<'a, str>> {
    let mut packaging = String::new();
    for code in catalogue.container_first(&accept.packaging) {
        // Each code behind its length: codes are any strings, so no separator
        // is safe. A text takes whatever is written to it.
        _ = write!(packaging, "{}:{code}", code.as_str().len());
    }
    vec![
        accept.order_id.as_str().into(),
        accept.customer_id.as_str().into(),
        accept.storage_until.micros().to_string().into(),
        accept.weight.map(|weight| weight.get().to_string()).unwrap_or_default().into(),
        accept.price.minor().to_string().into(),
        packaging.into(),
        optional(accept.pickup_point_id.as_ref().map(PickupPointId::as_str)),
    ]
}

/// Keys are never empty, so the empty text stands for an absent one.
fn optional(key: Option<&str>) -> Cow<'_, str> {
    key.unwrap_or_default().into()
}

/// No key holds a comma.
fn ids(ids: &OrderIds) -> Cow<'_, str> {
    ids.as_slice().iter().map(super::OrderId::as_str).collect::<Vec<_>>().join(",").into()
}

fn mode(mode: BatchMode) -> Cow<'static, str> {
    match mode {
        BatchMode::Atomic => "atomic".into(),
        BatchMode::Partial => "partial".into(),
    }
}
