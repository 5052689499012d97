//! Batches that only make orders, written without looking first: one statement
//! that is its own transaction, in the place of five round trips.
//!
//! The keys of the tables prove the guess: every order and every record is
//! inserted, or the statement fails. It holds no lock when it begins, and
//! inserts in the order of (table, key) that the long way has too, so it adds
//! no cycle of waits.

use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use tokio::time::timeout;

use super::check::Versions;
use super::error::Failure;
use super::in_doubt::InDoubt;
use super::pool::{Connections, Lent};
use super::statement::InsertBatch;
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
    let statement = InsertBatch::new(writes);
    // To the end of the answer: the statement commits after it has said how many
    // rows it made, and may still fail.
    let inserted = timeout(connections.patience(), statement.execute(&mut *connection)).await;
    match inserted {
        Ok(Ok(_)) => {
            connection.give_back();
            return Ok(Run::Committed(outcomes));
        }
        // A session that goes on has refused the statement. Of one that died
        // nobody can tell whether it did before or after it committed.
        Ok(Err(error)) => {
            if goes_on(&mut connection, connections).await {
                connection.give_back();
                return match error {
                    // Something is there. What it is, the long way sees.
                    Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Ok(Run::Undone),
                    error => Err(Failure::from(error).into()),
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
