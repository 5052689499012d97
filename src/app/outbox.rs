//! What operators see of the outbox, and what they can do about dead letters.

use std::sync::Arc;

use super::page_token::PagePosition;
use super::{PageTokens, refuse};
use crate::domain::{OrderId, Reason, Refusal};
use crate::ports::{Clock, DeadLetter, EventLog, EventSink, Outbox, OutboxStatus, Position, Resolution};

/// The use cases of operators.
#[derive(Clone)]
pub struct OperateOutbox {
    log: Arc<dyn EventLog>,
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    tokens: PageTokens,
    sink: Arc<dyn EventSink>,
}

/// How far events were published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxReport {
    /// The name of the sink.
    pub sink: String,
    /// The position of the last event of the log.
    pub head: Position,
    /// An upper bound of the events that wait for the sink: positions may skip
    /// numbers. 0 for a sink that discards events.
    pub lag_events: i64,
    /// The age of the oldest event that waits for the sink, in seconds; 0 if
    /// none waits.
    pub lag_seconds: i64,
    /// The rest, if a relay was ever there.
    pub status: Option<OutboxStatus>,
}

/// A page of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The letters, by order id.
    pub letters: Vec<DeadLetter>,
    /// The token of the next page; empty: there is none.
    pub next_page_token: String,
}

impl OperateOutbox {
    /// The use cases for that sink.
    pub fn new(
        log: Arc<dyn EventLog>,
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
        tokens: PageTokens,
        sink: Arc<dyn EventSink>,
    ) -> Self {
        Self { log, outbox, clock, tokens, sink }
    }

    /// How far events were published.
    ///
    /// # Errors
    /// What the store fails with.
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

    /// A page of the dead letters.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` for a token of another list, and what the store
    /// fails with.
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

    /// Decides about an order's dead letter; the relay does it soon.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND` if the order has none, and what the store fails with.
    pub async fn resolve(&self, order_id: &OrderId, resolution: Resolution) -> Result<(), Refusal> {
        let resolved = self.outbox.resolve(self.sink.name(), order_id, resolution).await;
        if resolved.map_err(|error| refuse(&error))? {
            tracing::info!(%order_id, ?resolution, "an operator decided about a dead letter");
            return Ok(());
        }
        let message = format!("order {order_id} has no dead letter");
        Err(Refusal::new(Reason::OrderNotFound, message).with("order_id", order_id))
    }
}
