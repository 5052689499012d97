//! The data of the store, and the effects of a batch on it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use super::indexes::{ByInstant, Indexes};
use crate::domain::{Event, Order, OrderId, PickupPointId, StateName, Timestamp};
use crate::ports::{
    AuditedOrder, Batch, IdempotencyKey, IdempotencyRecord, Loaded, LoggedEvent, OrderFilter, Page,
    PortError, Position, Writes,
};

#[derive(Debug, Default)]
pub(super) struct MemoryState {
    orders: BTreeMap<OrderId, Order>,
    indexes: Indexes,
    /// The event at position `n` is `events[n - 1]`.
    events: Vec<Event>,
    /// The indexes in `events` of the events of each order, in sequence.
    histories: BTreeMap<OrderId, Vec<usize>>,
    records: HashMap<IdempotencyKey, IdempotencyRecord>,
    records_by_age: BTreeSet<(Timestamp, IdempotencyKey)>,
}

impl MemoryState {
    pub(super) fn load(&self, batch: &Batch) -> Loaded {
        let orders = batch.order_ids.iter().filter_map(|id| Some((id.clone(), self.orders.get(id)?.clone())));
        let records = batch
            .idempotency_keys
            .iter()
            .filter_map(|key| Some((key.clone(), self.records.get(key)?.clone())));
        Loaded { orders: orders.collect(), records: records.collect() }
    }

    /// Checks the writes, as the constraints of a database would.
    pub(super) fn check(&self, writes: &Writes) -> Result<(), PortError> {
        let mut inserted = HashSet::with_capacity(writes.inserted.len());
        for Order { order_id, .. } in &writes.inserted {
            if self.orders.contains_key(order_id) || !inserted.insert(order_id) {
                return Err(PortError::inconsistent(format!("orders: {order_id} is inserted twice")));
            }
        }
        for (loaded, Order { order_id, .. }) in &writes.updated {
            if self.orders.get(order_id).is_none_or(|order| order.version != *loaded) {
                let message = format!(
                    "orders: {order_id} cannot be updated, because it does not have version {loaded}"
                );
                return Err(PortError::inconsistent(message));
            }
        }
        let mut ends: HashMap<&OrderId, i64> = HashMap::new();
        for Event { sequence, order: Order { order_id, .. }, .. } in &writes.events {
            if !self.orders.contains_key(order_id) && !inserted.contains(order_id) {
                return Err(PortError::inconsistent(format!("order_events: {order_id} has no order")));
            }
            let end = ends.entry(order_id).or_insert_with(|| self.last_sequence(order_id));
            if *sequence <= *end {
                let message = format!("order_events: {order_id} already has an event {sequence}");
                return Err(PortError::inconsistent(message));
            }
            *end = *sequence;
        }
        Ok(())
    }

    fn last_sequence(&self, order_id: &OrderId) -> i64 {
        let last = self.histories.get(order_id).and_then(|history| history.last());
        last.map_or(0, |index| self.events[*index].sequence)
    }

    /// Applies checked writes. It cannot fail, so no part of a batch is ever visible alone.
    pub(super) fn apply(&mut self, writes: Writes) {
        for order in writes.inserted.into_iter().chain(writes.updated.into_iter().map(|(_, order)| order)) {
            self.indexes.insert_instead(self.orders.get(&order.order_id), &order);
            self.orders.insert(order.order_id.clone(), order);
        }
        for event in writes.events {
            self.histories.entry(event.order.order_id.clone()).or_default().push(self.events.len());
            self.events.push(event);
        }
        for (key, record) in writes.records {
            self.records_by_age.insert((record.created_at, key.clone()));
            if let Some(old) = self.records.insert(key.clone(), record.clone())
                && old.created_at != record.created_at
            {
                self.records_by_age.remove(&(old.created_at, key));
            }
        }
    }

    pub(super) fn order(&self, order_id: &OrderId) -> Option<Order> {
        self.orders.get(order_id).cloned()
    }

    pub(super) fn orders(&self, filter: &OrderFilter, page: &Page) -> Vec<Order> {
        let matching = |order: &&Order| matches(filter, order);
        if let Some(customer_id) = &filter.customer_id {
            return self.newest(self.indexes.by_customer.of(customer_id), page, matching);
        }
        // Few orders are expired or returned at a time, and they do not stay.
        if let Some((true, now)) = filter.expired {
            let expired = self.indexes.stored.iter().take_while(|(until, _)| *until <= now);
            return self.sorted(expired, page, matching);
        }
        if filter.states.iter().eq([&StateName::Returned]) {
            return self.sorted(self.indexes.returned.iter(), page, matching);
        }
        match &filter.pickup_point_id {
            Some(point) => self.newest(self.indexes.by_point.of(point), page, matching),
            None => self.newest(Some(&self.indexes.accepted), page, matching),
        }
    }

