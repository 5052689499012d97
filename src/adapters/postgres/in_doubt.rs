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
use super::session::Backend;
use super::write::Witness;

/// How often the end of the transaction is asked for.
const POLL: Duration = Duration::from_millis(10);
/// The pause before another connection is tried.
const RECONNECT: Duration = Duration::from_millis(100);

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
