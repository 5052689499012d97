use crate::domain::Timestamp;

/// The clock. The only source of the current time in the application.
pub trait Clock: Send + Sync {
    /// Returns the current time, truncated to the microsecond. It may run backwards.
    fn now(&self) -> Timestamp;
}
