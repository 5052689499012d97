//! The batch write: one immediate transaction on the only connection that
//! writes, so there are no races and a batch is decided once.

use diesel::connection::SimpleConnection as _;
use diesel::{RunQueryDsl as _, SqliteConnection};

use super::error::Failure;
use super::sql::{Sql, insert};
use super::tables::{
    IdempotencyColumns, NewIdempotencyRecord, OrderColumns, select_idempotency_records, select_orders,
};
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::adapters::rows::{EventRow, IdempotencyRow, OrderRow};
use crate::domain::{Order, Timestamp};
use crate::ports::{
    Batch, BatchDecision, Decide, IdempotencyKey, IdempotencyRecord, Loaded, Outcome, Writes,
};

/// Loads, decides and writes a batch. A batch that only creates orders is written
/// without loading first. If an order or an idempotency record exists after all,
/// the transaction is rolled back, and the batch is loaded and decided again.
/// Returns the outcomes, and true if rows were written.
pub(super) fn transact(
    connection: &mut SqliteConnection,
    optimistic: &OptimisticInsert,
    batch: &Batch,
    decide: &dyn Decide,
) -> Result<(Vec<Outcome>, bool), Failure> {
    if let Some(BatchDecision { writes, outcomes }) = optimistic.decide(batch, decide) {
        match immediate(connection, |connection| write(connection, &writes, ExpectedRecords::Absent)) {
            Ok(()) => return Ok((outcomes, !writes.is_empty())),
            Err(failure) if failure.is_unique_violation() => optimistic.record_conflict(),
            Err(failure) => return Err(failure),
        }
    }
    immediate(connection, |connection| {
        let BatchDecision { writes, outcomes } = decide.decide(load(connection, batch)?);
        if !writes.is_empty() {
            write(connection, &writes, ExpectedRecords::AbsentOrExpired)?;
        }
        Ok((outcomes, !writes.is_empty()))
    })
}

/// Runs a transaction that holds the write lock from its beginning.
pub(super) fn immediate<T>(
    connection: &mut SqliteConnection,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    transaction(connection, "BEGIN IMMEDIATE", work)
}

/// Runs a transaction that only reads, in one snapshot.
pub(super) fn snapshot<T>(
    connection: &mut SqliteConnection,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    transaction(connection, "BEGIN", work)
}

/// Runs a transaction. Replaces the `transaction` of the driver: on some errors
/// (disk full) SQLite rolls back by itself, and the driver then returns the error
/// of its own rollback instead of the first one.
fn transaction<T>(
    connection: &mut SqliteConnection,
    begin: &str,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.batch_execute(begin)?;
    let result = work(connection).and_then(|value| {
        connection.batch_execute("COMMIT")?;
        Ok(value)
    });
    if result.is_err() {
        // Fails if SQLite has rolled back already. If it fails otherwise, the
        // next BEGIN fails and the connection is replaced.
        let _ = connection.batch_execute("ROLLBACK");
    }
    result
}

/// Takes the write lock, and commits a row of its own if wanted. Its value is
/// random, because an update to the same value writes nothing.
pub(super) fn ping(connection: &mut SqliteConnection, commit: bool) -> Result<(), Failure> {
    immediate(connection, |connection| {
        if commit {
            connection.batch_execute(
                "INSERT INTO store_settings (name, value) VALUES ('ping', randomblob(8)) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?;
        }
        Ok(())
    })
}

fn load(connection: &mut SqliteConnection, batch: &Batch) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::default();
    if !batch.order_ids.is_empty() {
        let ids: Vec<&str> = batch.order_ids.iter().map(crate::domain::OrderId::as_str).collect();
        let rows: Vec<OrderRow> =
            orders_by_id(&json(&ids)?).load(connection).map_err(Failure::load("orders"))?;
        for row in rows {
            let order = order(row)?;
            loaded.orders.insert(order.order_id.clone(), order);
        }
    }
    if !batch.idempotency_keys.is_empty() {
        let key = |key: &'_ IdempotencyKey| (key.scope.clone(), key.request_id.to_string());
        let keys: Vec<(String, String)> = batch.idempotency_keys.iter().map(key).collect();
        let rows: Vec<IdempotencyRow> =
            records_by_key(&json(&keys)?).load(connection).map_err(Failure::load("idempotency"))?;
        for row in rows {
            let (key, record) = record(row)?;
            loaded.records.insert(key, record);
        }
    }
    Ok(loaded)
}

/// Selects the orders of a JSON array of ids. CROSS JOIN keeps the array in the
/// outer loop, so that each id is one search.
pub(super) fn orders_by_id(ids: &str) -> Sql<OrderColumns> {
    select_orders()
        .sql(" FROM json_each(")
        .text(ids)
        .sql(") AS named CROSS JOIN orders ON orders.order_id = named.value")
}

