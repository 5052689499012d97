use tokio::time::Instant;

use crate::domain::{Actor, Traceparent};

/// Who asks, and until when an answer is of use.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who asks.
    pub actor: Actor,
    /// Whose idempotency keys these are: the authenticated principal, or empty
    /// while authentication is off.
    pub scope: String,
    /// The trace that the call belongs to, if the caller named one.
    pub traceparent: Option<Traceparent>,
    /// When the caller stops waiting.
    pub deadline: Instant,
}
