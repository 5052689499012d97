//! The outbox in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use crate::domain::OrderId;
use crate::ports::{
    DeadLetter, KnownSink, LeaderStatus, LeaseToken, LeaseWrite, OutboxStatus, PortError, Position,
    Resolution,
};

/// The cursors and dead letters of all sinks.
#[derive(Debug, Default)]
pub(super) struct Progress(HashMap<String, Sink>);

#[derive(Debug, Default)]
struct Sink {
    fencing_token: i64,
    cursor: Position,
    letters: BTreeMap<OrderId, DeadLetter>,
    leader: Option<LeaderStatus>,
    known: Option<KnownSink>,
}

impl Progress {
    /// Returns the fencing token of a new lease, and its cursor.
    pub(super) fn acquire_lease(&mut self, name: &str) -> (LeaseToken, Position) {
        let sink = self.0.entry(name.to_owned()).or_default();
        sink.fencing_token += 1;
        (LeaseToken { sink: name.to_owned(), fencing_token: sink.fencing_token }, sink.cursor)
    }

    pub(super) fn advance(
        &mut self,
        token: &LeaseToken,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError> {
        let Some(sink) = self.led(token) else { return Ok(LeaseWrite::Fenced) };
        if cursor < sink.cursor {
            let (name, from, to) = (&token.sink, sink.cursor.0, cursor.0);
            let message = format!("outbox: the cursor of {name} would move back from {from} to {to}");
            return Err(PortError::inconsistent(message));
        }
        sink.cursor = cursor;
        sink.letters.extend(letters.iter().map(|letter| (letter.order_id.clone(), letter.clone())));
        Ok(LeaseWrite::Done)
    }

    /// Returns the sink if the token is still valid.
    fn led(&mut self, token: &LeaseToken) -> Option<&mut Sink> {
        self.0.get_mut(&token.sink).filter(|sink| sink.fencing_token == token.fencing_token)
    }

    pub(super) fn resolve(&mut self, name: &str, order_id: &OrderId, resolution: Resolution) -> bool {
        let letter = self.0.get_mut(name).and_then(|sink| sink.letters.get_mut(order_id));
        letter.map(|letter| letter.resolution = Some(resolution)).is_some()
    }

    pub(super) fn resolved_dead_letters(&self, name: &str, limit: usize) -> Vec<DeadLetter> {
        let letters = self.0.get(name).into_iter().flat_map(|sink| sink.letters.values());
        letters.filter(|letter| letter.resolution.is_some()).take(limit).cloned().collect()
    }

    pub(super) fn remove_dead_letter(&mut self, token: &LeaseToken, letter: &DeadLetter) -> LeaseWrite {
        let Some(sink) = self.led(token) else { return LeaseWrite::Fenced };
        let same = |found: &DeadLetter| found.sequence == letter.sequence;
        if sink.letters.get(&letter.order_id).is_some_and(same) {
            sink.letters.remove(&letter.order_id);
        }
        LeaseWrite::Done
    }

    pub(super) fn known_sink(&self, name: &str) -> Option<KnownSink> {
        self.0.get(name)?.known.clone()
    }

    pub(super) fn record_sink(&mut self, name: &str, known: &KnownSink) {
        self.0.entry(name.to_owned()).or_default().known = Some(known.clone());
    }

    pub(super) fn republish(&mut self, name: &str, after: Position) -> bool {
        let Some(sink) = self.0.get_mut(name).filter(|sink| sink.cursor > after) else { return false };
        sink.cursor = after;
        sink.fencing_token += 1;
        true
    }

    pub(super) fn record_leader_status(&mut self, token: &LeaseToken, status: &LeaderStatus) -> LeaseWrite {
        let Some(sink) = self.led(token) else { return LeaseWrite::Fenced };
        sink.leader = Some(status.clone());
        LeaseWrite::Done
    }

    pub(super) fn status(&self, name: &str, has_leader: bool) -> Option<OutboxStatus> {
        let sink = self.0.get(name)?;
        let dead_letters = sink.letters.len() as u64;
        Some(OutboxStatus { cursor: sink.cursor, has_leader, leader: sink.leader.clone(), dead_letters })
    }

    pub(super) fn held_back(&self, name: &str, orders: &BTreeSet<OrderId>) -> BTreeMap<OrderId, i64> {
        let Some(sink) = self.0.get(name) else { return BTreeMap::new() };
        let held = orders.iter().filter_map(|order_id| sink.letters.get(order_id));
        held.map(|letter| (letter.order_id.clone(), letter.sequence)).collect()
    }

    pub(super) fn dead_letters(&self, name: &str, after: Option<&OrderId>, limit: usize) -> Vec<DeadLetter> {
        let Some(sink) = self.0.get(name) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let letters = sink.letters.range::<OrderId, _>((start, Bound::Unbounded));
        letters.take(limit).map(|(_, letter)| letter.clone()).collect()
    }

    pub(super) fn cursor(&self, name: &str) -> Option<Position> {
        self.0.get(name).map(|sink| sink.cursor)
    }
}
