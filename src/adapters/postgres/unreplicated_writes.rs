//! The writes of this process that its standby may not have replayed yet.

use std::collections::HashMap;
use std::hash::Hash;

use crate::domain::{CustomerId, Order, OrderId, PickupPointId};
use crate::ports::OrderFilter;

/// Orders that are tracked, about 20 MiB. With more, nothing is read from the
/// standby until it has caught up.
const MAX_TRACKED_ORDERS: usize = 65_536;

/// The ids by which a read may select an order.
pub(super) type OrderKeys = (OrderId, CustomerId, PickupPointId);

/// The orders that a read may return.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReadScope<'a> {
    Order(&'a OrderId),
    Customer(&'a CustomerId),
    PickupPoint(&'a PickupPointId),
    Everything,
}

impl<'a> From<&'a OrderFilter> for ReadScope<'a> {
    fn from(filter: &'a OrderFilter) -> Self {
        match (&filter.customer_id, &filter.pickup_point_id) {
            (Some(customer), _) => Self::Customer(customer),
            (None, Some(point)) => Self::PickupPoint(point),
            (None, None) => Self::Everything,
        }
    }
}

/// Writes, numbered from 1. Each key has the number of its last write.
#[derive(Debug, Default)]
pub(super) struct UnreplicatedWrites {
    /// The number of the last write.
    last: u64,
    /// The last write that is replicated, with all before it.
    replicated: u64,
    /// The last write whose keys are not tracked.
    untracked: u64,
    orders: HashMap<OrderId, u64>,
    customers: HashMap<CustomerId, u64>,
    points: HashMap<PickupPointId, u64>,
}

impl UnreplicatedWrites {
    /// Records a batch that wrote these orders.
    pub(super) fn record(&mut self, orders: &[OrderKeys]) {
        self.last += 1;
        if self.orders.len() + orders.len() > MAX_TRACKED_ORDERS {
            self.untracked = self.last;
            self.remove_up_to(self.last);
            return;
        }
        for (order, customer, point) in orders {
            set(&mut self.orders, order, self.last);
            set(&mut self.customers, customer, self.last);
            set(&mut self.points, point, self.last);
        }
    }

    /// Returns the number of the last write.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Records that the standby has replayed a write and all before it.
    pub(super) fn mark_replicated(&mut self, write: u64) {
        self.replicated = self.replicated.max(write);
        self.remove_up_to(write);
    }

    fn remove_up_to(&mut self, write: u64) {
        self.orders.retain(|_, last| *last > write);
        self.customers.retain(|_, last| *last > write);
        self.points.retain(|_, last| *last > write);
    }

    /// Returns true if all writes are replicated.
    pub(super) fn is_empty(&self) -> bool {
        self.replicated >= self.last
    }

    /// Returns true if all writes within the scope are replicated.
    pub(super) fn is_replicated(&self, scope: ReadScope<'_>) -> bool {
        if self.is_empty() {
            return true;
        }
        self.replicated >= self.untracked
            && match scope {
                ReadScope::Order(id) => !self.orders.contains_key(id),
                ReadScope::Customer(id) => !self.customers.contains_key(id),
                ReadScope::PickupPoint(id) => !self.points.contains_key(id),
                ReadScope::Everything => false,
            }
    }
}

/// Sets the last write of a key; clones only a new key.
fn set<K: Clone + Eq + Hash>(writes: &mut HashMap<K, u64>, key: &K, write: u64) {
    if let Some(last) = writes.get_mut(key) {
        *last = write;
    } else {
        writes.insert(key.clone(), write);
    }
}

/// Returns the ids by which a read may select the order.
pub(super) fn keys_of(order: &Order) -> OrderKeys {
    (order.order_id.clone(), order.customer_id.clone(), order.pickup_point_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: usize) -> OrderKeys {
        let (id, customer) = (format!("order-{number}"), format!("customer-{}", number % 10));
        (
            OrderId::parse(&id).unwrap(),
            CustomerId::parse(&customer).unwrap(),
            PickupPointId::parse(if number < 5 { "near" } else { "far" }).unwrap(),
        )
    }

    #[test]
    fn only_written_keys_are_unreplicated() {
        let mut writes = UnreplicatedWrites::default();
        let ((written, customer, point), (other, other_customer, other_point)) = (order(1), order(7));
        assert!(writes.is_replicated(ReadScope::Everything));
        writes.record(&[order(1)]);
        assert!(!writes.is_replicated(ReadScope::Everything));
        assert!(!writes.is_replicated(ReadScope::Order(&written)));
        assert!(writes.is_replicated(ReadScope::Order(&other)));
        assert!(!writes.is_replicated(ReadScope::Customer(&customer)));
        assert!(writes.is_replicated(ReadScope::Customer(&other_customer)));
        assert!(!writes.is_replicated(ReadScope::PickupPoint(&point)));
        assert!(writes.is_replicated(ReadScope::PickupPoint(&other_point)));
        // Written again before the first write is replicated.
        let first = writes.last();
        writes.record(&[order(1)]);
        writes.mark_replicated(first);
        assert!(!writes.is_replicated(ReadScope::Order(&written)));
        writes.mark_replicated(writes.last());
        assert!(writes.is_replicated(ReadScope::Order(&written)));
        assert!(writes.is_replicated(ReadScope::Everything));
    }

    #[test]
    fn too_many_orders_make_every_read_unreplicated() {
        let mut writes = UnreplicatedWrites::default();
        for number in 0..=MAX_TRACKED_ORDERS {
            writes.record(&[order(number)]);
        }
        let unwritten = order(MAX_TRACKED_ORDERS + 7).0;
        assert!(writes.orders.is_empty() && !writes.is_replicated(ReadScope::Order(&unwritten)));
        let untracked = writes.last();
        writes.record(&[order(1)]);
        writes.mark_replicated(untracked);
        assert!(writes.is_replicated(ReadScope::Order(&unwritten)));
        assert!(!writes.is_replicated(ReadScope::Order(&order(1).0)));
    }
}
