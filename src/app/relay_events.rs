//! The relay: publishes the events of the log to a sink, in the order of the log.
//!
//! The relay retries without end. The cursor never passes an event that the sink has not
//! acknowledged. After a crash, the events since the saved cursor are published again. Two
//! relays at the same time do no harm, because each publishes without gaps from a saved cursor,
//! so that the first occurrences of an order's events are in sequence.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::relay_batch::Waiting;
use super::{Committed, CompareSink, RelayOptions};
use crate::domain::OrderId;
use crate::ports::{
    Clock, Delivery, EventLog, EventSink, LeaderStatus, Lease, LoggedEvent, Outage, Outbox, PortError,
    Position, Receipt, chain,
};

/// The relay of one sink.
pub struct RelayEvents {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) compare: CompareSink,
    pub(super) clock: Arc<dyn Clock>,
    committed: Committed,
    /// The name of this process, for operators.
    leader: String,
    pub(super) options: RelayOptions,
    random: RandomState,
}

/// The reason for the end of a lease.
pub(super) enum Ended {
    /// Another relay holds the lease.
    Fenced,
    /// The store failed. The cursor is read again.
    Failed(PortError),
}

impl From<PortError> for Ended {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

/// A relay that holds the lease.
pub(super) struct Lead<'r> {
    pub(super) relay: &'r RelayEvents,
    pub(super) lease: Lease,
    /// True if the sink has been compared with the log and the relay may publish to it.
    pub(super) agreed: bool,
    /// The last position up to which every event is published or held back.
    pub(super) settled: Position,
    /// The saved cursor, and the time of the last check that no operator moved it back.
    pub(super) saved: (Position, Instant),
    /// The instant since which the saved cursor is behind.
    pub(super) unsaved: Option<Instant>,
    /// True if an order is held back. Only the leader stores dead letters, so the store is not
    /// queried while there are none.
    pub(super) letters: bool,
    /// The last check for operators' decisions about dead letters.
    pub(super) looked: Option<Instant>,
    pub(super) failures: u32,
    /// The status of this leader, for operators.
    pub(super) status: LeaderStatus,
    /// The instant of the last recorded failure.
    pub(super) failed: Option<Instant>,
    /// The current outage of the sink.
    outage: Outage,
}

impl RelayEvents {
    /// Returns a relay for the sink, the log and the outbox of `compare`. `committed` wakes the
    /// relay; `leader` is the name that operators see.
    pub fn new(
        compare: CompareSink,
        clock: Arc<dyn Clock>,
        committed: Committed,
        leader: String,
        options: RelayOptions,
    ) -> Self {
        let CompareSink { log, outbox, sink, .. } = compare.clone();
        Self { log, outbox, sink, compare, clock, committed, leader, options, random: RandomState::new() }
    }

    /// Runs until `stop` is cancelled. Then it publishes the remaining events for a short time;
    /// the rest is published after the next start.
    pub async fn run(self, stop: CancellationToken) {
        if self.sink.discards() {
            return;
        }
        let sink = self.sink.name();
        let (mut failures, mut outage) = (0, Outage::default());
        while !stop.is_cancelled() {
            let led = match self.outbox.acquire_lease(sink).await {
                Ok(Some(lease)) => self.lead(lease, &mut failures, &stop).await,
                Ok(None) => Err(Ended::Fenced),
                Err(error) => Err(Ended::Failed(error)),
            };
            match led {
                Ok(()) => return,
                Err(Ended::Fenced) => {
                    tracing::debug!(sink, "another relay holds the leader lock");
                    pause(&stop, self.options.stand_by).await;
                }
                Err(Ended::Failed(error)) => {
                    if failures == 0 {
                        // It has made progress since the last failure.
                        outage.end();
                    }
                    failures += 1;
                    let cause = chain(&error);
                    if outage.is_new(&cause) {
                        tracing::warn!(sink, cause, "relay: store error, backing off");
                    } else {
                        tracing::debug!(sink, cause, "relay: store error, backing off");
                    }
                    pause(&stop, self.backoff(failures)).await;
                }
            }
        }
    }

