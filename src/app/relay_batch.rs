//! A batch of the relay: what of it is still to be published.

use std::collections::BTreeMap;

use crate::domain::OrderId;
use crate::ports::{Clock, DeadLetter, LoggedEvent, Position, Receipt};

/// What of a batch is still to be published.
pub(super) struct Waiting {
    /// In the order of the log.
    pub(super) events: Vec<LoggedEvent>,
    /// The positions of the whole batch, ascending.
    positions: Vec<Position>,
    /// Whether the last try settled anything.
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

    /// Leaves out what the sink must not have yet.
    pub(super) fn hold_back(&mut self, held: &BTreeMap<OrderId, i64>) {
        self.events.retain(|LoggedEvent { event, .. }| {
            held.get(&event.order.order_id).is_none_or(|first| event.sequence < *first)
        });
    }

    /// Leaves out what was acknowledged or refused, and what is behind a
    /// refusal; answers the letters.
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

    /// The last event of the batch with nothing left at or before it.
    pub(super) fn settled(&self, before: Position) -> Position {
        let end = self.events.first().map_or(self.positions.len(), |first| {
            self.positions.partition_point(|position| *position < first.position)
        });
        end.checked_sub(1).map_or(before, |last| self.positions[last])
    }
}
