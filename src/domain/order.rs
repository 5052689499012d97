//! An order and its states.

use std::sync::Arc;

use super::{Currency, CustomerId, Grams, Money, OrderId, PackagingCode, PickupPointId, Timestamp};

/// One parcel for one customer: the fold of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order's key.
    pub order_id: OrderId,
    /// Who may collect it.
    pub customer_id: CustomerId,
    /// The counter that accepted it.
    pub pickup_point_id: PickupPointId,
    /// Where it is in its life.
    pub state: OrderState,
    /// It may be issued while `now < storage_until`.
    pub storage_until: Timestamp,
    /// When the courier brought it.
    pub accepted_at: Timestamp,
    /// Its weight, if known.
    pub weight: Option<Grams>,
    /// Its price.
    pub price: Money,
    /// What the packaging added, fixed when the order was accepted.
    pub surcharge: Money,
    /// The currency of the amounts.
    pub currency: Currency,
    /// How it is packed, the container first. Shared, because an order goes into
    /// its event, its answer and the next decision.
    pub packaging: Arc<[PackagingCode]>,
    /// How many events it has had; the sequence of the last one.
    pub version: i64,
}

/// When a customer had an order and brought it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnedAt {
    /// When the customer collected it.
    pub issued_at: Timestamp,
    /// When the customer brought it back.
    pub returned_at: Timestamp,
}

/// Where an order is in its life, with the instants that this implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// At the point, for the customer.
    Stored,
    /// The customer has it.
    Issued {
        /// Since when.
        issued_at: Timestamp,
    },
    /// Brought back, at the point.
    Returned(ReturnedAt),
    /// Gone with a courier; final.
    HandedToCourier {
        /// Set if the customer had it in between, absent if it expired.
        returned: Option<ReturnedAt>,
        /// Since when.
        handed_to_courier_at: Timestamp,
    },
}

/// The name of a state, without its instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateName {
    /// At the point, for the customer.
    Stored,
    /// The customer has it.
    Issued,
    /// Brought back, at the point.
    Returned,
    /// Gone with a courier.
    HandedToCourier,
}

impl StateName {
    /// Every state, in the order of life.
    pub const ALL: [Self; 4] = [Self::Stored, Self::Issued, Self::Returned, Self::HandedToCourier];
}

impl Order {
    /// The name of the order's state.
    pub fn state_name(&self) -> StateName {
        match self.state {
            OrderState::Stored => StateName::Stored,
            OrderState::Issued { .. } => StateName::Issued,
            OrderState::Returned(_) => StateName::Returned,
            OrderState::HandedToCourier { .. } => StateName::HandedToCourier,
        }
    }

    /// STORED, and the storage deadline has passed.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self.state, OrderState::Stored) && now >= self.storage_until
    }

    /// When the customer collected it.
    pub fn issued_at(&self) -> Option<Timestamp> {
        match self.state {
            OrderState::Stored | OrderState::HandedToCourier { returned: None, .. } => None,
            OrderState::Issued { issued_at } => Some(issued_at),
            OrderState::Returned(at) | OrderState::HandedToCourier { returned: Some(at), .. } => {
                Some(at.issued_at)
            }
        }
    }

    /// When the customer brought it back.
    pub fn returned_at(&self) -> Option<Timestamp> {
        match self.state {
            OrderState::Stored
            | OrderState::Issued { .. }
            | OrderState::HandedToCourier { returned: None, .. } => None,
            OrderState::Returned(at) | OrderState::HandedToCourier { returned: Some(at), .. } => {
                Some(at.returned_at)
            }
        }
    }

    /// When it went away with a courier.
    pub fn handed_to_courier_at(&self) -> Option<Timestamp> {
        match self.state {
            OrderState::HandedToCourier { handed_to_courier_at, .. } => Some(handed_to_courier_at),
            _ => None,
        }
    }

    /// When its last event occurred.
    pub fn changed_at(&self) -> Timestamp {
        match self.state {
            OrderState::Stored => self.accepted_at,
            OrderState::Issued { issued_at } => issued_at,
            OrderState::Returned(at) => at.returned_at,
            OrderState::HandedToCourier { handed_to_courier_at, .. } => handed_to_courier_at,
        }
    }

    /// The order as an answer shows it at that instant.
    pub fn at(self, now: Timestamp) -> OrderView {
        OrderView { expired: self.is_expired(now), order: self }
    }
}

/// An order as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    /// The order.
    pub order: Order,
    /// Whether it was expired when the answer was made.
    pub expired: bool,
}
