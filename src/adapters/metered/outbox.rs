use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use metrics::{Gauge, counter, gauge};

use super::names;
use crate::domain::OrderId;
use crate::ports::{
    DeadLetter, KnownSink, LeaderStatus, Lease, LeaseToken, LeaseWrite, Outbox, OutboxStatus, PortError,
    Position, Resolution,
};

/// An [`Outbox`] that counts leases and dead letters and exports the cursor.
pub struct MeteredOutbox(Arc<dyn Outbox>);

impl MeteredOutbox {
    /// Wraps an outbox.
    pub fn new(outbox: Arc<dyn Outbox>) -> Self {
        Self(outbox)
    }
}

#[async_trait]
impl Outbox for MeteredOutbox {
    async fn acquire_lease(&self, sink: &str) -> Result<Option<Lease>, PortError> {
        // A process that tries to acquire the lease does not hold it.
        gauge!(names::RELAY_LEADING).set(0);
        let lease = self.0.acquire_lease(sink).await?;
        if lease.is_some() {
            counter!(names::RELAY_LEADS).increment(1);
        }
        gauge!(names::RELAY_LEADING).set(u8::from(lease.is_some()));
        Ok(lease)
    }

    async fn advance(
        &self,
        token: &LeaseToken,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError> {
        let advance = self.0.advance(token, cursor, letters).await?;
        match advance {
            LeaseWrite::Done => {
                counter!(names::DEAD_LETTERS).increment(letters.len() as u64);
                // Exact up to 2^53.
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                gauge!(names::RELAY_CURSOR).set(cursor.0 as f64);
            }
            LeaseWrite::Fenced => gauge!(names::RELAY_LEADING).set(0),
        }
        Ok(advance)
    }

    async fn held_back(
        &self,
        sink: &str,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, i64>, PortError> {
        self.0.held_back(sink, orders).await
    }

    async fn dead_letters(
        &self,
        sink: &str,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError> {
        self.0.dead_letters(sink, after, limit).await
    }

    async fn cursor(&self, sink: &str) -> Result<Option<Position>, PortError> {
        self.0.cursor(sink).await
    }

    async fn resolve(
        &self,
        sink: &str,
        order_id: &OrderId,
        resolution: Resolution,
    ) -> Result<bool, PortError> {
        self.0.resolve(sink, order_id, resolution).await
    }

    async fn resolved_dead_letters(&self, sink: &str, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        self.0.resolved_dead_letters(sink, limit).await
    }

    async fn remove_dead_letter(
        &self,
        token: &LeaseToken,
        letter: &DeadLetter,
    ) -> Result<LeaseWrite, PortError> {
        let advance = self.0.remove_dead_letter(token, letter).await?;
        if advance == LeaseWrite::Done {
            counter!(names::DEAD_LETTERS_SETTLED).increment(1);
        }
        Ok(advance)
    }

    async fn known_sink(&self, sink: &str) -> Result<Option<KnownSink>, PortError> {
        self.0.known_sink(sink).await
    }

    async fn record_sink(&self, sink: &str, known: &KnownSink) -> Result<(), PortError> {
        self.0.record_sink(sink, known).await
    }

    async fn republish(&self, sink: &str, after: Position) -> Result<bool, PortError> {
        self.0.republish(sink, after).await
    }

    async fn record_leader_status(
        &self,
        token: &LeaseToken,
        status: &LeaderStatus,
    ) -> Result<LeaseWrite, PortError> {
        self.0.record_leader_status(token, status).await
    }

    async fn status(&self, sink: &str) -> Result<Option<OutboxStatus>, PortError> {
        self.0.status(sink).await
    }
}

/// Gauges of the publishing lag, set periodically.
pub struct OutboxGauges {
    events: Gauge,
    seconds: Gauge,
    orders: Gauge,
    stopped: Gauge,
}

impl OutboxGauges {
    /// Returns the gauges, without values.
    pub fn new() -> Self {
        Self {
            events: gauge!(names::OUTBOX_LAG_EVENTS),
            seconds: gauge!(names::OUTBOX_LAG_SECONDS),
            orders: gauge!(names::ORDERS_HELD_BACK),
            stopped: gauge!(names::RELAY_STOPPED),
        }
    }

    /// Sets the gauges: unpublished events, their age in seconds, held-back orders, and whether
    /// publishing has stopped.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn show(&self, events: i64, seconds: i64, orders: u64, stopped: bool) {
        self.events.set(events as f64);
        self.seconds.set(seconds as f64);
        self.orders.set(orders as f64);
        self.stopped.set(u8::from(stopped));
    }
}

impl Default for OutboxGauges {
    fn default() -> Self {
        Self::new()
    }
}
