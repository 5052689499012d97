//! Shared by the write paths: the result of an attempt, and the procedure that
//! determines it if the connection broke during COMMIT.
//!
//! Looking for the rows of the transaction at once would be wrong: the backend may still be
//! committing, and its rows become visible seconds later. So the end of the backend is awaited, and
//! only then are the rows looked up. The backend is terminated if it waits for its client or for a
//! lock, and never while it may be committing (see [`Backend::terminate_if_waiting`]). A backend
//! leaves `pg_stat_activity` after its transaction has ended, so from then on the rows are visible
//! or never will be. After a crash of the server the connection attempts fail until it has
//! recovered; a new backend may have the same process id, but not the same start.
//!
//! Visible rows are not durable yet if there is a synchronous standby, so the outcomes are returned
//! only after the [barrier](super::durability_barrier).

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::connect::{ConnectOptions, with_cause};
use super::pool::Connections;
use super::session::Backend;
use crate::domain::{EventId, OrderId};
use crate::ports::{Outcome, PortError, Writes};

/// Interval between queries for the end of the backend.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Pause before the next connection attempt.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// The result of an attempt to write a batch.
pub(super) enum Attempt {
    /// The transaction has committed, with these outcomes.
    Committed(Vec<Outcome>),
    /// Nothing is known to be written, and the batch may be tried again at once.
    Retry,
}

/// An event that exists if, and only if, its transaction has committed.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    event_id: EventId,
    order_id: OrderId,
    sequence: i64,
}

impl Witness {
    /// Returns the first event of a batch; `None` if it has no events.
    pub(super) fn of(writes: &Writes) -> Option<Self> {
        writes.events.as_slice().first().map(|event| Self {
            event_id: event.event_id,
            order_id: event.order.order_id.clone(),
            sequence: event.sequence,
        })
    }
}

/// A transaction that may or may not have committed.
pub(super) struct InDoubt {
    /// The backend that ran it.
    pub(super) backend: Backend,
    /// An event that it wrote, if it wrote events.
    pub(super) witness: Option<Witness>,
}

/// The outcome of a transaction in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Committed,
    RolledBack,
    /// It has ended, and it wrote no event from which its outcome can be determined.
    Unknown,
}

impl InDoubt {
    /// Determines whether the transaction has committed, and returns these outcomes if it has and
    /// is durable.
    ///
    /// # Errors
    /// The outcome could not be determined within the timeout, or the transaction is not known to
    /// be durable: the write stays in doubt.
    pub(super) async fn resolve(
        &self,
        connections: &Connections,
        outcomes: Vec<Outcome>,
    ) -> Result<Attempt, PortError> {
        let give_up = Instant::now() + connections.timeout();
        match self.ending(connections.connect_options(), give_up).await {
            Ok(Ending::Committed) => match connections.barrier().pass(give_up).await {
                Ok(()) => {
                    connections.last_commit().record_commit();
                    Ok(Attempt::Committed(outcomes))
                }
                Err(cause) => Err(PortError::in_doubt("the commit is not known to be durable", cause)),
            },
            // A batch that wrote only idempotency records is safe to run again:
            // if they were committed, it reads its own records.
            Ok(Ending::RolledBack | Ending::Unknown) => Ok(Attempt::Retry),
            Err(cause) => Err(PortError::in_doubt("COMMIT was not answered", cause)),
        }
    }

    /// Retries on new connections until the answer or the timeout; the error is
    /// the cause of the last failure.
    async fn ending(&self, connect_options: &ConnectOptions, give_up: Instant) -> Result<Ending, String> {
        let mut last_cause = "the transaction has not ended, or the database does not answer".to_owned();
        let retries = async {
            loop {
                match self.query_ending(connect_options).await {
                    Ok(ending) => return ending,
                    Err(error) => last_cause = with_cause(&error),
                }
                sleep(RECONNECT_DELAY).await;
            }
        };
        let ending = timeout_at(give_up, retries).await;
        ending.map_err(|_| last_cause)
    }

    async fn query_ending(&self, connect_options: &ConnectOptions) -> Result<Ending, tokio_postgres::Error> {
        let client = connect_options.client().await?;
        while self.backend.terminate_if_waiting(&client).await? {
            sleep(POLL_INTERVAL).await;
        }
        let Some(witness) = &self.witness else { return Ok(Ending::Unknown) };
        let found = client
            .query_opt(
                "SELECT FROM order_events WHERE order_id = $1 AND sequence = $2 AND event_id::text = $3",
                &[
                    &witness.order_id.as_str(),
                    &witness.sequence,
                    &Uuid::from_u128(witness.event_id.0).to_string(),
                ],
            )
            .await?;
        Ok(if found.is_some() { Ending::Committed } else { Ending::RolledBack })
    }
}
