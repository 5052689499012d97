use async_trait::async_trait;

use super::{LoggedEvent, PortError};
use crate::domain::{Event, EventId, OrderId};

/// The event sink: where events are published, in addition to the log. Delivery is at least
/// once, in sequence per order.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Returns the name under which the outbox stores the sink's cursor. A sink with another
    /// name starts from the first event.
    fn name(&self) -> &str;

    /// Returns the sink's technology and address, for people.
    fn describe(&self) -> String;

    /// Returns true if the sink discards every event. No event waits for such a
    /// sink, and no relay works for it.
    fn discards(&self) -> bool {
        false
    }

    /// Checks that the sink still has the published events. An unreachable sink passes, because its
    /// events wait in the store.
    ///
    /// # Errors
    /// Returns an error if published events are missing. Nothing must be published then.
    async fn ping(&self) -> Result<(), PortError> {
        Ok(())
    }

    /// Returns the end of the sink. A relay compares it with its log before it publishes.
    ///
    /// The adapter limits the duration of the call.
    async fn tail(&self) -> Result<SinkTail, PortError>;

    /// Publishes events, given in the order of the log. After an event that was not
    /// acknowledged, no later event of the same order is published.
    ///
    /// The adapter limits the duration of the call. The call may be dropped: events in flight
    /// may or may not be published.
    async fn publish(&self, events: &[LoggedEvent]) -> Delivery;
}

/// The end of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkTail {
    /// The number of partitions.
    pub partitions: usize,
    /// The last event of each partition that this release can read. Partitions without such an
    /// event are omitted.
    pub events: Vec<PublishedEvent>,
}

/// The identity of an event in a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEvent {
    /// The id.
    pub event_id: EventId,
    /// The order.
    pub order_id: OrderId,
    /// The sequence of the event within its order.
    pub sequence: i64,
}

impl From<&Event> for PublishedEvent {
    fn from(event: &Event) -> Self {
        let (order_id, sequence) = (event.order.order_id.clone(), event.sequence);
        Self { event_id: event.event_id, order_id, sequence }
    }
}

/// The result of a publish call.
#[derive(Debug)]
pub struct Delivery {
    /// A receipt for each event, in the same order.
    pub receipts: Vec<Receipt>,
    /// The cause of pending events, unless all are pending because of a refused predecessor.
    pub failure: Option<PortError>,
}

impl Delivery {
    /// Returns a delivery in which every event was published.
    pub fn complete(events: usize) -> Self {
        Self { receipts: vec![Receipt::Acknowledged; events], failure: None }
    }

    /// Returns a delivery in which no event is known to be published.
    pub fn failed(events: usize, failure: PortError) -> Self {
        Self { receipts: vec![Receipt::Pending; events], failure: Some(failure) }
    }
}

/// The result for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// The event is published and durable.
    Acknowledged,
    /// The sink refuses the event because of its content, permanently. The text is the cause.
    Refused(String),
    /// The event was not published, or may have been: publish it again.
    Pending,
}
