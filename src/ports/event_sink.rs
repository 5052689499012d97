use async_trait::async_trait;

use super::{LoggedEvent, PortError};

/// Where events go, besides the log that keeps them all. It takes each at least
/// once, and those of an order in sequence.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// The name under which the outbox keeps how far it got: another place for
    /// events has another name, and gets them from the beginning.
    fn name(&self) -> &str;

    /// What it is and where, for people.
    fn describe(&self) -> String;

    /// Returns true if the sink discards every event. No event waits for such a
    /// sink, and no relay works for it.
    fn discards(&self) -> bool {
        false
    }

    /// Writes events, which are in the order of the log. After an event that
    /// was not acknowledged, no later one of its order is written.
    ///
    /// The call is bounded in time by the adapter. Dropping it is safe: what
    /// was being written may have been, or may yet be.
    async fn publish(&self, events: &[LoggedEvent]) -> Delivery;
}

/// What became of a batch.
#[derive(Debug)]
pub struct Delivery {
    /// A receipt for each event, in their order.
    pub receipts: Vec<Receipt>,
    /// Why some are pending, unless only because of a refusal before them.
    pub failure: Option<PortError>,
}

impl Delivery {
    /// Everything was written.
    pub fn complete(events: usize) -> Self {
        Self { receipts: vec![Receipt::Acknowledged; events], failure: None }
    }

    /// Nothing is known to have been written.
    pub fn failed(events: usize, failure: PortError) -> Self {
        Self { receipts: vec![Receipt::Pending; events], failure: Some(failure) }
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// It is written, as durably as the sink keeps anything.
    Acknowledged,
    /// It will never be taken as it is, whatever the state of the sink. A
    /// sentence says why.
    Refused(String),
    /// It was not written, or may have been: it must be given again.
    Pending,
}
