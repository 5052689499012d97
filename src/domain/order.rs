//! Orders and their states.

use std::sync::Arc;

use super::{Currency, CustomerId, Grams, Money, OrderId, PackagingCode, PickupPointId, Timestamp};

/// A parcel for a customer: the fold of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order's key.
    pub order_id: OrderId,
    /// The customer who may collect it.
    pub customer_id: CustomerId,
    /// The pickup point that accepted it.
    pub pickup_point_id: PickupPointId,
    /// The state, with its instants.
    pub state: OrderState,
    /// The storage deadline: the order may be issued while `now < storage_until`.
    pub storage_until: Timestamp,
    /// The instant at which the courier brought it.
    pub accepted_at: Timestamp,
    /// The weight, if known.
    pub weight: Option<Grams>,
    /// The price.
    pub price: Money,
    /// The surcharge of the packaging, fixed when the order was accepted.
    pub surcharge: Money,
    /// The currency of the amounts.
    pub currency: Currency,
    /// The packaging, container first. Shared, because an order is copied into its event, its
    /// answer and the next decision.
    pub packaging: Arc<[PackagingCode]>,
    /// The sequence of its last event.
    pub version: i64,
}

/// The instants at which an order was issued and returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnedAt {
    /// The instant at which it was issued.
    pub issued_at: Timestamp,
    /// The instant at which it was returned.
    pub returned_at: Timestamp,
}

/// The state of an order, with the instants that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// At the pickup point, waiting for the customer.
    Stored,
    /// Collected by the customer.
    Issued {
        /// The instant at which it was issued.
        issued_at: Timestamp,
    },
    /// Returned by the customer, at the pickup point.
    Returned(ReturnedAt),
    /// Handed to a courier. This state is final.
    HandedToCourier {
        /// Set if the customer had returned the order, `None` if its storage had expired.
        returned: Option<ReturnedAt>,
        /// The instant at which it was handed over.
        handed_to_courier_at: Timestamp,
    },
}

/// The name of a state, without its instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateName {
    /// At the pickup point, waiting for the customer.
    Stored,
    /// Collected by the customer.
    Issued,
    /// Returned by the customer, at the pickup point.
    Returned,
    /// Handed to a courier.
    HandedToCourier,
}

impl StateName {
    /// All states, in the order of the lifecycle.
    pub const ALL: [Self; 4] = [Self::Stored, Self::Issued, Self::Returned, Self::HandedToCourier];
}

impl Order {
    /// Returns the name of the state.
    pub fn state_name(&self) -> StateName {
        match self.state {
            OrderState::Stored => StateName::Stored,
            OrderState::Issued { .. } => StateName::Issued,
            OrderState::Returned(_) => StateName::Returned,
            OrderState::HandedToCourier { .. } => StateName::HandedToCourier,
        }
    }

    /// Returns true if the order is STORED and its storage deadline has passed.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self.state, OrderState::Stored) && now >= self.storage_until
    }

    /// Returns the instant at which it was issued.
    pub fn issued_at(&self) -> Option<Timestamp> {
        match self.state {
            OrderState::Stored | OrderState::HandedToCourier { returned: None, .. } => None,
            OrderState::Issued { issued_at } => Some(issued_at),
            OrderState::Returned(at) | OrderState::HandedToCourier { returned: Some(at), .. } => {
                Some(at.issued_at)
            }
        }
    }

    /// Returns the instant at which it was returned.
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

    /// Returns the instant at which it was handed to a courier.
    pub fn handed_to_courier_at(&self) -> Option<Timestamp> {
        match self.state {
            OrderState::HandedToCourier { handed_to_courier_at, .. } => Some(handed_to_courier_at),
            _ => None,
        }
    }

    /// Returns the instant of its last event.
    pub fn changed_at(&self) -> Timestamp {
        match self.state {
            OrderState::Stored => self.accepted_at,
            OrderState::Issued { issued_at } => issued_at,
            OrderState::Returned(at) => at.returned_at,
            OrderState::HandedToCourier { handed_to_courier_at, .. } => handed_to_courier_at,
        }
    }

    /// Returns the order as shown at an instant.
    pub fn at(self, now: Timestamp) -> OrderView {
        OrderView { expired: self.is_expired(now), order: self }
    }
}

/// An order as shown in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    /// The order.
    pub order: Order,
    /// True if it was expired when the answer was computed.
    pub expired: bool,
}
