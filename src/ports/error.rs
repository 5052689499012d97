use std::error::Error;
use std::fmt::Write as _;

/// The kind of a port failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The technology behind the port is unreachable, full, read-only or too slow. Nothing was
    /// done.
    Unavailable,
    /// The connection was lost while a change was made durable, and its outcome could not be
    /// determined.
    InDoubt,
    /// Stored data breaks an invariant. The message names table, column and key.
    Inconsistent,
}

/// A failure of a port. The cause is for the log only and never shown to callers, so `Display`
/// does not print it.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct PortError {
    kind: ErrorKind,
    context: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl PortError {
    /// Returns an error for an operation that had no effect.
    pub fn unavailable(context: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Unavailable, context: context.into(), cause: Some(cause.into()) }
    }

    /// Returns an error for an operation with an unknown outcome.
    pub fn in_doubt(context: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::InDoubt, context: context.into(), cause: Some(cause.into()) }
    }

    /// Returns an error for stored data that breaks an invariant.
    pub fn inconsistent(context: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Inconsistent, context: context.into(), cause: None }
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns true if the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable => true,
            ErrorKind::InDoubt | ErrorKind::Inconsistent => false,
        }
    }
}

/// Formats an error and its causes in one line, for the log.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
