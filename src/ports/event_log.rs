use async_trait::async_trait;

use super::PortError;
use crate::domain::{Event, OrderId};

/// A position in the event log, from 1. Positions ascend in the order in which events become
/// visible in the feed and may have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub i64);

/// An event and its position in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The position.
    pub position: Position,
    /// The event.
    pub event: Event,
}

/// The log of all events: history, audit trail and outbox.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Returns up to `limit` events of an order after a sequence, oldest first.
    async fn history(
        &self,
        order_id: &OrderId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LoggedEvent>, PortError>;

    /// Returns the first `limit` events after a position, or all of them if there are fewer. The
    /// feed is gap-free: once a position was returned, no event appears at or below it. The events
    /// of an order are in sequence.
    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError>;

    /// Returns the position of the last event in the feed; 0 if the feed is empty.
    async fn head(&self) -> Result<Position, PortError>;

    /// Returns the oldest position from which the feed can continue: 0 unless events were
    /// archived.
    async fn oldest(&self) -> Result<Position, PortError>;
}
