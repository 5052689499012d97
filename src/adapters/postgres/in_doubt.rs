//! What became of a transaction whose connection died while it committed.
//!
//! Looking for its rows at once is not enough: the process may still be at it,
//! and commit seconds later. So the process is ended first, then its end is
//! waited for, and only then do the rows tell the truth: a process leaves the
//! list of those that are alive after its transaction is over, and visible or
//! not. A server that crashed meanwhile answers when it has recovered, and its
//! processes are others, by their start if not by their number.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use uuid::Uuid;

use super::connect::{ConnectOptions, with_cause};
use super::pool::Connections;
use super::session::Backend;
use crate::domain::{EventId, OrderId};
use crate::ports::{Outcome, PortError, Writes};

/// How often the end of the transaction is asked for.
const POLL: Duration = Duration::from_millis(10);
/// The pause before another connection is tried.
const RECONNECT: Duration = Duration::from_millis(100);

/// The result of a write attempt.
pub(super) enum Run {
    Committed(Vec<Outcome>),
    /// Nothing was written, and it is worth trying again at once.
    Undone,
}

/// An event that is there if, and only if, its transaction was committed.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    pub(super) event_id: EventId,
    pub(super) order_id: OrderId,
    pub(super) sequence: i64,
}

impl Witness {
    pub(super) fn of(writes: &Writes) -> Option<Self> {
        writes.events.as_slice().first().map(|event| Self {
            event_id: event.event_id,
            order_id: event.order.order_id.clone(),
            sequence: event.sequence,
        })
    }
}

/// Finds out what became of a write that was not answered.
pub(super) async fn settle(
    connections: &Connections,
    doubt: InDoubt,
    outcomes: Vec<Outcome>,
) -> Result<Run, PortError> {
    match doubt.resolve(connections.connect_options(), connections.timeout()).await {
        Ok(Truth::Committed) => Ok(Run::Committed(outcomes)),
        // Records without an event prove nothing; run again, the batch finds
        // its own if they are there.
        Ok(Truth::Undone | Truth::AskAgain) => Ok(Run::Undone),
        Err(cause) => Err(PortError::in_doubt("a connection broke during COMMIT", cause)),
    }
}

/// A transaction that may or may not have been committed.
pub(super) struct InDoubt {
    pub(super) backend: Backend,
    pub(super) witness: Option<Witness>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Committed,
    Undone,
    /// It is over, and nothing that it wrote proves how.
    AskAgain,
}

impl InDoubt {
    /// Finds out, over connections of its own.
    ///
    /// # Errors
    /// It could not be found out in that time; the last reason why.
    pub(super) async fn resolve(
        &self,
        connect_options: &ConnectOptions,
        patience: Duration,
    ) -> Result<Truth, String> {
        let mut why = "the database did not answer".to_owned();
        let trying = async {
            loop {
                match self.attempt(connect_options).await {
                    Ok(truth) => return truth,
                    Err(error) => why = with_cause(&error),
                }
                sleep(RECONNECT).await;
            }
        };
        let truth = timeout(patience, trying).await;
        truth.map_err(|_| why)
    }

    async fn attempt(&self, connect_options: &ConnectOptions) -> Result<Truth, tokio_postgres::Error> {
        let client = connect_options.client().await?;
        while is_alive(&client, &self.backend).await? {
            sleep(POLL).await;
        }
        let Some(witness) = &self.witness else { return Ok(Truth::AskAgain) };
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
        Ok(if found.is_some() { Truth::Committed } else { Truth::Undone })
    }
}

/// Ends the process, and waits a while for it to be gone.
async fn is_alive(client: &Client, backend: &Backend) -> Result<bool, tokio_postgres::Error> {
    let ended = client
        .query_opt(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
             WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2",
            &[&backend.process, &backend.started],
        )
        .await?;
    Ok(ended.is_some())
}
