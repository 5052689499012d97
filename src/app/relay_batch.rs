//! A batch of the relay and its unpublished events.

use std::collections::BTreeMap;

use crate::domain::OrderId;
use crate::ports::{Clock, DeadLetter, LoggedEvent, Position, Receipt};

/// The unpublished events of a batch.
pub(super) struct Waiting {
    /// The events, in the order of the log.
    pub(super) events: Vec<LoggedEvent>,
    /// The positions of the whole batch, ascending.
    positions: Vec<Position>,
    /// True if the last attempt published or refused an event.
    pub(super) progressed: bool,
}

impl Waiting {
    pub(super) fn new(events: Vec<LoggedEvent>) -> Self {
        let positions = events.iter().map(|logged| logged.position).collect();
        Self { events, positions, progressed: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Removes the events of orders that are held back.
    pub(super) fn hold_back(&mut self, held: &BTreeMap<OrderId, i64>) {
        self.events.retain(|LoggedEvent { event, .. }| {
            held.get(&event.order.order_id).is_none_or(|first| event.sequence < *first)
        });
    }

    /// Removes published and refused events, and the later events of an order with a refused
    /// one. Returns the dead letters.
    pub(super) fn settle(&mut self, receipts: Vec<Receipt>, clock: &dyn Clock) -> Vec<DeadLetter> {
        let before = self.events.len();
        let mut letters: BTreeMap<OrderId, DeadLetter> = BTreeMap::new();
        let mut left = Vec::new();
        for (logged, receipt) in std::mem::take(&mut self.events).into_iter().zip(receipts) {
            let order_id = &logged.event.order.order_id;
            if letters.contains_key(order_id) {
                continue;
            }
            match receipt {
                Receipt::Acknowledged => {}
                Receipt::Pending => left.push(logged),
                Receipt::Refused(cause) => {
                    let (sequence, position) = (logged.event.sequence, logged.position);
                    let (order_id, refused_at) = (order_id.clone(), clock.now());
                    let letter =
                        DeadLetter { order_id, sequence, position, cause, refused_at, resolution: None };
                    letters.insert(letter.order_id.clone(), letter);
                }
            }
        }
        self.events = left;
        self.progressed = self.events.len() < before;
        letters.into_values().collect()
    }

    /// Returns the position of the last event before the first unpublished one.
    pub(super) fn settled(&self, before: Position) -> Position {
        let end = self.events.first().map_or(self.positions.len(), |first| {
            self.positions.partition_point(|position| *position < first.position)
        });
        end.checked_sub(1).map_or(before, |last| self.positions[last])
    }
}
