//! What this process has written and its standby may not show yet.

use std::collections::HashMap;
use std::hash::Hash;

use crate::domain::{CustomerId, Order, OrderId, PickupPointId};
use crate::ports::OrderFilter;

/// Orders kept in mind, about 20 MiB. Beyond, nothing at all is read from the
/// standby until it has caught up.
const KEPT: usize = 65_536;

/// What a read is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    Order(&'a OrderId),
    Customer(&'a CustomerId),
    Point(&'a PickupPointId),
    Everything,
}

impl<'a> From<&'a OrderFilter> for About<'a> {
    fn from(filter: &'a OrderFilter) -> Self {
        match (&filter.customer_id, &filter.pickup_point_id) {
            (Some(customer), _) => Self::Customer(customer),
            (None, Some(point)) => Self::Point(point),
            (None, None) => Self::Everything,
        }
    }
}

/// Writes are numbered from 1; each is shown, or not yet.
#[derive(Debug, Default)]
pub(super) struct UnreplicatedWrites {
    /// The number of the last write.
    last: u64,
    /// The last one that the standby shows, with all before it.
    shown: u64,
    /// Up to here it is not known what was written.
    forgotten: u64,
    orders: HashMap<OrderId, u64>,
    customers: HashMap<CustomerId, u64>,
    points: HashMap<PickupPointId, u64>,
}

impl UnreplicatedWrites {
    /// Notes the orders that a batch wrote.
    pub(super) fn write(&mut self, orders: &[(OrderId, CustomerId, PickupPointId)]) {
        self.last += 1;
        if self.orders.len() + orders.len() > KEPT {
            self.forgotten = self.last;
            self.forget(self.last);
            return;
        }
        for (order, customer, point) in orders {
            note(&mut self.orders, order, self.last);
            note(&mut self.customers, customer, self.last);
            note(&mut self.points, point, self.last);
        }
    }

    /// The number of the last write.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The standby shows that write and all before it.
    pub(super) fn show(&mut self, write: u64) {
        self.shown = self.shown.max(write);
        self.forget(write);
    }

    fn forget(&mut self, write: u64) {
        self.orders.retain(|_, last| *last > write);
        self.customers.retain(|_, last| *last > write);
        self.points.retain(|_, last| *last > write);
    }

    /// Whether everything is shown.
    pub(super) fn is_empty(&self) -> bool {
        self.shown >= self.last
    }

    /// Whether the standby shows all that was written of it.
    pub(super) fn shows(&self, about: About<'_>) -> bool {
        if self.is_empty() {
            return true;
        }
        self.shown >= self.forgotten
            && match about {
                About::Order(id) => !self.orders.contains_key(id),
                About::Customer(id) => !self.customers.contains_key(id),
                About::Point(id) => !self.points.contains_key(id),
                About::Everything => false,
            }
    }
}

/// Without a copy of a key that is there.
fn note<K: Clone + Eq + Hash>(notes: &mut HashMap<K, u64>, key: &K, write: u64) {
    if let Some(last) = notes.get_mut(key) {
        *last = write;
    } else {
        notes.insert(key.clone(), write);
    }
}

/// What of an order a read may be about.
pub(super) fn names(order: &Order) -> (OrderId, CustomerId, PickupPointId) {
    (order.order_id.clone(), order.customer_id.clone(), order.pickup_point_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: usize) -> (OrderId, CustomerId, PickupPointId) {
        let (id, customer) = (format!("order-{number}"), format!("customer-{}", number % 10));
        (
            OrderId::parse(&id).unwrap(),
            CustomerId::parse(&customer).unwrap(),
            PickupPointId::parse(if number < 5 { "near" } else { "far" }).unwrap(),
        )
    }

    #[test]
    fn only_what_was_written_is_read_elsewhere() {
        let mut unreplicated_writes = UnreplicatedWrites::default();
        let ((one, customer, near), (two, other, far)) = (order(1), order(7));
        assert!(unreplicated_writes.shows(About::Everything));
        unreplicated_writes.write(&[order(1)]);
        assert!(!unreplicated_writes.shows(About::Everything));
        assert!(
            !unreplicated_writes.shows(About::Order(&one)) && unreplicated_writes.shows(About::Order(&two))
        );
        assert!(
            !unreplicated_writes.shows(About::Customer(&customer))
                && unreplicated_writes.shows(About::Customer(&other))
        );
        assert!(
            !unreplicated_writes.shows(About::Point(&near)) && unreplicated_writes.shows(About::Point(&far))
        );
        // Written again before the first write is shown, it is still not.
        let first = unreplicated_writes.last();
        unreplicated_writes.write(&[order(1)]);
        unreplicated_writes.show(first);
        assert!(!unreplicated_writes.shows(About::Order(&one)));
        unreplicated_writes.show(unreplicated_writes.last());
        assert!(
            unreplicated_writes.shows(About::Order(&one)) && unreplicated_writes.shows(About::Everything)
        );
    }

    #[test]
    fn more_than_can_be_kept_is_everything() {
        let mut unreplicated_writes = UnreplicatedWrites::default();
        for number in 0..=KEPT {
            unreplicated_writes.write(&[order(number)]);
        }
        let stranger = order(KEPT + 7).0;
        assert!(unreplicated_writes.orders.is_empty() && !unreplicated_writes.shows(About::Order(&stranger)));
        let forgotten = unreplicated_writes.last();
        unreplicated_writes.write(&[order(1)]);
        unreplicated_writes.show(forgotten);
        assert!(
            unreplicated_writes.shows(About::Order(&stranger))
                && !unreplicated_writes.shows(About::Order(&order(1).0))
        );
    }
}
