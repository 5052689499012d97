use tokio::time::Instant;

use crate::domain::{Actor, Traceparent};

/// The caller of a use case.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The actor.
    pub actor: Actor,
    /// The scope of idempotency keys: the authenticated principal, or empty while authentication
    /// is off.
    pub scope: String,
    /// The trace of the call, if the caller sent one.
    pub traceparent: Option<Traceparent>,
    /// The deadline of the call.
    pub deadline: Instant,
}
