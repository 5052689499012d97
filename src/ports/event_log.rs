use async_trait::async_trait;

use super::PortError;
use crate::domain::{Event, OrderId};

/// A place in the log: positions ascend in the order in which events became
/// visible to the feed, from 1; they may have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub i64);

/// An event and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Where it stands.
    pub position: Position,
    /// The event.
    pub event: Event,
}

/// The log of all events: history, audit trail and outbox in one.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Up to `limit` events of an order after that sequence, the oldest first.
    async fn history(
        &self,
        order_id: &OrderId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LoggedEvent>, PortError>;

    /// Up to `limit` events after that position. Gap-free: once a position was
    /// answered, no event ever appears at or below it; in sequence per order.
    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError>;

    /// The position of the last event that the feed has; 0 when it is empty.
    async fn head(&self) -> Result<Position, PortError>;

    /// The oldest position that the feed can go on after: 0 as long as nothing
    /// was archived.
    async fn oldest(&self) -> Result<Position, PortError>;
}
