//! Batch writes: chooses the path. The optimistic insert comes first where it
//! applies, and the locking path decides everything else.

use super::error::Failure;
use super::in_doubt::Run;
use super::pipelined_connections::PipelinedConnections;
use super::pool::Connections;
use super::{locking_write, optimistic_insert};
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::ports::{Batch, Decide, Outcome, PortError};

/// How often a batch is run at most because others were first. Three was the
/// most ever seen; what fails so often is tried again by whoever called.
const RUNS: usize = 8;

/// Loads, decides, writes, until no other batch was first.
pub(super) async fn transact(
    connections: &Connections,
    pipelined: &PipelinedConnections,
    optimistic: &OptimisticInsert,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Vec<Outcome>, PortError> {
    if let Some(outcomes) =
        optimistic_insert::write(connections, pipelined, optimistic, batch, decide).await?
    {
        return Ok(outcomes);
    }
    for _ in 0..RUNS {
        if let Run::Committed(outcomes) = locking_write::run(connections, batch, decide).await? {
            return Ok(outcomes);
        }
    }
    Err(Failure::LostRace.into())
}
