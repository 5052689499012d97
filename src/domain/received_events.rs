//! Reception of events that are delivered at least once: each is counted once,
//! and gaps in the sequence of an order are found.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::day_statistics::statistics_of;
use super::{DayStatistics, Event, OrderId};

/// The events of an order that were received so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderProgress {
    /// The order.
    pub order_id: OrderId,
    /// The number of different events received.
    pub received: i64,
    /// The highest sequence received.
    pub highest: i64,
}

impl OrderProgress {
    /// Returns true if an event below the highest sequence is missing.
    pub fn has_gap(&self) -> bool {
        self.received < self.highest
    }
}

/// The events received before a batch, limited to the orders of the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceivedBefore {
    /// The order and sequence of those events of the batch that were received
    /// before.
    pub events: HashSet<(OrderId, i64)>,
    /// The progress of the batch's orders; an order without any event has none.
    pub orders: Vec<OrderProgress>,
}

/// The effect of a batch of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceivedBatch {
    /// For each event, true if this is its first delivery.
    pub is_first: Vec<bool>,
    /// The progress, after the batch, of the orders with a first delivery, by
    /// order id.
    pub orders: Vec<OrderProgress>,
    /// The statistics of the first deliveries, to be added to those kept.
    pub statistics: Vec<DayStatistics>,
    /// The number of orders that had no gap and have one now.
    pub gaps_opened: u64,
    /// The number of orders that had a gap and have none now.
    pub gaps_closed: u64,
}

/// Decides what a batch of events changes: only first deliveries count.
pub fn receive_events(events: &[Event], before: &ReceivedBefore) -> ReceivedBatch {
    let is_first = first_deliveries(events, &before.events);
    let first = || events.iter().zip(&is_first).filter(|(_, is_first)| **is_first).map(|(event, _)| event);
    let known: BTreeMap<&OrderId, &OrderProgress> =
        before.orders.iter().map(|order| (&order.order_id, order)).collect();
    let mut orders: BTreeMap<&OrderId, OrderProgress> = BTreeMap::new();
    for event in first() {
        let order_id = &event.order.order_id;
        let progress = orders.entry(order_id).or_insert_with(|| match known.get(order_id) {
            Some(progress) => OrderProgress::clone(progress),
            None => OrderProgress { order_id: order_id.clone(), received: 0, highest: 0 },
        });
        progress.received += 1;
        progress.highest = progress.highest.max(event.sequence);
    }
    let with_gap_before: BTreeSet<&OrderId> =
        before.orders.iter().filter(|order| order.has_gap()).map(|order| &order.order_id).collect();
    let count = |had_gap: bool, has_gap: bool| {
        let changed = orders.values().filter(|order| {
            with_gap_before.contains(&order.order_id) == had_gap && order.has_gap() == has_gap
        });
        changed.count() as u64
    };
    let (gaps_opened, gaps_closed) = (count(false, true), count(true, false));
    let statistics = statistics_of(first());
    let orders = orders.into_values().collect();
    ReceivedBatch { is_first, orders, statistics, gaps_opened, gaps_closed }
}

/// Returns for each event whether it is the first with its order and sequence.
fn first_deliveries(events: &[Event], received: &HashSet<(OrderId, i64)>) -> Vec<bool> {
    let mut in_batch = HashSet::new();
    let is_first = |event: &Event| {
        let key = (event.order.order_id.clone(), event.sequence);
        !received.contains(&key) && in_batch.insert(key)
    };
    events.iter().map(is_first).collect()
}
