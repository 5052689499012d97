//! Commands: well-formed requests to change orders.

use super::{
    CustomerId, Form, Grams, Money, OrderId, OrderView, PackagingCode, PickupPointId, Refusal, Timestamp,
};

/// The maximum number of orders in a batch.
pub const MAX_BATCH: usize = 100;

/// A command: a request to change orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Accept an order from a courier.
    Accept(Accept),
    /// Accept an order that is a row of an import.
    Import(ImportRow),
    /// Issue orders to their customer.
    Issue(Issue),
    /// Accept a return from a customer.
    AcceptReturn(AcceptReturn),
    /// Hand expired and returned orders to a courier.
    ReturnToCourier(ReturnToCourier),
}

impl Command {
    /// Returns the orders that the command names.
    pub fn order_ids(&self) -> &[OrderId] {
        match self {
            Self::Accept(accept) | Self::Import(ImportRow(accept)) => std::slice::from_ref(&accept.order_id),
            Self::Issue(issue) => issue.order_ids.as_slice(),
            Self::AcceptReturn(accept_return) => std::slice::from_ref(&accept_return.order_id),
            Self::ReturnToCourier(to_courier) => to_courier.order_ids.as_slice(),
        }
    }

    /// Returns true if the command creates the orders that it names.
    pub const fn creates_orders(&self) -> bool {
        matches!(self, Self::Accept(_) | Self::Import(_))
    }
}

/// An order brought by a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The order's key.
    pub order_id: OrderId,
    /// The customer who may collect it.
    pub customer_id: CustomerId,
    /// The storage deadline.
    pub storage_until: Timestamp,
    /// The weight, if known.
    pub weight: Option<Grams>,
    /// The price; absent in the request means 0.
    pub price: Money,
    /// The packaging codes, as sent.
    pub packaging: Vec<PackagingCode>,
    /// The pickup point; `None` means the default one.
    pub pickup_point_id: Option<PickupPointId>,
}

/// A row of an import: an accept that succeeds if an identical order already exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow(pub Accept);

/// Orders to issue to one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// The orders.
    pub order_ids: OrderIds,
    /// The customer; `None` means the customer of the first existing order.
    pub customer_id: Option<CustomerId>,
    /// The pickup point; `None` means the default one.
    pub pickup_point_id: Option<PickupPointId>,
    /// The batch mode.
    pub mode: BatchMode,
}

/// An order returned by its customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptReturn {
    /// The order.
    pub order_id: OrderId,
    /// The customer who returns it.
    pub customer_id: CustomerId,
    /// The pickup point; `None` means the default one.
    pub pickup_point_id: Option<PickupPointId>,
}

/// Orders to hand to a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnToCourier {
    /// The orders.
    pub order_ids: OrderIds,
    /// The pickup point; `None` means the default one.
    pub pickup_point_id: Option<PickupPointId>,
    /// The batch mode.
    pub mode: BatchMode,
}

/// The treatment of refused orders in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchMode {
    /// All orders or none.
    #[default]
    Atomic,
    /// Every order that is not refused.
    Partial,
}

/// The orders of a batch: 1 to 100, without repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderIds(Vec<OrderId>);

impl OrderIds {
    /// Parses the field `order_ids`. Adds a violation for an empty list, too many ids, each
    /// malformed id, and each repeated id at its later index.
    pub fn parse(form: &mut Form, ids: &[String]) -> Option<Self> {
        if ids.is_empty() {
            form.fault("order_ids", "must name at least one order");
            return None;
        }
        if ids.len() > MAX_BATCH {
            form.fault("order_ids", format!("must name at most {MAX_BATCH} orders, not {}", ids.len()));
            return None;
        }
        let mut seen = std::collections::HashSet::with_capacity(ids.len());
        let mut parsed = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            let field = format!("order_ids[{index}]");
            if let Some(order_id) = form.field(&field, OrderId::parse(id)) {
                if !seen.insert(id.as_str()) {
                    form.fault(field, "repeats an earlier order");
                }
                parsed.push(order_id);
            }
        }
        (parsed.len() == ids.len()).then_some(Self(parsed))
    }

    /// Returns the ids, in the order of the request.
    pub fn as_slice(&self) -> &[OrderId] {
        &self.0
    }
}

/// The answer to a command that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The order after the command.
    Order(OrderView),
    /// The order of an import row that already existed, as it is now.
    AlreadyExisted(OrderView),
    /// The result of each order, in the order of the request.
    Results(Vec<OrderResult>),
}

/// The result of one order of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderResult {
    /// The requested order.
    pub order_id: OrderId,
    /// The order after the command, or the refusal.
    pub outcome: Result<OrderView, Refusal>,
}
