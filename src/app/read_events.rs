//! Reads of the event log: the history of an order, the feed, and the live feed.

use std::sync::Arc;

use futures::Stream;
use tokio_util::sync::CancellationToken;

use super::page_token::PagePosition;
use super::watch_events::WatchEvents;
use super::{Committed, PageTokens, refuse};
use crate::domain::{OrderId, Reason, Refusal};
use crate::ports::{Clock, EventLog, LoggedEvent, OrderStore, Position};

/// The use cases that read the event log.
#[derive(Clone)]
pub struct ReadEvents {
    log: Arc<dyn EventLog>,
    orders: Arc<dyn OrderStore>,
    clock: Arc<dyn Clock>,
    tokens: PageTokens,
    watchers: Arc<WatchEvents>,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<LoggedEvent>,
    /// The token or cursor of the next page; empty on the last page of a history.
    pub next: String,
}

impl ReadEvents {
    /// Returns the use cases over a log and its orders. `committed` wakes the watchers, `drain`
    /// ends them.
    pub fn new(
        log: Arc<dyn EventLog>,
        orders: Arc<dyn OrderStore>,
        clock: Arc<dyn Clock>,
        tokens: PageTokens,
        committed: Committed,
        drain: CancellationToken,
    ) -> Self {
        let watchers = WatchEvents::new(Arc::clone(&log), committed, drain);
        Self { log, orders, clock, tokens, watchers }
    }

    /// Returns a page of an order's events, oldest first. Events of detached partitions are
    /// missing, which may be all of them.
    ///
    /// # Errors
    /// Returns `ORDER_NOT_FOUND`, `VALIDATION_FAILED` for a token of another list, or the
    /// store's error.
    pub async fn history(&self, order_id: &OrderId, limit: usize, token: &str) -> Result<EventPage, Refusal> {
        let bound = format!("history|{order_id}");
        let position = if token.is_empty() { None } else { Some(self.tokens.decode(&bound, token)?) };
        let now = position.as_ref().map_or_else(|| self.clock.now(), |position| position.now);
        let after = position.map_or(0, |position| position.key);
        let found = self.log.history(order_id, after, limit + 1).await;
        let mut events = found.map_err(|error| refuse(&error))?;
        if events.is_empty() && after == 0 {
            let there = self.orders.order(order_id).await.map_err(|error| refuse(&error))?;
            there.ok_or_else(|| Refusal::order_not_found(order_id))?;
        }
        let mut next = String::new();
        if events.len() > limit {
            events.truncate(limit);
            if let Some(last) = events.last() {
                let key = last.event.sequence;
                next = self.tokens.encode(&bound, &PagePosition { now, key, order_id: String::new() });
            }
        }
        Ok(EventPage { events, next })
    }

    /// Returns a page of the feed after a cursor, or from the oldest event.
    ///
    /// # Errors
    /// Returns `CURSOR_EXPIRED`, or the store's error.
    pub async fn feed(&self, after: Option<Position>, limit: usize) -> Result<EventPage, Refusal> {
        let after = self.begin(after).await?;
        let events = self.log.feed(after, limit).await.map_err(|error| refuse(&error))?;
        let next = events.last().map_or(after, |last| last.position);
        Ok(EventPage { events, next: next.0.to_string() })
    }

    async fn begin(&self, after: Option<Position>) -> Result<Position, Refusal> {
        let oldest = self.log.oldest().await.map_err(|error| refuse(&error))?;
        match after {
            None => Ok(oldest),
            Some(after) if after >= oldest => Ok(after),
            Some(after) => {
                let message = format!(
                    "the events after the cursor {} were archived; the oldest cursor is {}",
                    after.0, oldest.0
                );
                Err(Refusal::new(Reason::CursorExpired, message)
                    .with("after", after.0)
                    .with("oldest_cursor", oldest.0))
            }
        }
    }

    /// Returns a stream of events after a cursor, or from now on. The stream reads no faster
    /// than its reader and ends with `UNAVAILABLE` when the service drains.
    ///
    /// # Errors
    /// Returns `CURSOR_EXPIRED`, or the store's error.
    pub async fn watch(
        &self,
        after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Arc<LoggedEvent>, Refusal>> + Send + 'static, Refusal> {
        let after = match after {
            None => self.log.head().await.map_err(|error| refuse(&error))?,
            Some(_) => self.begin(after).await?,
        };
        Ok(self.watchers.after(after))
    }
}
