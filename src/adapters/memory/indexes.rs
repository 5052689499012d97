//! The indexes behind the lists, so that no list scans all orders.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::domain::{CustomerId, Order, OrderId, PickupPointId, StateName, Timestamp};

/// Order ids by an instant, then by id.
pub(super) type ByInstant = BTreeSet<(Timestamp, OrderId)>;

/// The orders of each pickup point, or of each customer, by an instant.
#[derive(Debug)]
pub(super) struct Grouped<K>(HashMap<K, ByInstant>);

impl<K> Default for Grouped<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Grouped<K> {
    pub(super) fn of(&self, key: &K) -> Option<&ByInstant> {
        self.0.get(key)
    }

    fn insert(&mut self, key: &K, item: (Timestamp, OrderId)) {
        self.0.entry(key.clone()).or_default().insert(item);
    }

    fn remove(&mut self, key: &K, item: &(Timestamp, OrderId)) {
        if let Some(items) = self.0.get_mut(key) {
            items.remove(item);
        }
    }
}

/// Every index of the orders.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    /// All orders, by `accepted_at`.
    pub(super) accepted: ByInstant,
    /// All orders of each customer, by `accepted_at`.
    pub(super) by_customer: Grouped<CustomerId>,
    /// All orders of each pickup point, by `accepted_at`.
    pub(super) by_point: Grouped<PickupPointId>,
    /// Orders in state RETURNED, by `returned_at`.
    pub(super) returned: ByInstant,
    /// Orders in state RETURNED of each pickup point, by `returned_at`.
    pub(super) returned_by_point: Grouped<PickupPointId>,
    /// Orders in state STORED, by `storage_until`.
    pub(super) stored: ByInstant,
}

impl Indexes {
    /// Adds an order, replacing its older version.
    pub(super) fn insert_instead(&mut self, before: Option<&Order>, order: &Order) {
        if let Some(before) = before {
            self.remove(before);
        }
        self.insert(order);
    }

    fn insert(&mut self, order: &Order) {
        let accepted = (order.accepted_at, order.order_id.clone());
        self.by_customer.insert(&order.customer_id, accepted.clone());
        self.by_point.insert(&order.pickup_point_id, accepted.clone());
        self.accepted.insert(accepted);
        match (order.state_name(), order.returned_at()) {
            (StateName::Stored, _) => {
                self.stored.insert((order.storage_until, order.order_id.clone()));
            }
            (StateName::Returned, Some(returned_at)) => {
                let returned = (returned_at, order.order_id.clone());
                self.returned_by_point.insert(&order.pickup_point_id, returned.clone());
                self.returned.insert(returned);
            }
            _ => {}
        }
    }

    fn remove(&mut self, order: &Order) {
        let accepted = (order.accepted_at, order.order_id.clone());
        self.by_customer.remove(&order.customer_id, &accepted);
        self.by_point.remove(&order.pickup_point_id, &accepted);
        self.accepted.remove(&accepted);
        self.stored.remove(&(order.storage_until, order.order_id.clone()));
        if let Some(returned_at) = order.returned_at() {
            let returned = (returned_at, order.order_id.clone());
            self.returned_by_point.remove(&order.pickup_point_id, &returned);
            self.returned.remove(&returned);
        }
    }
}
