//! A check of decisions before they are written: they must fit the orders that
//! were loaded. A decision that does not fit is a bug of the caller, and a retry
//! would not help. A decision that fits can only fail because another batch
//! committed first.

use std::collections::HashMap;

use super::error::Failure;
use crate::domain::OrderId;
use crate::ports::{Loaded, Writes};

/// The versions of the orders that were loaded.
#[derive(Debug)]
pub(super) struct LoadedVersions(HashMap<OrderId, i64>);

impl LoadedVersions {
    /// Takes the versions of the loaded orders.
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self(loaded.orders.values().map(|order| (order.order_id.clone(), order.version)).collect())
    }

    /// Checks that
    /// - new rows are sorted by their keys,
    /// - no inserted order was loaded,
    /// - every updated order was loaded with the version that it replaces,
    /// - the events of each order ascend to its new version.
    pub(super) fn check(&self, writes: &Writes) -> Result<(), Failure> {
        if !writes.inserted.is_sorted_by(|one, next| one.order_id < next.order_id)
            || !writes.records.is_sorted_by(|(one, _), (next, _)| one < next)
        {
            return Err(Failure::Inconsistent("orders or records are not sorted by key".to_owned()));
        }
        let mut last: HashMap<&OrderId, i64> = HashMap::new();
        for order in &writes.inserted {
            if let Some(version) = self.0.get(&order.order_id) {
                return inconsistent(&order.order_id, &format!("already exists, with version {version}"));
            }
            last.insert(&order.order_id, 0);
        }
        for (version, order) in &writes.updated {
            if self.0.get(&order.order_id) != Some(version) {
                return inconsistent(&order.order_id, &format!("was not loaded with version {version}"));
            }
            last.insert(&order.order_id, *version);
        }
        for event in &writes.events {
            let order_id = &event.order.order_id;
            match last.get_mut(order_id) {
                Some(sequence) if *sequence < event.sequence => *sequence = event.sequence,
                _ => return inconsistent(order_id, &format!("already has event {}", event.sequence)),
            }
        }
        let updated = writes.updated.iter().map(|(_, order)| order);
        let mut written = writes.inserted.iter().chain(updated);
        match written.find(|order| last.get(&order.order_id) != Some(&order.version)) {
            Some(order) => inconsistent(&order.order_id, "has a version without an event"),
            None => Ok(()),
        }
    }
}

fn inconsistent(order_id: &OrderId, what: &str) -> Result<(), Failure> {
    Err(Failure::Inconsistent(format!("orders {:?}: {what}", order_id.as_str())))
}
