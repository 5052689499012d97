//! The position up to which a consumer has counted the events of the log.
//!
//! A consumer reads each partition in the order of the log. So in the partition whose last event is the
//! oldest, and in no other, events right after that one may be missing. The search for the first event
//! that is not counted begins there, and asks the inbox for each event.

use std::collections::HashSet;

use crate::domain::{EventId, OrderId, Timestamp};
use crate::ports::{Clock, EventLog, Inbox, LoggedEvent, PortError, Position};

/// The number of events to look up at a time.
const PAGE: usize = 1_000;
/// The number of pages after which the search ends. It is long only if a partition has had no event
/// for as many events of others, or none since it was rewound.
const MAX_PAGES: usize = 50;
/// The possible difference between the clocks of replicas, in milliseconds. The events of this time are
/// looked up although they are counted, so a longer one would take long while there are many events.
const CLOCK_DIFFERENCE: u64 = 2_000;

/// The position up to which a consumer has counted the events of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedEvents {
    /// Every event before this time is counted.
    pub as_of: Timestamp,
    /// Every event up to this position is counted.
    pub position: Position,
    /// Upper bound of the number of events that are not counted, because positions may have gaps.
    pub lag_events: i64,
    /// The age of the oldest event that is not counted, in seconds; 0 if there is none.
    pub lag_seconds: i64,
    /// The number of consumers that hold a partition.
    pub consumers: usize,
}

/// Returns how far the events of the log are counted in an inbox that reads them from `source`; `None`
/// if no consumer ever had a partition of it.
pub(super) async fn counted_events(
    log: &dyn EventLog,
    inbox: &dyn Inbox,
    source: &str,
    clock: &dyn Clock,
) -> Result<Option<CountedEvents>, PortError> {
    let partitions = inbox.progress(source).await?;
    let last_events = partitions.iter().map(|partition| partition.last_event);
    let Some(oldest) = last_events.map(|last| last.map_or(0, |last| millis(last.event_id))).min() else {
        return Ok(None);
    };
    let consumers: HashSet<&String> =
        partitions.iter().filter_map(|partition| partition.consumer.as_ref()).collect();
    // Before the log is read: an event that is written later is not older.
    let now = clock.now();
    let head = log.head().await?;
    let begin = begin(log, head, oldest.saturating_sub(CLOCK_DIFFERENCE)).await?;
    let (position, missing) = first_missing(log, inbox, begin).await?;
    let as_of = missing.map_or(now, |at| at.min(now));
    let counted = CountedEvents {
        as_of,
        position,
        lag_events: if missing.is_some() { (head.0 - position.0).max(1) } else { 0 },
        lag_seconds: (now.micros() - as_of.micros()).max(0) / 1_000_000,
        consumers: consumers.len(),
    };
    Ok(Some(counted))
}

/// Returns the time in the id of an event, in milliseconds since the epoch.
fn millis(event_id: EventId) -> u64 {
    u64::try_from(event_id.0 >> 80).unwrap_or_default()
}

/// Returns a position after which the log has all events from a time on. Ids of events ascend in the
/// log, but for the difference between the clocks of replicas.
async fn begin(log: &dyn EventLog, head: Position, time: u64) -> Result<Position, PortError> {
    let (mut low, mut high) = (log.oldest().await?, head);
    while low < high {
        let middle = Position(low.0 + (high.0 - low.0) / 2);
        let next = log.feed(middle, 1).await?.into_iter().next();
        match next.filter(|next| millis(next.event.event_id) < time) {
            Some(older) => low = older.position,
            None => high = middle,
        }
    }
    Ok(low)
}

/// Returns the position up to which every event after `begin` is counted, and the time of the first
/// event that is not, or that was not looked up.
async fn first_missing(
    log: &dyn EventLog,
    inbox: &dyn Inbox,
    begin: Position,
) -> Result<(Position, Option<Timestamp>), PortError> {
    let mut counted = begin;
    let mut last = None;
    for _ in 0..MAX_PAGES {
        let events = log.feed(counted, PAGE).await?;
        let keys: Vec<(OrderId, i64)> = events.iter().map(key).collect();
        let known = inbox.known_events(&keys).await?;
        for (event, key) in events.iter().zip(&keys) {
            if !known.contains(key) {
                return Ok((counted, Some(event.event.occurred_at)));
            }
            counted = event.position;
            last = Some(event.event.occurred_at);
        }
        if events.len() < PAGE {
            return Ok((counted, None));
        }
    }
    Ok((counted, last))
}

fn key(event: &LoggedEvent) -> (OrderId, i64) {
    (event.event.order.order_id.clone(), event.event.sequence)
}
