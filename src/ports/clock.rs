use crate::domain::Timestamp;

/// Tells the time. The only way that "now" enters the application.
pub trait Clock: Send + Sync {
    /// The present instant, cut to the microsecond. May run backwards.
    fn now(&self) -> Timestamp;
}
