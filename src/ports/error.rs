use std::error::Error;
use std::fmt::Write as _;

/// What kind of failure a port had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The technology behind the port cannot be reached, is full, read-only or
    /// too slow. Nothing was done.
    Unavailable,
    /// The technology was lost while it made a change durable, and it could not
    /// be found out whether it did.
    InDoubt,
    /// What was stored breaks an invariant: the message names table, column
    /// and key.
    Inconsistent,
}

/// A failure of a port. Who logs it reads the cause; no caller of the service
/// ever does, so it has no `Display` of the cause's text.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct PortError {
    kind: ErrorKind,
    context: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl PortError {
    /// Nothing was done, because of that cause.
    pub fn unavailable(context: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Unavailable, context: context.into(), cause: Some(cause.into()) }
    }

    /// The change may have been made, or not, because of that cause.
    pub fn in_doubt(context: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::InDoubt, context: context.into(), cause: Some(cause.into()) }
    }

    /// What was stored breaks an invariant.
    pub fn inconsistent(context: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Inconsistent, context: context.into(), cause: None }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed a little later.
    pub fn retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable => true,
            ErrorKind::InDoubt | ErrorKind::Inconsistent => false,
        }
    }
}

/// An error and its causes, in one line, for whoever logs it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
