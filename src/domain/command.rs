//! Commands: requests to change orders, well formed.

use super::{
    CustomerId, Form, Grams, Money, OrderId, OrderView, PackagingCode, PickupPointId, Refusal, Timestamp,
};

/// The most orders of one batch.
pub const MAX_BATCH: usize = 100;

/// A request to change orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take an order from a courier.
    Accept(Accept),
    /// The same as a row of an import.
    Import(ImportRow),
    /// Give orders to their customer.
    Issue(Issue),
    /// Take an order back from its customer.
    AcceptReturn(AcceptReturn),
    /// Give expired and returned orders to a courier.
    ReturnToCourier(ReturnToCourier),
}

impl Command {
    /// The orders that the command names.
    pub fn order_ids(&self) -> &[OrderId] {
        match self {
            Self::Accept(accept) | Self::Import(ImportRow(accept)) => std::slice::from_ref(&accept.order_id),
            Self::Issue(issue) => issue.order_ids.as_slice(),
            Self::AcceptReturn(accept_return) => std::slice::from_ref(&accept_return.order_id),
            Self::ReturnToCourier(to_courier) => to_courier.order_ids.as_slice(),
        }
    }

    /// Whether it makes the orders that it names.
    pub const fn creates_orders(&self) -> bool {
        matches!(self, Self::Accept(_) | Self::Import(_))
    }
}

/// An order brought by a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The order's key.
    pub order_id: OrderId,
    /// Who may collect it.
    pub customer_id: CustomerId,
    /// The storage deadline.
    pub storage_until: Timestamp,
    /// Its weight, if known.
    pub weight: Option<Grams>,
    /// Its price; an absent one is 0.
    pub price: Money,
    /// How it is packed, as the request says it.
    pub packaging: Vec<PackagingCode>,
    /// The counter; absent: the default point.
    pub pickup_point_id: Option<PickupPointId>,
}

/// A row of an import: an accept for which an identical order that is there
/// already is no refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow(pub Accept);

/// Orders to give to one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// The orders.
    pub order_ids: OrderIds,
    /// The customer; absent: the customer of the first order that exists.
    pub customer_id: Option<CustomerId>,
    /// The counter; absent: the default point.
    pub pickup_point_id: Option<PickupPointId>,
    /// All or none, or what can be.
    pub mode: BatchMode,
}

/// An order brought back by its customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptReturn {
    /// The order.
    pub order_id: OrderId,
    /// The customer at the counter.
    pub customer_id: CustomerId,
    /// The counter; absent: the default point.
    pub pickup_point_id: Option<PickupPointId>,
}

/// Orders to give to a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnToCourier {
    /// The orders.
    pub order_ids: OrderIds,
    /// The counter; absent: the default point.
    pub pickup_point_id: Option<PickupPointId>,
    /// All or none, or what can be.
    pub mode: BatchMode,
}

/// How a batch treats orders that cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchMode {
    /// All or none.
    #[default]
    Atomic,
    /// What can be done is.
    Partial,
}

/// The orders of a batch: 1 to 100, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderIds(Vec<OrderId>);

impl OrderIds {
    /// Reads the field `order_ids`, and notes every fault: none at all, too
    /// many, malformed ones, and repeated ones at their later index.
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

    /// The orders, in the order asked.
    pub fn as_slice(&self) -> &[OrderId] {
        &self.0
    }
}

/// What a command that was not refused answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The order after the command.
    Order(OrderView),
    /// The row of an import was there already: the order as it is now.
    AlreadyExisted(OrderView),
    /// What became of each order, in the order asked.
    Results(Vec<OrderResult>),
}

/// What became of one order of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderResult {
    /// The order asked for.
    pub order_id: OrderId,
    /// The order after the command, or why nothing was done.
    pub outcome: Result<OrderView, Refusal>,
}
