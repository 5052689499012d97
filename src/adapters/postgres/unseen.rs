//! Batches that only make orders, written without looking first: one statement
//! that is its own transaction, in the place of five round trips.
//!
//! It is the statement of the long way, with nothing loaded. Its guards prove
//! the guess: they let it write only if every order and every record was
//! inserted. It holds no lock when it begins, and inserts in the same order of
//! (table, key), so it adds no cycle of waits.

use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use tokio::time::timeout;

use super::check::Versions;
use super::error::Failure;
use super::in_doubt::InDoubt;
use super::pool::{Connections, Lent};
use super::statement::WriteBatch;
use super::write::{Run, Witness, settle};
use crate::adapters::guess::Guess;
use crate::ports::{Batch, Decide, Loaded, Outcome, PortError, Verdict, Writes};

/// Writes a batch, if nothing that it names turns out to be there.
pub(super) async fn write(
    connections: &Connections,
    guess: &Guess,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Option<Vec<Outcome>>, PortError> {
    let Some(Verdict { writes, outcomes }) = guess.decide(batch, decide) else { return Ok(None) };
    Versions::of(&Loaded::default()).check(&writes)?;
    match insert(connections, &writes, outcomes).await? {
        Run::Committed(outcomes) => Ok(Some(outcomes)),
        Run::Undone => {
            guess.was_wrong();
            Ok(None)
        }
    }
}

async fn insert(
    connections: &Connections,
    writes: &Writes,
    outcomes: Vec<Outcome>,
) -> Result<Run, PortError> {
    let mut connection = connections.take().await?;
    let statement = WriteBatch::new(writes, |_| None);
    // To the end of the answer, and not only to its row: the statement commits
    // after it has said what it did, and may still fail.
    let inserted = timeout(connections.patience(), statement.load::<String>(&mut *connection)).await;
    match inserted {
        Ok(Ok(_)) => {
            connection.give_back();
            return Ok(Run::Committed(outcomes));
        }
        // A session that goes on has refused the statement. Of one that died
        // nobody can tell whether it did before or after it committed.
        Ok(Err(error)) => {
            let failure = Failure::from(error);
            if goes_on(&mut connection, connections).await {
                connection.give_back();
                return match failure {
                    Failure::LostRace => Ok(Run::Undone),
                    failure => Err(failure.into()),
                };
            }
        }
        Err(_) => {}
    }
    let backend = connection.backend();
    drop(connection);
    settle(connections, InDoubt { backend, witness: Witness::of(writes) }, outcomes).await
}

async fn goes_on(connection: &mut Lent, connections: &Connections) -> bool {
    matches!(timeout(connections.timeout(), connection.batch_execute("")).await, Ok(Ok(())))
}