    pub(super) fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Vec<Order> {
        let index = match point {
            Some(point) => self.indexes.returned_by_point.of(point),
            None => Some(&self.indexes.returned),
        };
        self.newest(index, page, |_| true)
    }

    /// Returns a page of an index that has the order of the list.
    fn newest(
        &self,
        index: Option<&ByInstant>,
        page: &Page,
        matching: impl Fn(&&Order) -> bool,
    ) -> Vec<Order> {
        let Some(index) = index else { return Vec::new() };
        let end = page.below.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let newest_first = index.range::<(Timestamp, OrderId), _>((Bound::Unbounded, end)).rev();
        let orders = newest_first.filter_map(|(_, order_id)| self.orders.get(order_id));
        orders.filter(matching).take(page.limit).cloned().collect()
    }

    /// Returns a page, by `(accepted_at, order_id)`, of orders in another order.
    fn sorted<'a>(
        &'a self,
        items: impl Iterator<Item = &'a (Timestamp, OrderId)>,
        page: &Page,
        matching: impl Fn(&&Order) -> bool,
    ) -> Vec<Order> {
        let below = page.below.as_ref().map(|(accepted_at, order_id)| (*accepted_at, order_id));
        let key = |order: &&'a Order| (order.accepted_at, &order.order_id);
        let mut orders: Vec<&Order> = items
            .filter_map(|(_, order_id)| self.orders.get(order_id))
            .filter(|order| below.is_none_or(|below| key(order) < below))
            .filter(matching)
            .collect();
        orders.sort_unstable_by_key(|order| std::cmp::Reverse(key(order)));
        orders.into_iter().take(page.limit).cloned().collect()
    }

    pub(super) fn expire_idempotency_records(&mut self, before: Timestamp, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit
            && let Some(oldest) = self.records_by_age.first()
            && oldest.0 < before
            && let Some((_, key)) = self.records_by_age.pop_first()
        {
            self.records.remove(&key);
            removed += 1;
        }
        removed
    }

    pub(super) fn audit(&self, after: Option<&OrderId>, limit: usize) -> Vec<AuditedOrder> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        // `check` admits no event without its order, so the orders cover all ids.
        let orders = self.orders.range::<OrderId, _>((start, Bound::Unbounded)).take(limit);
        let audited = orders.map(|(order_id, order)| {
            let history = self.histories.get(order_id).into_iter().flatten();
            AuditedOrder {
                order_id: order_id.clone(),
                row: Ok(Some(order.clone())),
                events: Ok(history.map(|index| self.events[*index].clone()).collect()),
                archived: false,
            }
        });
        audited.collect()
    }

    pub(super) fn history(&self, order_id: &OrderId, after: i64, limit: usize) -> Vec<LoggedEvent> {
        let history = self.histories.get(order_id).into_iter().flatten();
        let later = history.filter(|index| self.events[**index].sequence > after);
        later.take(limit).filter_map(|index| self.logged(*index)).collect()
    }

    pub(super) fn feed(&self, after: Position, limit: usize) -> Vec<LoggedEvent> {
        let start = usize::try_from(after.0).unwrap_or(0);
        (start..self.events.len()).take(limit).filter_map(|index| self.logged(index)).collect()
    }

    pub(super) fn head(&self) -> Position {
        Position(position(self.events.len()))
    }

    fn logged(&self, index: usize) -> Option<LoggedEvent> {
        let event = self.events.get(index)?.clone();
        Some(LoggedEvent { position: Position(position(index + 1)), event })
    }
}

/// Converts a number of events to a position. Memory cannot hold 2^63 events.
fn position(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn matches(filter: &OrderFilter, order: &Order) -> bool {
    filter.customer_id.as_ref().is_none_or(|customer_id| *customer_id == order.customer_id)
        && filter.pickup_point_id.as_ref().is_none_or(|point| *point == order.pickup_point_id)
        && (filter.states.is_empty() || filter.states.contains(&order.state_name()))
        && filter.expired.is_none_or(|(expired, now)| expired == order.is_expired(now))
}