/// Selects the idempotency records of a JSON array of `[scope, request_id]`.
pub(super) fn records_by_key(keys: &str) -> Sql<IdempotencyColumns> {
    select_idempotency_records().sql(" FROM json_each(").text(keys).sql(
        ") AS named CROSS JOIN idempotency \
         ON idempotency.scope = named.value ->> 0 AND idempotency.request_id = named.value ->> 1",
    )
}

/// Converts a row to an order.
pub(super) fn order(row: OrderRow) -> Result<Order, Failure> {
    let key = row.order_id.clone();
    row.try_into().map_err(|fault| Failure::row("orders", &key, &fault))
}

fn record(row: IdempotencyRow) -> Result<(IdempotencyKey, IdempotencyRecord), Failure> {
    let key = format!("{}/{}", row.scope, row.request_id);
    row.try_into().map_err(|fault| Failure::row("idempotency", &key, &fault))
}

/// Writes a batch: orders before events, because events refer to them.
fn write(
    connection: &mut SqliteConnection,
    writes: &Writes,
    expected: ExpectedRecords,
) -> Result<(), Failure> {
    let orders: Vec<OrderRow> = writes.inserted.iter().map(OrderRow::from).collect();
    let inserted = insert(connection, &orders)?;
    expect("orders inserted", orders.len(), inserted)?;
    if !writes.updated.is_empty() {
        let updated = update(&json(&changes(&writes.updated))?).execute(connection)?;
        expect("orders updated from the loaded version", writes.updated.len(), updated)?;
    }
    let events: Vec<EventRow> = writes.events.iter().map(EventRow::from).collect();
    let appended = insert(connection, &events)?;
    expect("order_events appended", events.len(), appended)?;
    let records = writes.records.iter().map(IdempotencyRow::from);
    let stored = match expected {
        ExpectedRecords::Absent => {
            insert(connection, &records.map(NewIdempotencyRecord).collect::<Vec<_>>())?
        }
        ExpectedRecords::AbsentOrExpired => insert(connection, &records.collect::<Vec<_>>())?,
    };
    expect("idempotency records written", writes.records.len(), stored)
}

/// The expected state of the idempotency records that a batch writes.
#[derive(Debug, Clone, Copy)]
enum ExpectedRecords {
    /// None exists.
    Absent,
    /// Those that exist were loaded and had expired; they are replaced.
    AbsentOrExpired,
}

fn expect(what: &str, expected: usize, found: usize) -> Result<(), Failure> {
    if expected == found {
        return Ok(());
    }
    Err(Failure::Inconsistent(format!("{what}: {found} rows instead of {expected}")))
}

/// The key and the loaded version of an order, and the columns that an event may
/// change.
type ChangedColumns<'a> = (&'a str, i64, &'static str, Option<i64>, Option<i64>, Option<i64>, i64);

fn changes(updated: &[(i64, Order)]) -> Vec<ChangedColumns<'_>> {
    updated
        .iter()
        .map(|(loaded, order)| {
            // Every field is named, so a field that is added does not compile
            // until it is listed as one that changes or one that does not.
            let Order {
                order_id,
                state: _,
                version,
                customer_id: _,
                pickup_point_id: _,
                storage_until: _,
                accepted_at: _,
                weight: _,
                price: _,
                surcharge: _,
                currency: _,
                packaging: _,
            } = order;
            (
                order_id.as_str(),
                *loaded,
                OrderRow::state_text(order.state_name()),
                order.issued_at().map(Timestamp::micros),
                order.returned_at().map(Timestamp::micros),
                order.handed_to_courier_at().map(Timestamp::micros),
                *version,
            )
        })
        .collect()
}

/// Updates orders from a JSON array. Sets only the columns that events change:
/// naming another one would rewrite its indexes even if the value is the same.
pub(super) fn update(changes: &str) -> Sql<()> {
    Sql::new(
        "UPDATE OR FAIL orders SET state = change.value ->> 2, issued_at = change.value ->> 3, \
         returned_at = change.value ->> 4, handed_to_courier_at = change.value ->> 5, \
         version = change.value ->> 6 FROM json_each(",
    )
    .text(changes)
    .sql(
        ") AS change \
         WHERE orders.order_id = change.value ->> 0 AND orders.version = change.value ->> 1",
    )
}

/// Deletes idempotency records, oldest first.
pub(super) fn expire_idempotency_records(before: Timestamp, limit: usize) -> Sql<()> {
    Sql::new("DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM idempotency WHERE created_at < ")
        .integer(before.micros())
        .sql(" ORDER BY created_at LIMIT ")
        .limit(limit)
        .sql(")")
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::Driver(diesel::result::Error::SerializationError(Box::new(error))))
}
