//! Batch writes. This file chooses the path: a batch that only creates orders
//! is tried by `optimistic_insert` first, and everything else, or what that
//! path could not write, takes the locking path of `locking_write`.

use super::error::Failure;
use super::in_doubt::Attempt;
use super::pipelined_connections::PipelinedConnections;
use super::pool::Connections;
use super::{locking_write, optimistic_insert};
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::ports::{Batch, Decide, Outcome, PortError};

/// Attempts on the locking path before the caller gets an error, which is
/// retryable. More than three were never needed in tests with racing batches.
const MAX_ATTEMPTS: usize = 8;

/// Loads, decides and writes a batch; retries while it loses races against other batches. Records
/// a failure, so that readiness requires a new commit.
pub(super) async fn transact(
    connections: &Connections,
    pipelined: &PipelinedConnections,
    optimistic: &OptimisticInsert,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Vec<Outcome>, PortError> {
    let write = async {
        let inserted = optimistic_insert::write(connections, pipelined, optimistic, batch, decide).await?;
        if let Some(outcomes) = inserted {
            return Ok(outcomes);
        }
        for _ in 0..MAX_ATTEMPTS {
            if let Attempt::Committed(outcomes) = locking_write::write(connections, batch, decide).await? {
                return Ok(outcomes);
            }
        }
        Err(Failure::LostRace.into())
    };
    let written = write.await;
    connections.last_commit().record(&written, false);
    written
}
