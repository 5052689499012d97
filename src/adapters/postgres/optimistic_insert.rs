//! Batches that only make orders, written without looking first: one statement
//! that is its own transaction, in the place of five round trips.
//!
//! The keys of the tables prove the optimistic: every order and every record is
//! inserted, or the statement fails. It holds no lock when it begins, and
//! inserts in the order of (table, key) that the long way has too, so it adds
//! no cycle of waits.

use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use tokio::time::timeout;

use super::check::Versions;
use super::error::Failure;
use super::in_doubt::{InDoubt, Run, Witness, settle};
use super::insert::InsertBatch;
use super::pipelined_connections::PipelinedConnections;
use super::pool::Connections;
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::ports::{Batch, BatchDecision, Decide, Loaded, Outcome, PortError};

/// Writes a batch, if nothing that it names turns out to be there.
pub(super) async fn write(
    connections: &Connections,
    pipelined: &PipelinedConnections,
    optimistic: &OptimisticInsert,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Option<Vec<Outcome>>, PortError> {
    let Some(BatchDecision { writes, outcomes }) = optimistic.decide(batch, decide) else { return Ok(None) };
    let Some(statement) = InsertBatch::new(&writes) else { return Ok(None) };
    Versions::of(&Loaded::default()).check(&writes)?;
    match insert(connections, pipelined, statement, Witness::of(&writes), outcomes).await? {
        Run::Committed(outcomes) => Ok(Some(outcomes)),
        Run::Undone => {
            optimistic.record_conflict();
            Ok(None)
        }
    }
}

async fn insert(
    connections: &Connections,
    pipelined: &PipelinedConnections,
    statement: InsertBatch<'_>,
    witness: Option<Witness>,
    outcomes: Vec<Outcome>,
) -> Result<Run, PortError> {
    let slot = pipelined.join(connections).await?;
    // Those before it may each take as long as a statement may.
    let patience = |ahead: usize| connections.patience() * u32::try_from(ahead + 1).unwrap_or(u32::MAX);
    // To the end of the answer: the statement commits after it has said how many
    // rows it made, and may still fail.
    let mut connection = slot.connection();
    let inserted = timeout(patience(slot.ahead), statement.execute(&mut connection)).await;
    match inserted {
        Ok(Ok(_)) => {
            slot.finish();
            return Ok(Run::Committed(outcomes));
        }
        // A session that goes on has refused the statement. Of one that died
        // nobody can tell whether it did before or after it committed.
        Ok(Err(error)) => {
            let goes_on = timeout(patience(slot.ahead), connection.batch_execute("")).await;
            if let Ok(Ok(())) = goes_on {
                slot.finish();
                return match error {
                    // Something is there. What it is, the long way sees.
                    Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Ok(Run::Undone),
                    error => Err(Failure::from(error).into()),
                };
            }
        }
        Err(_) => {}
    }
    let backend = slot.backend();
    drop(slot);
    settle(connections, InDoubt { backend, witness }, outcomes).await
}
