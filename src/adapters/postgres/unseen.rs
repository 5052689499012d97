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
use super::insert::InsertBatch;
use super::lanes::Lanes;
use super::pool::Connections;
use super::write::{Run, Witness, settle};
use crate::adapters::guess::Guess;
use crate::ports::{Batch, Decide, Loaded, Outcome, PortError, Verdict};

/// Writes a batch, if nothing that it names turns out to be there.
pub(super) async fn write(
    connections: &Connections,
    lanes: &Lanes,
    guess: &Guess,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Option<Vec<Outcome>>, PortError> {
    let Some(Verdict { writes, outcomes }) = guess.decide(batch, decide) else { return Ok(None) };
    let Some(statement) = InsertBatch::new(&writes) else { return Ok(None) };
    Versions::of(&Loaded::default()).check(&writes)?;
    match insert(connections, lanes, statement, Witness::of(&writes), outcomes).await? {
        Run::Committed(outcomes) => Ok(Some(outcomes)),
        Run::Undone => {
            guess.was_wrong();
            Ok(None)
        }
    }
}

async fn insert(
    connections: &Connections,
    lanes: &Lanes,
    statement: InsertBatch<'_>,
    witness: Option<Witness>,
    outcomes: Vec<Outcome>,
) -> Result<Run, PortError> {
    let seat = lanes.join(connections).await?;
    // Those before it may each take as long as a statement may.
    let patience = |ahead: usize| connections.patience() * u32::try_from(ahead + 1).unwrap_or(u32::MAX);
    // To the end of the answer: the statement commits after it has said how many
    // rows it made, and may still fail.
    let mut connection = seat.connection();
    let inserted = timeout(patience(seat.ahead), statement.execute(&mut connection)).await;
    match inserted {
        Ok(Ok(_)) => {
            seat.finish();
            return Ok(Run::Committed(outcomes));
        }
        // A session that goes on has refused the statement. Of one that died
        // nobody can tell whether it did before or after it committed.
        Ok(Err(error)) => {
            let goes_on = timeout(patience(seat.ahead), connection.batch_execute("")).await;
            if let Ok(Ok(())) = goes_on {
                seat.finish();
                return match error {
                    // Something is there. What it is, the long way sees.
                    Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Ok(Run::Undone),
                    error => Err(Failure::from(error).into()),
                };
            }
        }
        Err(_) => {}
    }
    let backend = seat.backend();
    drop(seat);
    settle(connections, InDoubt { backend, witness }, outcomes).await
}
