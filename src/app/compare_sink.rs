//! Compares a sink with the log: the last events of the sink must be in the log.
//!
//! Events are missing from the log if the store was restored from a backup, if a failover lost
//! commits, or if another installation publishes to the sink. Then the log and the sink have
//! different events for the same order and sequence, and readers of the sink would drop the later
//! one as a duplicate. Events that a relay published before it crashed, and did not mark as
//! published, are in the log.

use std::sync::Arc;

use crate::domain::{EventId, OrderId};
use crate::ports::{
    EventLog, EventSink, KnownSink, OrderStore, Outbox, PortError, Position, PublishedEvent, SinkTail,
};

/// The comparison of a sink with the log of a store.
#[derive(Clone)]
pub struct CompareSink {
    pub(super) orders: Arc<dyn OrderStore>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) sink: Arc<dyn EventSink>,
}

/// A difference between a sink and the log, until an operator decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fork {
    /// The sink has an event that the log does not have.
    #[error(
        "{sink} has event {event_id} (order {order_id}, sequence {sequence}), which this store does not have: the \
         store was restored from an older backup, or another installation publishes there; {WAYS_ON}"
    )]
    Unknown {
        /// The sink.
        sink: String,
        /// The id of the event.
        event_id: EventId,
        /// Its order.
        order_id: OrderId,
        /// Its sequence within the order.
        sequence: i64,
    },
    /// The log has another event with the order and sequence of the sink's event.
    #[error(
        "{sink} has event {event_id} where this store has event {logged} (order {order_id}, sequence {sequence}): \
         the store was restored from an older backup, or another installation publishes there; {WAYS_ON}"
    )]
    Different {
        /// The sink.
        sink: String,
        /// The id of the sink's event.
        event_id: EventId,
        /// The id of the log's event.
        logged: EventId,
        /// The order.
        order_id: OrderId,
        /// The sequence within the order.
        sequence: i64,
    },
    /// The sink has events, and the store has none.
    #[error(
        "this store has no events, but {sink} has (the last one is event {event_id} of order {order_id}): is this \
         the right store (store.url)? To begin with a new store there, start with --allow-empty-store \
         (store.allow_empty)"
    )]
    EmptyStore {
        /// The sink.
        sink: String,
        /// The id of the sink's last event.
        event_id: EventId,
        /// Its order.
        order_id: OrderId,
    },
    /// The number of partitions changed.
    #[error(
        "{sink} had {before} partitions and has {now}: later events of an order would go to another partition than \
         earlier ones, and readers could see them out of sequence; let all readers read to the end, then run \
         `pvz outbox accept-fork` (with --server=HOST:PORT, unless gRPC is at 127.0.0.1:50051)"
    )]
    Repartitioned {
        /// The sink.
        sink: String,
        /// The recorded number.
        before: usize,
        /// The present number.
        now: usize,
    },
}

/// The commands that end a fork.
const WAYS_ON: &str = "run `pvz outbox accept-fork` to publish after what is there, or \
                       `pvz outbox republish --from=CURSOR` to publish earlier events again as well (both with \
                       --server=HOST:PORT, unless gRPC is at 127.0.0.1:50051)";

/// The result of a comparison.
pub(super) struct Compared {
    sink: String,
    partitions: usize,
    known: Option<KnownSink>,
    store_is_empty: bool,
    /// The last events of the sink that the log does not have, each with the log's event for the
    /// same order and sequence, if there is one.
    foreign: Vec<(PublishedEvent, Option<EventId>)>,
}

