//! Reception of events that are delivered at least once: each is counted once,
//! and gaps and conflicts in the sequence of an order are found.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::day_statistics::statistics_of;
use super::{DayStatistics, Event, EventId, OrderId};

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
    /// The ids of the previously received events, by order and sequence, as far as the batch names
    /// them.
    pub events: HashMap<(OrderId, i64), EventId>,
    /// The progress of the batch's orders; an order without any event has none.
    pub orders: Vec<OrderProgress>,
}

/// The effect of a received event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// The first delivery of the event: it counts.
    First,
    /// The event has been received before.
    Repeated,
    /// Another event with this order and sequence was received before, for example because the
    /// store was restored from a backup. This event does not count.
    Conflict {
        /// The event that was applied.
        applied: EventId,
    },
}

/// The effect of a batch of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceivedBatch {
    /// The effect of each event.
    pub receptions: Vec<Reception>,
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

impl ReceivedBatch {
    /// Returns the events that were delivered for the first time.
    pub fn first<'e>(&self, events: &'e [Event]) -> impl Iterator<Item = &'e Event> {
        first(events, &self.receptions)
    }

    /// Returns the events that conflict with an applied event, each with the id of the applied
    /// event.
    pub fn conflicts<'e>(&self, events: &'e [Event]) -> impl Iterator<Item = (&'e Event, EventId)> {
        events.iter().zip(&self.receptions).filter_map(|(event, reception)| match reception {
            Reception::Conflict { applied } => Some((event, *applied)),
            Reception::First | Reception::Repeated => None,
        })
    }
}

/// Decides what a batch of events changes: only first deliveries count.
pub fn receive_events(events: &[Event], before: &ReceivedBefore) -> ReceivedBatch {
    let receptions = receptions(events, before);
    let first = || first(events, &receptions);
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
    ReceivedBatch { receptions, orders, statistics, gaps_opened, gaps_closed }
}

fn first<'e>(events: &'e [Event], receptions: &[Reception]) -> impl Iterator<Item = &'e Event> {
    events
        .iter()
        .zip(receptions)
        .filter(|(_, reception)| **reception == Reception::First)
        .map(|(event, _)| event)
}

/// Returns the effect of each event: the first one of an order and sequence is
/// applied, and later ones are compared with it by id.
fn receptions(events: &[Event], before: &ReceivedBefore) -> Vec<Reception> {
    let mut received = before.events.clone();
    let deliver = |event: &Event| match received.entry((event.order.order_id.clone(), event.sequence)) {
        Entry::Vacant(new) => {
            new.insert(event.event_id);
            Reception::First
        }
        Entry::Occupied(applied) if *applied.get() == event.event_id => Reception::Repeated,
        Entry::Occupied(applied) => Reception::Conflict { applied: *applied.get() },
    };
    events.iter().map(deliver).collect()
}
