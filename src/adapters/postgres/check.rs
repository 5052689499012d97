//! Whether what was decided fits what was loaded. What does not is a fault of
//! whoever decided, and running the batch again would not mend it; what fits
//! can only fail because another batch was first.

use std::collections::HashMap;

use super::error::Failure;
use crate::domain::OrderId;
use crate::ports::{Loaded, Writes};

/// The versions of the orders that were loaded.
#[derive(Debug)]
pub(super) struct Versions(HashMap<OrderId, i64>);

impl Versions {
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self(loaded.orders.values().map(|order| (order.order_id.clone(), order.version)).collect())
    }

    /// Checks that nothing is inserted that was there, nothing changed that was
    /// not, that the events of each order go up to its version, and that new
    /// rows come in the order of their keys.
    pub(super) fn check(&self, writes: &Writes) -> Result<(), Failure> {
        if !writes.inserted.is_sorted_by(|one, next| one.order_id < next.order_id)
            || !writes.records.is_sorted_by(|(one, _), (next, _)| one < next)
        {
            return Err(Failure::Inconsistent(
                "orders or records are not in the order of their keys".to_owned(),
            ));
        }
        let mut last: HashMap<&OrderId, i64> = HashMap::new();
        for order in &writes.inserted {
            if let Some(version) = self.0.get(&order.order_id) {
                return wrong(&order.order_id, &format!("is there already, with version {version}"));
            }
            last.insert(&order.order_id, 0);
        }
        for (version, order) in &writes.updated {
            if self.0.get(&order.order_id) != Some(version) {
                return wrong(&order.order_id, &format!("has no version {version} to change"));
            }
            last.insert(&order.order_id, *version);
        }
        for event in &writes.events {
            let order_id = &event.order.order_id;
            match last.get_mut(order_id) {
                Some(sequence) if *sequence < event.sequence => *sequence = event.sequence,
                _ => return wrong(order_id, &format!("has its event {} already", event.sequence)),
            }
        }
        let changed = writes.updated.iter().map(|(_, order)| order);
        match writes
            .inserted
            .iter()
            .chain(changed)
            .find(|order| last.get(&order.order_id) != Some(&order.version))
        {
            Some(order) => wrong(&order.order_id, "has a version without its event"),
            None => Ok(()),
        }
    }
}

fn wrong(order_id: &OrderId, what: &str) -> Result<(), Failure> {
    Err(Failure::Inconsistent(format!("orders {:?}: {what}", order_id.as_str())))
}
