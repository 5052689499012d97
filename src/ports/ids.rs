use crate::domain::{EventId, Timestamp};

/// Makes fresh ids. The only way that randomness enters the application.
pub trait Ids: Send + Sync {
    /// A fresh UUIDv7 for an event at that instant.
    fn event_id(&self, at: Timestamp) -> EventId;

    /// A fresh correlation id for a request that came without one.
    fn correlation_id(&self) -> String;
}
