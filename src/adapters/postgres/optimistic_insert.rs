//! The optimistic path: a batch that only creates orders is written without
//! reading anything first, by one statement that is its own transaction, instead
//! of five round trips.
//!
//! The primary keys verify the assumption that nothing exists yet: every order
//! and every idempotency record is inserted, or the statement fails with a
//! unique violation and writes nothing. The batch then takes the locking path.
//!
//! The statement holds no row lock when it begins, and inserts in the order
//! (table, key) as the locking path does, so it adds no cycle of lock waits.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::RunQueryDsl as _;
use tokio::time::timeout;

use super::columns::{Columns as _, StatementText};
use super::error::Failure;
use super::in_doubt::{Attempt, InDoubt, Witness};
use super::loaded_versions::LoadedVersions;
use super::pipelined_connections::PipelinedConnections;
use super::pool::{Connections, answered};
use super::tables::{
    EventDetailsArrays, EventKind, EventKindArrays, OrderAcceptanceArrays, OrderStatus, OrderStatusArrays,
    RecordContentArrays, RecordKeyArrays,
};
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::ports::{Batch, BatchDecision, Decide, Loaded, Outcome, PortError, Writes};

/// Writes a batch if the optimistic insert applies and nothing that the batch
/// names exists. Returns `None` if nothing was written.
pub(super) async fn write(
    connections: &Connections,
    pipelined: &PipelinedConnections,
    optimistic: &OptimisticInsert,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Option<Vec<Outcome>>, PortError> {
    let Some(BatchDecision { writes, outcomes }) = optimistic.decide(batch, decide) else { return Ok(None) };
    let Some(statement) = InsertBatch::new(&writes) else { return Ok(None) };
    LoadedVersions::of(&Loaded::default()).check(&writes)?;
    match insert(connections, pipelined, statement, Witness::of(&writes), outcomes).await? {
        Attempt::Committed(outcomes) => Ok(Some(outcomes)),
        Attempt::Retry => {
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
) -> Result<Attempt, PortError> {
    let slot = pipelined.acquire(connections).await?;
    // Each statement ahead on the connection may take the whole timeout.
    let statements = u32::try_from(slot.ahead + 1).unwrap_or(u32::MAX);
    let limit = connections.operation_timeout() * statements;
    // Reads the response to its end: the statement commits after it has sent
    // the number of rows, and may still fail.
    let mut connection = slot.connection();
    match timeout(limit, statement.execute(&mut connection)).await {
        Ok(Ok(_)) => {
            slot.release();
            connections.last_commit().record_commit();
            return Ok(Attempt::Committed(outcomes));
        }
        // If the session still answers, the server has rejected the statement.
        // If it does not, the statement may have committed before it died.
        Ok(Err(error)) => {
            if let Ok(Ok(())) = timeout(limit, answered(connection)).await {
                slot.release();
                return match error {
                    // Something exists; the locking path reads what.
                    Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Ok(Attempt::Retry),
                    error => Err(Failure::from(error).into()),
                };
            }
        }
        Err(_) => {}
    }
    let backend = slot.backend();
    slot.retire(connections);
    InDoubt { backend, witness }.resolve(connections, outcomes).await
}

/// The statement. Its text does not depend on the size of the batch.
///
/// The parts run in the same order as those of the locking path, each after the
/// row count of the one before, so lock waits have the same order. It omits what
/// that path pays for and new orders do not need: the check for a conflict
/// before each row with its second WAL record, the UPDATE, which PostgreSQL sets
/// up even for no rows, and columns that are the same for all new orders, which
/// are constants here.
///
/// It does not sort either. [`Writes`] are sorted by key, and `unnest` in a
/// select list yields rows in the order of the arrays without materialising
/// them, as `unnest` in FROM would. If rows ever came in another order, two
/// batches might deadlock; PostgreSQL detects that and one of them is retried.
/// The log would not be affected, because each order has one event.
#[derive(Debug)]
pub(super) struct InsertBatch<'a> {
    orders: OrderAcceptanceArrays<'a>,
    record_keys: RecordKeyArrays<'a>,
    record_contents: RecordContentArrays,
    events: EventDetailsArrays<'a>,
}

impl<'a> InsertBatch<'a> {
    /// Returns the statement if the batch inserts orders that were just
    /// accepted, their first events, and nothing else but records.
    pub(super) fn new(writes: &'a Writes) -> Option<Self> {
        let Writes { inserted, updated, events, records } = writes;
        let applies = updated.is_empty()
            && events.len() == inserted.len()
            && inserted.iter().all(|order| OrderStatus::from(order) == OrderStatus::ACCEPTED)
            && events.iter().all(|event| EventKind::from(event) == EventKind::ACCEPTED);
        if !applies {
            return None;
        }
        let mut statement = Self {
            orders: OrderAcceptanceArrays::with_capacity(inserted.len()),
            record_keys: RecordKeyArrays::with_capacity(records.len()),
            record_contents: RecordContentArrays::with_capacity(records.len()),
            events: EventDetailsArrays::with_capacity(events.len()),
        };
        for order in inserted {
            statement.orders.push(order.into());
        }
        for (key, record) in records {
            statement.record_keys.push(key.into());
            statement.record_contents.push(record.into());
        }
        for event in events {
            statement.events.push(event.into());
        }
        Some(statement)
    }
}

impl QueryFragment<Pg> for InsertBatch<'_> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = StatementText::new(out);
        text.sql("WITH new_orders AS (\n    INSERT INTO orders (").names::<OrderAcceptanceArrays<'_>>();
        text.sql(", ").names::<OrderStatusArrays>().sql(")\n    SELECT ");
        let orders = text.select(&self.orders)?;
        text.sql(", ").sql(&OrderStatus::ACCEPTED.literals());
        text.sql("\n    RETURNING 1\n), new_records AS (\n    INSERT INTO idempotency (");
        text.names::<RecordKeyArrays<'_>>().sql(", ").names::<RecordContentArrays>();
        text.sql(")\n    SELECT * FROM (SELECT ");
        let records = text.select(&self.record_keys)?;
        text.sql(", ");
        text.select(&self.record_contents)?;
        text.sql(") AS new\n    WHERE (SELECT count(*) FROM new_orders) = ").cardinality(orders);
        text.sql("\n    RETURNING 1\n)\nINSERT INTO order_events (").names::<EventDetailsArrays<'_>>();
        text.sql(", ").names::<EventKindArrays>().sql(")\nSELECT *, ").sql(&EventKind::ACCEPTED.literals());
        text.sql(" FROM (SELECT ");
        text.select(&self.events)?;
        text.sql(") AS new\nWHERE (SELECT count(*) FROM new_records) = ").cardinality(records);
        Ok(())
    }
}

impl QueryId for InsertBatch<'_> {
    /// The text is constant, so the prepared statement is found by the type.
    type QueryId = InsertBatch<'static>;
}
