//! Adapters that do nothing: a disabled feature is a choice of adapter, so use cases have no
//! optional ports.

use std::future::pending;

use async_trait::async_trait;

use crate::ports::{
    CommitNotifications, CommitNotifier, Delivery, EventSink, LoggedEvent, PortError, SinkTail,
};

/// The sink of `events.url = "none:"`: discards every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullSink;

#[async_trait]
impl EventSink for NullSink {
    fn name(&self) -> &'static str {
        "none:"
    }

    fn describe(&self) -> String {
        "none: (events are not published)".to_owned()
    }

    fn discards(&self) -> bool {
        true
    }

    async fn tail(&self) -> Result<SinkTail, PortError> {
        Ok(SinkTail::default())
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        Delivery::complete(events.len())
    }
}

/// The notifications of a store that only one process uses. There are no other replicas to
/// notify.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullNotifications;

#[async_trait]
impl CommitNotifications for NullNotifications {
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl CommitNotifier for NullNotifications {
    async fn notify(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), PortError> {
        pending().await
    }
}
