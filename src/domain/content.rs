//! The content of a command, to recognise a repeated `request_id`: the RPC and its fields as
//! sent, in message order. Configured defaults, the actor and the `request_id` are not part of
//! it (`docs/domain.md`, Idempotency).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{
    Accept, AcceptReturn, BatchMode, Catalogue, Command, CustomerId, ImportRow, Issue, OrderIds,
    PickupPointId, ReturnToCourier,
};

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
    /// All methods that change orders.
    pub const ALL: [Self; 5] =
        [Self::AcceptOrder, Self::ImportOrders, Self::IssueOrders, Self::AcceptReturn, Self::ReturnToCourier];

    /// Returns the name of the RPC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptOrder => "AcceptOrder",
            Self::ImportOrders => "ImportOrders",
            Self::IssueOrders => "IssueOrders",
            Self::AcceptReturn => "AcceptReturn",
            Self::ReturnToCourier => "ReturnToCourier",
        }
    }

    /// Returns the method with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The fields of the first release, in message order. Stored idempotency
    /// records hold one hash for each of them and no names, so this list never
    /// changes; a field added later goes into [`Method::later_fields`].
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

    /// The fields added after the first release, in message order. Stored with
    /// their names, and only when the request has them.
    pub const fn later_fields(self) -> &'static [&'static str] {
        match self {
            Self::AcceptOrder
            | Self::ImportOrders
            | Self::IssueOrders
            | Self::AcceptReturn
            | Self::ReturnToCourier => &[],
        }
    }
}

/// The content of a command. Two commands are the same when their contents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<'a> {
    /// The RPC.
    pub method: Method,
    /// A string for each of [`Method::fields`].
    pub fields: Vec<Cow<'a, str>>,
    /// The present ones of [`Method::later_fields`], by name.
    pub later_fields: BTreeMap<&'static str, Cow<'a, str>>,
}

impl<'a> Content<'a> {
    /// Returns the content of a command. The catalogue determines which packaging is the container;
    /// it comes first.
    pub fn of(command: &'a Command, catalogue: &Catalogue) -> Self {
        // Every field is named, so a field that is added does not compile until
        // it is part of the content.
        match command {
            Command::Accept(accept) => Self::of_accept(Method::AcceptOrder, accept, catalogue),
            Command::Import(ImportRow(accept)) => Self::of_accept(Method::ImportOrders, accept, catalogue),
            Command::Issue(Issue { order_ids, customer_id, pickup_point_id, mode }) => Self::new(
                Method::IssueOrders,
                vec![
                    ids(order_ids),
                    optional(customer_id.as_ref().map(CustomerId::as_str)),
                    optional(pickup_point_id.as_ref().map(PickupPointId::as_str)),
                    mode_text(*mode),
                ],
            ),
            Command::AcceptReturn(AcceptReturn { order_id, customer_id, pickup_point_id }) => Self::new(
                Method::AcceptReturn,
                vec![
                    order_id.as_str().into(),
                    customer_id.as_str().into(),
                    optional(pickup_point_id.as_ref().map(PickupPointId::as_str)),
                ],
            ),
            Command::ReturnToCourier(ReturnToCourier { order_ids, pickup_point_id, mode }) => Self::new(
                Method::ReturnToCourier,
                vec![
                    ids(order_ids),
                    optional(pickup_point_id.as_ref().map(PickupPointId::as_str)),
                    mode_text(*mode),
                ],
            ),
        }
    }

    fn new(method: Method, fields: Vec<Cow<'a, str>>) -> Self {
        Self { method, fields, later_fields: BTreeMap::new() }
    }

    fn of_accept(method: Method, accept: &'a Accept, catalogue: &Catalogue) -> Self {
        let Accept { order_id, customer_id, storage_until, weight, price, packaging, pickup_point_id } =
            accept;
        let mut codes = String::new();
        for code in catalogue.container_first(packaging) {
            // Each code after its length: codes are arbitrary strings, so no
            // separator is safe. Writing to a string never fails.
            _ = write!(codes, "{}:{code}", code.as_str().len());
        }
        let fields = vec![
            order_id.as_str().into(),
            customer_id.as_str().into(),
            storage_until.micros().to_string().into(),
            weight.map(|weight| weight.get().to_string()).unwrap_or_default().into(),
            price.minor().to_string().into(),
            codes.into(),
            optional(pickup_point_id.as_ref().map(PickupPointId::as_str)),
        ];
        Self::new(method, fields)
    }
}

/// Keys are never empty, so the empty string stands for an absent one.
fn optional(key: Option<&str>) -> Cow<'_, str> {
    key.unwrap_or_default().into()
}

/// No key holds a comma.
fn ids(ids: &OrderIds) -> Cow<'_, str> {
    ids.as_slice().iter().map(super::OrderId::as_str).collect::<Vec<_>>().join(",").into()
}

fn mode_text(mode: BatchMode) -> Cow<'static, str> {
    match mode {
        BatchMode::Atomic => "atomic".into(),
        BatchMode::Partial => "partial".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    /// Stored records hold a hash for each of these by position: a list that
    /// differs makes every stored answer unreadable, for this release or for
    /// the previous one.
    #[test]
    fn the_fields_of_the_first_release_are_frozen() {
        let accept = [
            "order_id",
            "customer_id",
            "storage_until",
            "weight_grams",
            "price_minor",
            "packaging",
            "pickup_point_id",
        ];
        let frozen: [&[&str]; 5] = [
            &accept,
            &accept,
            &["order_ids", "customer_id", "pickup_point_id", "mode"],
            &["order_id", "customer_id", "pickup_point_id"],
            &["order_ids", "pickup_point_id", "mode"],
        ];
        assert_eq!(Method::ALL.map(Method::fields), frozen, "add fields to Method::later_fields");
    }
}
