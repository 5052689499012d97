//! The locking path: one transaction at READ COMMITTED, with the same few
//! statements whatever the size of the batch.
//!
//! The reasons why no effect is lost or doubled, and why batches do not deadlock:
//! - The orders that exist are locked first, in the order of their keys. Only
//!   then are the idempotency records read, by a statement of their own. After a
//!   wait for a row lock its snapshot is newer than the commit that was waited
//!   for, so it sees the records of that commit. A single statement for both
//!   would not see them.
//! - An order or record that does not exist cannot be locked. Another batch may
//!   insert it between our load and our write. Then the guarded statement
//!   conflicts with it, writes nothing and fails, and the batch runs again from
//!   the start and sees it. The other commands of the batch get the same
//!   decision again; the losing command gets another.
//! - The records are read later than the orders. If a record belongs to a
//!   command whose order was not loaded but exists by now, the batch runs again
//!   too: a later command on that order must not be decided as if the order did
//!   not exist.
//! - A loaded order is locked, so its version cannot change. The statement
//!   compares it all the same.
//! - While it inserts, a batch waits only for batches that also insert, and all
//!   of them insert in the order (table, key). A batch that still loads holds
//!   locks only on existing rows, for which an inserting batch does not wait.
//! - COMMIT is sent after the statement before it was answered. Nothing of the
//!   transaction is pipelined, so nothing can be reordered.
//!
//! Why an answer that depends on rows of earlier transactions is durable: those
//! rows may be visible and not yet on the synchronous standby. The row locks of
//! the load are written to the WAL under a transaction id, so COMMIT waits for
//! the standby even if the batch changes nothing. Records are locked for that
//! reason only: an answer may be stored for an order that does not exist. The
//! lock is the weakest one. It conflicts with deletion alone, which skips locked
//! records, so nobody waits for it.

use std::collections::HashMap;

use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, TransactionManager as _};
use tokio::time::timeout;

use super::error::Failure;
use super::in_doubt::{Attempt, InDoubt, Witness};
use super::loaded_versions::LoadedVersions;
use super::locking_statement::LockingWrite;
use super::pool::{Connections, PooledConnection};
use super::rows::{self, OrderColumns, RecordColumns};
use super::session::Transactions;
use super::sql::Sql;
use crate::adapters::rows::{IdempotencyRow, OrderRow};
use crate::ports::{Batch, BatchDecision, Decide, Loaded, Outcome, PortError};

/// Makes one attempt to load, decide and write a batch.
pub(super) async fn write(
    connections: &Connections,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Attempt, PortError> {
    let mut connection = begin(connections).await?;
    let prepared = match connections.with_timeout(prepare(&mut connection, batch, decide)).await {
        Ok(prepared) => prepared,
        // The connection is closed, which rolls the transaction back.
        Err(Failure::TimedOut) => {
            connections.retire(connection);
            return Err(Failure::TimedOut.into());
        }
        Err(failure) => {
            // If the rollback fails, the connection is closed here too.
            let rollback = Transactions::rollback_transaction(&mut *connection);
            if let Ok(Ok(())) = timeout(connections.timeout(), rollback).await {
                connection.release();
            }
            return match failure {
                Failure::LostRace => Ok(Attempt::Retry),
                other => Err(other.into()),
            };
        }
    };
    let Prepared { outcomes, written } = prepared;
    let committed = timeout(connections.timeout(), Transactions::commit_transaction(&mut *connection)).await;
    let failure = match committed {
        Ok(Ok(())) => {
            connection.release();
            if written.is_some() {
                connections.last_commit().record_commit();
            }
            return Ok(Attempt::Committed(outcomes));
        }
        Ok(Err(error)) => Failure::from(error).into(),
        Err(elapsed) => PortError::unavailable("COMMIT was not answered in time", elapsed),
    };
    let backend = connection.backend();
    connections.retire(connection);
    // A transaction that wrote nothing is not in doubt.
    let Some(witness) = written else { return Err(failure) };
    InDoubt { backend, witness }.resolve(connections, outcomes).await
}

/// Takes a connection and begins a transaction. If the connection turns out to
/// be broken, takes another one: nothing was sent yet.
async fn begin(connections: &Connections) -> Result<PooledConnection, Failure> {
    let mut connection = connections.acquire().await?;
    match connections.with_timeout(begin_on(&mut connection)).await {
        Ok(()) => return Ok(connection),
        Err(failure) if !connection.is_broken() => return Err(failure),
        Err(_) => drop(connection),
    }
    let mut connection = connections.acquire().await?;
    connections.with_timeout(begin_on(&mut connection)).await?;
    Ok(connection)
}

async fn begin_on(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    Ok(Transactions::begin_transaction(connection).await?)
}

/// A transaction that is ready for COMMIT.
struct Prepared {
    outcomes: Vec<Outcome>,
    /// `None` if nothing was written, else an event that was, if there is one.
    written: Option<Option<Witness>>,
}

async fn prepare(
    connection: &mut AsyncPgConnection,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<Prepared, Failure> {
    let loaded = load(connection, batch).await?;
    let versions = LoadedVersions::of(&loaded);
    let record_instants: HashMap<_, _> =
        loaded.records.iter().map(|(key, record)| (key.clone(), record.created_at.micros())).collect();
    let BatchDecision { writes, outcomes } = decide.decide(loaded);
    if writes.is_empty() {
        return Ok(Prepared { outcomes, written: None });
    }
    versions.check(&writes)?;
    let statement = LockingWrite::new(&writes, |key| record_instants.get(key).copied());
    // Reads the response to its end. An error after the row would abort the
    // transaction, and COMMIT would then answer as if it had succeeded.
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
    // The records were read later than the orders. A record may belong to a
    // command that created an order after our lock statement: the command would
    // be answered from its record, and the next command on the order would be
    // refused because there is no order.
    if !loaded.records.is_empty() && loaded.orders.len() < batch.order_ids.len() {
        let missing = batch.order_ids.iter().filter(|order_id| !loaded.orders.contains_key(*order_id));
        let created: Vec<String> =
            existing_orders(missing.map(ToString::to_string).collect()).load(connection).await?;
        if !created.is_empty() {
            return Err(Failure::LostRace);
        }
    }
    Ok(loaded)
}

/// Returns one of these orders, if one exists by now.
fn existing_orders(ids: Vec<String>) -> Sql<Text> {
    Sql::new("SELECT order_id FROM orders WHERE order_id = ANY(").texts(ids).sql(") LIMIT 1")
}

/// Locks the orders in the order of their ids. Ids never change, so a row that
/// changed during the wait for its lock keeps its place.
fn lock_orders(ids: Vec<String>) -> Sql<OrderColumns> {
    rows::select_orders().sql(" WHERE order_id = ANY(").texts(ids).sql(") ORDER BY order_id FOR UPDATE")
}

/// Reads the idempotency records with these keys, and locks them.
fn records(scopes: Vec<String>, request_ids: Vec<String>) -> Sql<RecordColumns> {
    rows::select_records()
        .sql(" JOIN unnest(")
        .texts(scopes)
        .sql(", ")
        .texts(request_ids)
        .sql(") AS named (scope, request_id) USING (scope, request_id) FOR KEY SHARE OF idempotency")
}
