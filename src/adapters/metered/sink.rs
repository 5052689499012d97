use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use metrics::{Counter, Histogram, counter, histogram};

use super::names;
use crate::ports::{Delivery, EventSink, LoggedEvent, PortError, Receipt, SinkTail};

/// An [`EventSink`] that counts published events.
pub struct MeteredSink {
    sink: Arc<dyn EventSink>,
    published: Counter,
    refused: Counter,
    failures: Counter,
    duration: Histogram,
}

impl MeteredSink {
    /// Wraps a sink.
    pub fn new(sink: Arc<dyn EventSink>) -> Self {
        let label = || ("sink", sink.name().to_owned());
        let (published, refused) =
            (counter!(names::EVENTS_PUBLISHED, &[label()]), counter!(names::EVENTS_REFUSED, &[label()]));
        let failures = counter!(names::PUBLISH_FAILURES, &[label()]);
        let duration = histogram!(names::PUBLISH_DURATION, &[label()]);
        Self { sink, published, refused, failures, duration }
    }
}

#[async_trait]
impl EventSink for MeteredSink {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn describe(&self) -> String {
        self.sink.describe()
    }

    fn discards(&self) -> bool {
        self.sink.discards()
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.sink.ping().await
    }

    async fn tail(&self) -> Result<SinkTail, PortError> {
        self.sink.tail().await
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        let began = Instant::now();
        let delivery = self.sink.publish(events).await;
        self.duration.record(began.elapsed());
        let count = |wanted: fn(&Receipt) -> bool| {
            delivery.receipts.iter().filter(|receipt| wanted(receipt)).count() as u64
        };
        self.published.increment(count(|receipt| matches!(receipt, Receipt::Acknowledged)));
        self.refused.increment(count(|receipt| matches!(receipt, Receipt::Refused(_))));
        self.failures.increment(u64::from(delivery.failure.is_some()));
        delivery
    }
}