impl Compared {
    /// Returns the differences that no operator has accepted: events, then the number of
    /// partitions.
    fn forks(&self) -> impl Iterator<Item = Fork> {
        let sink = || self.sink.clone();
        let accepted = |id| self.known.as_ref().is_some_and(|known| known.accepted.contains(id));
        let foreign = self.foreign.iter().filter(move |(event, _)| !accepted(&event.event_id));
        let events = foreign.map(move |(event, logged)| {
            let PublishedEvent { event_id, order_id, sequence } = event.clone();
            match *logged {
                _ if self.store_is_empty => Fork::EmptyStore { sink: sink(), event_id, order_id },
                Some(logged) => Fork::Different { sink: sink(), event_id, logged, order_id, sequence },
                None => Fork::Unknown { sink: sink(), event_id, order_id, sequence },
            }
        });
        let (before, now) =
            (self.known.as_ref().map_or(self.partitions, |known| known.partitions), self.partitions);
        let partitions = (before != now).then(|| Fork::Repartitioned { sink: sink(), before, now });
        events.chain(partitions)
    }

    /// Returns the first difference that no operator has accepted.
    pub(super) fn fork(&self) -> Option<Fork> {
        self.forks().next()
    }
}

impl CompareSink {
    /// Returns the comparison of a sink with the log of a store.
    pub fn new(
        orders: Arc<dyn OrderStore>,
        log: Arc<dyn EventLog>,
        outbox: Arc<dyn Outbox>,
        sink: Arc<dyn EventSink>,
    ) -> Self {
        Self { orders, log, outbox, sink }
    }

    /// Returns a fork if the store has no events and the sink has some.
    ///
    /// # Errors
    /// Returns the error of the store or of the sink.
    pub async fn empty_store(&self) -> Result<Option<Fork>, PortError> {
        if self.sink.discards() || self.log.head().await? > Position(0) {
            return Ok(None);
        }
        Ok(self.compare(&self.sink.tail().await?).await?.fork())
    }

    /// Accepts the present state of the sink, so that publishing continues. Returns the number of
    /// differences.
    ///
    /// # Errors
    /// Returns the error of the store or of the sink.
    pub async fn accept_fork(&self) -> Result<usize, PortError> {
        if self.sink.discards() {
            return Ok(0);
        }
        let compared = self.compare(&self.sink.tail().await?).await?;
        self.accept(&compared).await?;
        for fork in compared.forks() {
            tracing::info!(reason = fork.to_string(), "operator accepted the sink");
        }
        Ok(compared.forks().count())
    }

    pub(super) async fn compare(&self, tail: &SinkTail) -> Result<Compared, PortError> {
        let known = self.outbox.known_sink(self.sink.name()).await?;
        let mut foreign = Vec::new();
        for event in &tail.events {
            let found = self.log.history(&event.order_id, event.sequence - 1, 1).await?;
            match found.first().map(|logged| &logged.event) {
                Some(logged) if logged.sequence == event.sequence => {
                    if logged.event_id != event.event_id {
                        foreign.push((event.clone(), Some(logged.event_id)));
                    }
                }
                // The remaining log begins with a later event of the order.
                Some(_) => {}
                None if self.was_archived(event).await? => {}
                None => foreign.push((event.clone(), None)),
            }
        }
        let store_is_empty = !foreign.is_empty() && self.log.head().await? == Position(0);
        let (sink, partitions) = (self.sink.describe(), tail.partitions);
        Ok(Compared { sink, partitions, known, store_is_empty, foreign })
    }

    /// Returns true if the events of an order up to this one were archived. The row of the order
    /// remains.
    async fn was_archived(&self, event: &PublishedEvent) -> Result<bool, PortError> {
        if self.log.oldest().await? == Position(0) {
            return Ok(false);
        }
        let order = self.orders.order(&event.order_id).await?;
        Ok(order.is_some_and(|order| order.version >= event.sequence))
    }

    /// Records a sink that agrees with the log, unless this state is already recorded.
    pub(super) async fn record(&self, compared: &Compared) -> Result<(), PortError> {
        match compared.known {
            Some(_) => Ok(()),
            None => self.accept(compared).await,
        }
    }

    /// Records the present state of the sink.
    pub(super) async fn accept(&self, compared: &Compared) -> Result<(), PortError> {
        let accepted = compared.foreign.iter().map(|(event, _)| event.event_id).collect();
        let known = KnownSink { partitions: compared.partitions, accepted };
        self.outbox.record_sink(self.sink.name(), &known).await
    }
}