    /// Publishes until a stop request or until the lease is lost. Progress resets the failure
    /// count.
    async fn lead(&self, lease: Lease, failures: &mut u32, stop: &CancellationToken) -> Result<(), Ended> {
        let (sink, began) = (self.sink.name(), lease.cursor);
        tracing::info!(
            sink,
            position = began.0,
            fencing_token = lease.token.fencing_token,
            "relay acquired the leader lock"
        );
        let mut lead = Lead::new(self, lease);
        let worked = lead.work(stop).await;
        if lead.settled > began {
            *failures = 0;
        }
        worked?;
        if !lead.agreed {
            return Ok(());
        }
        let all = matches!(timeout(self.options.farewell, lead.say_farewell()).await, Ok(Ok(true)));
        tracing::info!(sink, position = lead.settled.0, all, "relay stopped");
        Ok(())
    }

    /// Returns the pause after a number of consecutive failures: half fixed, half random, so
    /// that many relays do not retry at the same time.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        let longest = self.options.first_backoff.saturating_mul(doubled).min(self.options.last_backoff);
        let random = u32::try_from(self.random.hash_one((failures, Instant::now())) % 1_000).unwrap_or(0);
        longest / 2 + longest / 2 * random / 1_000
    }

    /// Publishes events with a timeout, until a stop request.
    pub(super) async fn publish(&self, events: &[LoggedEvent], stop: &CancellationToken) -> Delivery {
        let call = timeout(self.options.publish_timeout, self.sink.publish(events));
        let Some(published) = stop.run_until_cancelled(call).await else {
            return Delivery { receipts: vec![Receipt::Pending; events.len()], failure: None };
        };
        match published {
            Ok(delivery) if delivery.receipts.len() == events.len() => delivery,
            // No event is known to be acknowledged.
            Ok(_) => {
                let miscounted = PortError::inconsistent("the sink returned a wrong number of receipts");
                Delivery::failed(events.len(), miscounted)
            }
            Err(elapsed) => {
                let late = PortError::unavailable("the sink did not answer in time", elapsed);
                Delivery::failed(events.len(), late)
            }
        }
    }
}

impl<'r> Lead<'r> {
    fn new(relay: &'r RelayEvents, lease: Lease) -> Self {
        let (name, since) = (relay.leader.clone(), relay.clock.now());
        let status = LeaderStatus { name, since, failure: None, stopped: None };
        Self {
            relay,
            agreed: false,
            settled: lease.cursor,
            saved: (lease.cursor, Instant::now()),
            lease,
            unsaved: None,
            letters: false,
            looked: None,
            failures: 0,
            status,
            failed: None,
            outage: Outage::default(),
        }
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let mut committed = self.relay.committed.clone();
        self.write_note().await?;
        if !self.agree(stop).await? {
            return Ok(());
        }
        self.letters = !self.relay.outbox.dead_letters(self.relay.sink.name(), None, 1).await?.is_empty();
        loop {
            if stop.is_cancelled() {
                return Ok(());
            }
            if self.lease.is_lost() {
                return Err(Ended::Fenced);
            }
            self.check_cursor().await?;
            self.mend(stop).await?;
            // Subscribes before the log is read, so that no commit in between is missed.
            committed.mark_unchanged();
            let events = self.read().await?;
            if events.is_empty() {
                self.wait(&mut committed, stop).await?;
                continue;
            }
            let mut waiting = self.select(events).await?;
            while !waiting.is_empty() && !stop.is_cancelled() && !self.lease.is_lost() {
                if !self.publish(&mut waiting, stop).await? {
                    self.failures += 1;
                    pause(stop, self.relay.backoff(self.failures)).await;
                    // After an outage, the sink may be another one.
                    if !stop.is_cancelled() && !self.agree(stop).await? {
                        return Ok(());
                    }
                }
            }
            self.save_if_due().await?;
        }
    }

