//! Outbox use cases for operators: status, forks and dead letters.

use std::sync::Arc;

use super::page_token::PagePosition;
use super::refuse::STORE_RETRY;
use super::{CompareSink, PageTokens, refuse};
use crate::domain::{OrderId, Reason, Refusal};
use crate::ports::{
    Clock, DeadLetter, EventLog, EventSink, Outbox, OutboxStatus, PortError, Position, Resolution, chain,
};

/// The outbox use cases.
#[derive(Clone)]
pub struct OperateOutbox {
    log: Arc<dyn EventLog>,
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    tokens: PageTokens,
    sink: Arc<dyn EventSink>,
    compare: CompareSink,
}

/// The publishing status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxReport {
    /// The name of the sink.
    pub sink: String,
    /// The position of the last event of the log.
    pub head: Position,
    /// Upper bound of the number of events that wait for the sink, because positions may have
    /// gaps. 0 for a sink that discards events.
    pub lag_events: i64,
    /// The age of the oldest event that waits for the sink, in seconds; 0 if
    /// none waits.
    pub lag_seconds: i64,
    /// Cursor and leader, if a relay ever held the lease.
    pub status: Option<OutboxStatus>,
}

/// A page of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The dead letters, by order id.
    pub letters: Vec<DeadLetter>,
    /// The token of the next page; empty on the last page.
    pub next_page_token: String,
}

impl OperateOutbox {
    /// Returns the use cases for the sink that `compare` reads.
    pub fn new(
        log: Arc<dyn EventLog>,
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
        tokens: PageTokens,
        compare: CompareSink,
    ) -> Self {
        Self { log, outbox, clock, tokens, sink: Arc::clone(&compare.sink), compare }
    }

    /// Returns the publishing status.
    ///
    /// # Errors
    /// Returns the store's error.
    pub async fn report(&self) -> Result<OutboxReport, Refusal> {
        let head = self.log.head().await.map_err(|error| refuse(&error))?;
        let status = self.outbox.status(self.sink.name()).await.map_err(|error| refuse(&error))?;
        let (mut lag_events, mut lag_seconds) = (0, 0);
        if !self.sink.discards() {
            let cursor = status.as_ref().map_or(Position(0), |status| status.cursor);
            lag_events = (head.0 - cursor.0).max(0);
            let waiting = self.log.feed(cursor, 1).await.map_err(|error| refuse(&error))?;
            if let Some(oldest) = waiting.first() {
                let micros = self.clock.now().micros() - oldest.event.occurred_at.micros();
                lag_seconds = (micros / 1_000_000).max(0);
            }
        }
        Ok(OutboxReport { sink: self.sink.name().to_owned(), head, lag_events, lag_seconds, status })
    }

    /// Accepts the events of the sink that the log does not have, and its number of partitions, so
    /// that the relay continues. Returns the number of differences.
    ///
    /// # Errors
    /// Returns `UNAVAILABLE` if the sink or the store cannot be reached.
    pub async fn accept_fork(&self) -> Result<usize, Refusal> {
        self.compare.accept_fork().await.map_err(|error| unreachable_sink(&error))
    }

    /// Publishes the events from a position on again. Accepts the present state of the sink.
    ///
    /// # Errors
    /// Returns `VALIDATION_FAILED` if the position was not published yet, `CURSOR_EXPIRED` if its
    /// event was archived, or `UNAVAILABLE` like [`accept_fork`](Self::accept_fork).
    pub async fn republish(&self, from: Position) -> Result<(), Refusal> {
        let oldest = self.log.oldest().await.map_err(|error| refuse(&error))?;
        let after = Position(from.0 - 1);
        if after < oldest {
            let first = oldest.0 + 1;
            let message = format!("the event at {} was archived; the oldest cursor is {first}", from.0);
            return Err(Refusal::new(Reason::CursorExpired, message)
                .with("from", from.0)
                .with("oldest_cursor", first));
        }
        let sink = self.sink.name();
        let published = self.outbox.cursor(sink).await.map_err(|error| refuse(&error))?.unwrap_or_default();
        let later =
            || Refusal::invalid("from", format!("must be at most {}, the published cursor", published.0));
        if after >= published {
            return Err(later());
        }
        self.accept_fork().await?;
        if !self.outbox.republish(sink, after).await.map_err(|error| refuse(&error))? {
            return Err(later());
        }
        tracing::info!(sink, from = from.0, "operator has events published again");
        Ok(())
    }

    /// Returns a page of dead letters.
    ///
    /// # Errors
    /// Returns `VALIDATION_FAILED` for a token of another list, or the store's error.
    pub async fn letters(&self, limit: usize, token: &str) -> Result<DeadLetterPage, Refusal> {
        let bound = format!("letters|{}", self.sink.name());
        let after = if token.is_empty() {
            None
        } else {
            OrderId::parse(&self.tokens.decode(&bound, token)?.order_id).ok()
        };
        let found = self.outbox.dead_letters(self.sink.name(), after.as_ref(), limit + 1).await;
        let mut letters = found.map_err(|error| refuse(&error))?;
        let mut next_page_token = String::new();
        if letters.len() > limit {
            letters.truncate(limit);
            if let Some(last) = letters.last() {
                let order_id = last.order_id.to_string();
                let position = PagePosition { now: self.clock.now(), key: 0, order_id };
                next_page_token = self.tokens.encode(&bound, &position);
            }
        }
        Ok(DeadLetterPage { letters, next_page_token })
    }

    /// Stores the decision about an order's dead letter. The relay carries it out shortly after.
    ///
    /// # Errors
    /// Returns `ORDER_NOT_FOUND` if the order has no dead letter, or the store's error.
    pub async fn resolve(&self, order_id: &OrderId, resolution: Resolution) -> Result<(), Refusal> {
        let resolved = self.outbox.resolve(self.sink.name(), order_id, resolution).await;
        if resolved.map_err(|error| refuse(&error))? {
            tracing::info!(%order_id, ?resolution, "operator resolved a dead letter");
            return Ok(());
        }
        let message = format!("order {order_id} has no dead letter");
        Err(Refusal::new(Reason::OrderNotFound, message).with("order_id", order_id))
    }
}

/// Converts an error of the sink or the store to a refusal, and logs its chain of causes.
fn unreachable_sink(error: &PortError) -> Refusal {
    if !error.retryable() {
        return refuse(error);
    }
    tracing::warn!(cause = chain(error), "the sink was not accepted");
    Refusal::unavailable("the sink or the storage cannot be reached; nothing was changed", STORE_RETRY)
}
