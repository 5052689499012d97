use std::time::Duration;

use crate::domain::Refusal;
use crate::ports::{ErrorKind, PortError, chain};

/// Retry delay for a caller when the store is unreachable.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);

/// Converts a port error to a refusal and logs its chain of causes. The refusal does not contain
/// the causes.
pub fn refuse(error: &PortError) -> Refusal {
    match error.kind() {
        ErrorKind::Unavailable => {
            tracing::warn!(cause = chain(error), "store request failed");
            unavailable()
        }
        ErrorKind::InDoubt => {
            tracing::error!(cause = chain(error), "commit in doubt: its outcome could not be determined");
            let message = "the connection to the storage was lost during the change; \
                           repeat the request with the same request_id";
            Refusal::unavailable(message, STORE_RETRY)
        }
        ErrorKind::Inconsistent => {
            tracing::error!(
                cause = chain(error),
                "stored data breaks an invariant; `pvz verify` on this store lists every difference"
            );
            Refusal::internal()
        }
    }
}

/// Returns the refusal for a store that is unavailable.
pub(super) fn unavailable() -> Refusal {
    Refusal::unavailable("the storage cannot be reached or cannot be written", STORE_RETRY)
}