    /// Publishes the remaining events until the first failure. Returns true if all were
    /// published.
    async fn say_farewell(&mut self) -> Result<bool, Ended> {
        self.save().await?;
        let never = CancellationToken::new();
        loop {
            let events = self.read().await?;
            if events.is_empty() {
                return self.save().await.map(|()| true);
            }
            let mut waiting = self.select(events).await?;
            while !waiting.is_empty() {
                if !self.publish(&mut waiting, &never).await? {
                    return self.save().await.map(|()| false);
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<LoggedEvent>, Ended> {
        let events = self.relay.log.feed(self.settled, self.relay.options.batch).await?;
        // Positions have gaps, but a gap must not contain detached events. A new sink starts
        // with the oldest event.
        let gap = events.first().is_some_and(|first| first.position.0 > self.settled.0 + 1);
        if gap && self.settled > Position(0) && self.relay.log.oldest().await? > self.settled {
            let error = PortError::inconsistent("events were archived before the sink had them");
            self.note_failure(&error).await?;
            return Err(error.into());
        }
        Ok(events)
    }

    /// Reads a batch, without the events of orders that are held back.
    async fn select(&mut self, events: Vec<LoggedEvent>) -> Result<Waiting, PortError> {
        let mut waiting = Waiting::new(events);
        if self.letters && !waiting.is_empty() {
            let orders: BTreeSet<OrderId> =
                waiting.events.iter().map(|logged| logged.event.order.order_id.clone()).collect();
            let held = self.relay.outbox.held_back(self.relay.sink.name(), &orders).await?;
            waiting.hold_back(&held);
            self.settle(&waiting);
        }
        Ok(waiting)
    }

    /// Publishes the waiting events once. Returns true if an event was published or refused.
    async fn publish(&mut self, waiting: &mut Waiting, stop: &CancellationToken) -> Result<bool, Ended> {
        let relay = self.relay;
        let Delivery { receipts, failure } = relay.publish(&waiting.events, stop).await;
        let letters = waiting.settle(receipts, relay.clock.as_ref());
        self.settle(waiting);
        if !letters.is_empty() {
            self.bury(&letters).await?;
        }
        if waiting.progressed {
            self.failures = 0;
        }
        if let Some(error) = failure {
            self.tell(&chain(&error), waiting.events.len());
            self.note_failure(&error).await?;
            return Ok(false);
        }
        if waiting.progressed
            && let Some(failures) = self.outage.end()
        {
            tracing::info!(sink = relay.sink.name(), failures, "sink recovered, publishing again");
        }
        Ok(waiting.progressed)
    }

    /// Logs each cause once per outage, because the relay retries without end.
    pub(super) fn tell(&mut self, cause: &str, events: usize) {
        let sink = self.relay.sink.name();
        if self.outage.is_new(cause) {
            tracing::warn!(sink, events, cause, "publish failed, events wait in the store");
        } else {
            tracing::debug!(sink, events, cause, "publish failed, retrying");
        }
    }

    /// Waits for new events, a decision about a dead letter, or a stop request.
    async fn wait(&mut self, committed: &mut Committed, stop: &CancellationToken) -> Result<(), Ended> {
        let options = &self.relay.options;
        let poll = Instant::now() + options.poll;
        let save = self.unsaved.map(|since| since + options.save_after);
        tokio::select! {
            () = stop.cancelled() => {}
            changed = committed.changed() => if changed.is_err() {
                // No writer is left. The relay polls.
                sleep_until(save.unwrap_or(poll)).await;
            },
            () = sleep_until(save.unwrap_or(poll).min(poll)) => {}
        }
        self.save_if_due().await
    }
}

pub(super) async fn pause(stop: &CancellationToken, time: Duration) {
    stop.run_until_cancelled(sleep(time)).await;
}
