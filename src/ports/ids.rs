use crate::domain::{EventId, Timestamp};

/// The generator of ids. The only source of randomness in the application.
pub trait Ids: Send + Sync {
    /// Returns a new UUIDv7 for an event at an instant.
    fn event_id(&self, at: Timestamp) -> EventId;

    /// Returns a new correlation id for a request without one.
    fn correlation_id(&self) -> String;
}
