use std::time::Duration;

use crate::domain::Refusal;
use crate::ports::{ErrorKind, PortError, chain};

/// How long a caller should wait before it tries a store again that could not
/// be reached.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);

/// The refusal for a failure of a port. The chain of causes goes into the log,
/// here and nowhere else; the caller reads a sentence without it.
pub fn refuse(error: &PortError) -> Refusal {
    match error.kind() {
        ErrorKind::Unavailable => {
            tracing::warn!(cause = chain(error), "the store did not do what was asked");
            Refusal::unavailable("the storage cannot be reached or cannot be written", STORE_RETRY)
        }
        ErrorKind::InDoubt => {
            tracing::error!(cause = chain(error), "whether a change was made could not be found out");
            let message = "the storage was lost during the change: repeat it with the same request_id";
            Refusal::unavailable(message, STORE_RETRY)
        }
        ErrorKind::Inconsistent => {
            tracing::error!(cause = chain(error), "what is stored breaks an invariant");
            Refusal::internal()
        }
    }
}
