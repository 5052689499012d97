//! How far the log was published, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use crate::domain::OrderId;
use crate::ports::{Advance, DeadLetter, LeaderNote, OutboxStatus, PortError, Position, Resolution, Ticket};

/// The cursors and dead letters of all sinks.
#[derive(Debug, Default)]
pub(super) struct Progress(HashMap<String, Sink>);

#[derive(Debug, Default)]
struct Sink {
    fence: i64,
    cursor: Position,
    letters: BTreeMap<OrderId, DeadLetter>,
    note: Option<LeaderNote>,
}

impl Progress {
    /// The ticket of a new lead, and where it goes on.
    pub(super) fn lead(&mut self, name: &str) -> (Ticket, Position) {
        let sink = self.0.entry(name.to_owned()).or_default();
        sink.fence += 1;
        (Ticket { sink: name.to_owned(), fence: sink.fence }, sink.cursor)
    }

    pub(super) fn advance(
        &mut self,
        ticket: &Ticket,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<Advance, PortError> {
        let Some(sink) = self.led(ticket) else { return Ok(Advance::Fenced) };
        if cursor < sink.cursor {
            let (name, from, to) = (&ticket.sink, sink.cursor.0, cursor.0);
            let message = format!("outbox: the cursor of {name} would move back from {from} to {to}");
            return Err(PortError::inconsistent(message));
        }
        sink.cursor = cursor;
        sink.letters.extend(letters.iter().map(|letter| (letter.order_id.clone(), letter.clone())));
        Ok(Advance::Done)
    }

    /// The sink, if the ticket is still good.
    fn led(&mut self, ticket: &Ticket) -> Option<&mut Sink> {
        self.0.get_mut(&ticket.sink).filter(|sink| sink.fence == ticket.fence)
    }

    pub(super) fn resolve(&mut self, name: &str, order_id: &OrderId, resolution: Resolution) -> bool {
        let letter = self.0.get_mut(name).and_then(|sink| sink.letters.get_mut(order_id));
        letter.map(|letter| letter.resolution = Some(resolution)).is_some()
    }

    pub(super) fn resolved(&self, name: &str, limit: usize) -> Vec<DeadLetter> {
        let letters = self.0.get(name).into_iter().flat_map(|sink| sink.letters.values());
        letters.filter(|letter| letter.resolution.is_some()).take(limit).cloned().collect()
    }

    pub(super) fn unbury(&mut self, ticket: &Ticket, letter: &DeadLetter) -> Advance {
        let Some(sink) = self.led(ticket) else { return Advance::Fenced };
        let same = |found: &DeadLetter| found.sequence == letter.sequence;
        if sink.letters.get(&letter.order_id).is_some_and(same) {
            sink.letters.remove(&letter.order_id);
        }
        Advance::Done
    }

    pub(super) fn note(&mut self, ticket: &Ticket, note: &LeaderNote) -> Advance {
        let Some(sink) = self.led(ticket) else { return Advance::Fenced };
        sink.note = Some(note.clone());
        Advance::Done
    }

    pub(super) fn status(&self, name: &str, led: bool) -> Option<OutboxStatus> {
        let sink = self.0.get(name)?;
        let dead_letters = sink.letters.len() as u64;
        Some(OutboxStatus { cursor: sink.cursor, led, note: sink.note.clone(), dead_letters })
    }

    pub(super) fn held_back(&self, name: &str, orders: &BTreeSet<OrderId>) -> BTreeMap<OrderId, i64> {
        let Some(sink) = self.0.get(name) else { return BTreeMap::new() };
        let held = orders.iter().filter_map(|order_id| sink.letters.get(order_id));
        held.map(|letter| (letter.order_id.clone(), letter.sequence)).collect()
    }

    pub(super) fn buried(&self, name: &str, after: Option<&OrderId>, limit: usize) -> Vec<DeadLetter> {
        let Some(sink) = self.0.get(name) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let letters = sink.letters.range::<OrderId, _>((start, Bound::Unbounded));
        letters.take(limit).map(|(_, letter)| letter.clone()).collect()
    }

    pub(super) fn cursor(&self, name: &str) -> Option<Position> {
        self.0.get(name).map(|sink| sink.cursor)
    }
}
