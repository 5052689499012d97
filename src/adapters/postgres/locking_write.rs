//! The batch write: one transaction at READ COMMITTED, the same few statements
//! whatever the size of the batch.
//!
//! Why no effect is lost or doubled, and nothing deadlocks:
//! - The orders that exist are locked first, in the order of their keys; only
//!   then are the records read, by a statement of its own. After a wait for a
//!   lock its snapshot is newer than the commit that was waited for, so that
//!   commit's record is seen. One statement for both would not see it.
//! - An order or record that is not there cannot be locked. Another batch may
//!   insert it between our load and our write; then the guarded statement finds
//!   it, writes nothing and fails, and the batch is run again from the start,
//!   now seeing it. Neighbours get the same decision again, the loser another.
//! - Records are newer than orders. If one tells of a command whose order was
//!   not loaded but is there by now, the batch is run again too: no command may
//!   be decided as if an earlier one of its batch had not been.
//! - An order that was loaded is locked, so its version cannot change; it is
//!   compared all the same.
//! - While it inserts, a batch waits only for batches that insert too, and all
//!   of them do so in the order (table, key). Whoever still loads holds only
//!   rows that exist, for which an inserting batch does not wait.
//! - The statement before COMMIT has been answered when COMMIT is sent: nothing
//!   of a transaction is pipelined, so nothing can be overtaken.

use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, TransactionManager as _};
use tokio::time::timeout;

use super::check::Versions;
use super::error::Failure;
use super::in_doubt::{InDoubt, Run, Witness, settle};
use super::pool::{Connections, PooledConnection};
use super::rows::{self, IdempotencyColumns, ORDER, OrderColumns, RECORD};
use super::session::Transactions;
use super::sql::Sql;
use super::statement::WriteBatch;
use crate::adapters::rows::{IdempotencyRow, OrderRow};
use crate::ports::{Batch, BatchDecision, Decide, Loaded, Outcome, PortError};

pub(super) async fn run(
    connections: &Connections,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Run, PortError> {
    let mut connection = begin(connections).await?;
    let prepared = match connections.bound(prepare(&mut connection, batch, decide)).await {
        Ok(prepared) => prepared,
        // The connection is closed, and the transaction ends with it.
        Err(Failure::Silent) => return Err(Failure::Silent.into()),
        Err(failure) => {
            // Unless the rollback succeeds, the same.
            let rollback = Transactions::rollback_transaction(&mut *connection);
            if let Ok(Ok(())) = timeout(connections.timeout(), rollback).await {
                connection.give_back();
            }
            return match failure {
                Failure::LostRace => Ok(Run::Undone),
                other => Err(other.into()),
            };
        }
    };
    let Prepared { outcomes, written } = prepared;
    let committed = timeout(connections.timeout(), Transactions::commit_transaction(&mut *connection)).await;
    let failure = match committed {
        Ok(Ok(())) => {
            connection.give_back();
            return Ok(Run::Committed(outcomes));
        }
        Ok(Err(error)) => Failure::from(error).into(),
        Err(elapsed) => PortError::unavailable("COMMIT was not answered", elapsed),
    };
    let backend = connection.backend();
    drop(connection);
    // Nothing was written, so nothing can have been lost.
    let Some(witness) = written else { return Err(failure) };
    settle(connections, InDoubt { backend, witness }, outcomes).await
}

/// A connection with a transaction open. If the one from the pool is dead, on
/// another: nothing was sent yet.
async fn begin(connections: &Connections) -> Result<PooledConnection, Failure> {
    let mut connection = connections.take().await?;
    match connections.bound(open(&mut connection)).await {
        Ok(()) => return Ok(connection),
        Err(failure) if !connection.is_broken() => return Err(failure),
        Err(_) => drop(connection),
    }
    let mut connection = connections.take().await?;
    connections.bound(open(&mut connection)).await?;
    Ok(connection)
}

async fn open(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    Ok(Transactions::begin_transaction(connection).await?)
}

/// A transaction that only needs its COMMIT.
struct Prepared {
    outcomes: Vec<Outcome>,
    /// Whether something was written, and the event that proves it, if there is
    /// one.
    written: Option<Option<Witness>>,
}

async fn prepare(
    connection: &mut AsyncPgConnection,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Prepared, Failure> {
    let loaded = load(connection, batch).await?;
    let versions = Versions::of(&loaded);
    let replaced: std::collections::HashMap<_, _> =
        loaded.records.iter().map(|(key, record)| (key.clone(), record.created_at.micros())).collect();
    let BatchDecision { writes, outcomes } = decide.decide(loaded);
    if writes.is_empty() {
        return Ok(Prepared { outcomes, written: None });
    }
    versions.check(&writes)?;
    let statement = WriteBatch::new(&writes, |key| replaced.get(key).copied());
    // To the end of the answer: what fails after the row was sent undoes the
    // transaction, and COMMIT would then answer as if nothing were wrong.
    let _: Vec<String> = statement.load(connection).await?;
    Ok(Prepared { outcomes, written: Some(Witness::of(&writes)) })
}

async fn load(connection: &mut AsyncPgConnection, batch: &Batch) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::default();
    if !batch.order_ids.is_empty() {
        let ids = batch.order_ids.iter().map(ToString::to_string).collect();
        let rows: Vec<OrderRow> = lock_orders(ids).load(connection).await?;
        for row in rows {
            let order = rows::order(row)?;
            loaded.orders.insert(order.order_id.clone(), order);
        }
    }
    if !batch.idempotency_keys.is_empty() {
        let scopes = batch.idempotency_keys.iter().map(|key| key.scope.clone()).collect();
        let request_ids = batch.idempotency_keys.iter().map(|key| key.request_id.to_string()).collect();
        let rows: Vec<IdempotencyRow> = records(scopes, request_ids).load(connection).await?;
        for row in rows {
            let (key, record) = rows::record(row)?;
            loaded.records.insert(key, record);
        }
    }
    // The records were read later than the orders. If one is there already that
    // came with an order which was not yet, its command would be repeated, and
    // the next command on the order told that there is none.
    if !loaded.records.is_empty() && loaded.orders.len() < batch.order_ids.len() {
        let missing = batch.order_ids.iter().filter(|order_id| !loaded.orders.contains_key(*order_id));
        let appeared: Vec<String> =
            appeared(missing.map(ToString::to_string).collect()).load(connection).await?;
        if !appeared.is_empty() {
            return Err(Failure::LostRace);
        }
    }
    Ok(loaded)
}

/// Which of these orders are there by now.
fn appeared(ids: Vec<String>) -> Sql<Text> {
    Sql::new("SELECT order_id FROM orders WHERE order_id = ANY(").texts(ids).sql(") LIMIT 1")
}

/// Locks in the order of the ids, which never change, so that a row that was
/// waited for is still where it belongs.
pub(super) fn lock_orders(ids: Vec<String>) -> Sql<OrderColumns> {
    Sql::new("SELECT ")
        .sql(ORDER)
        .sql(" FROM orders WHERE order_id = ANY(")
        .texts(ids)
        .sql(") ORDER BY order_id FOR UPDATE")
}

/// The idempotency records with these keys.
pub(super) fn records(scopes: Vec<String>, request_ids: Vec<String>) -> Sql<IdempotencyColumns> {
    Sql::new("SELECT ")
        .sql(RECORD)
        .sql(" FROM idempotency JOIN unnest(")
        .texts(scopes)
        .sql(", ")
        .texts(request_ids)
        .sql(") AS named (scope, request_id) USING (scope, request_id)")
}
