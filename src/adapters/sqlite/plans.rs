//! Tests of query plans: each statement uses an index and never scans a table
//! that grows. `INDEXED BY` already refuses a plan without the index; these tests
//! also show that nothing is sorted that an index has in order.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::{Connection as _, InstrumentationEvent};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, RunQueryDsl, SqliteConnection};

use super::error::Failure;
use super::sql::{Sql, insert};
use super::{SqliteOptions, SqliteStore, audit, known_sink, outbox, read, write};
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::adapters::rows::IdempotencyRow;
use crate::domain::{CustomerId, OrderId, PickupPointId, StateName, Timestamp};
use crate::ports::{Batch, BatchDecision, Decide, LeaseToken, Loaded, OrderFilter, Page, Position};

const STATES: [StateName; 4] =
    [StateName::Stored, StateName::Issued, StateName::Returned, StateName::HandedToCourier];

struct Explain<T>(Sql<T>);

impl<T> QueryFragment<Sqlite> for Explain<T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("EXPLAIN QUERY PLAN ");
        self.0.walk_ast(out)
    }
}

impl<T> QueryId for Explain<T> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> Query for Explain<T> {
    type SqlType = (BigInt, BigInt, BigInt, Text);
}

impl<T> RunQueryDsl<SqliteConnection> for Explain<T> {}

fn plan<T>(connection: &mut SqliteConnection, statement: Sql<T>) -> String {
    let rows: Vec<(i64, i64, i64, String)> = Explain(statement).load(connection).unwrap();
    rows.into_iter().map(|(.., step)| step).collect::<Vec<_>>().join("; ")
}

fn filter(customer: bool, at_point: bool, states: &[StateName], expired: Option<bool>) -> OrderFilter {
    let now = Timestamp::from_micros(0).unwrap();
    OrderFilter {
        customer_id: customer.then(|| CustomerId::parse("anna").unwrap()),
        pickup_point_id: at_point.then(|| PickupPointId::parse("main").unwrap()),
        states: states.iter().copied().collect(),
        expired: expired.map(|expired| (expired, now)),
    }
}

/// Returns every combination of filters that matches an order of `anna` at `main`.
pub(super) fn every_filter() -> Vec<OrderFilter> {
    let mut filters = Vec::new();
    for customer in [false, true] {
        for at_point in [false, true] {
            for expired in [None, Some(false), Some(true)] {
                for set in 0..1 << STATES.len() {
                    let states = STATES.into_iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
                    let states: Vec<_> = states.map(|(_, state)| state).collect();
                    filters.push(filter(customer, at_point, &states, expired));
                }
            }
        }
    }
    filters
}

fn pages() -> [(&'static str, Page); 2] {
    let below = Some((Timestamp::from_micros(0).unwrap(), OrderId::parse("1").unwrap()));
    [("first", Page { below: None, limit: 50 }), ("later", Page { below, limit: 50 })]
}

fn every_plan(connection: &mut SqliteConnection) -> String {
    let mut plans = String::new();
    let mut note = |name: &str, plan: String| writeln!(plans, "{name}: {plan}").unwrap();
    let order_id = OrderId::parse("1").unwrap();
    note("order", plan(connection, read::order(&order_id)));
    for (which, page) in pages() {
        let lists: [(&str, OrderFilter); 9] = [
            ("all", filter(false, false, &[], None)),
            ("not expired", filter(false, false, &[], Some(false))),
            ("stored", filter(false, false, &[StateName::Stored], None)),
            ("of a customer", filter(true, true, &[StateName::Issued], Some(false))),
            ("issued at a point", filter(false, true, &[StateName::Issued], None)),
            ("at a point", filter(false, true, &[], None)),
            ("expired", filter(false, true, &[], Some(true))),
            ("returned", filter(false, false, &[StateName::Returned], None)),
            ("returned at a point", filter(false, true, &[StateName::Returned], None)),
        ];
        for (name, filter) in lists {
            let query = read::orders(&filter, &page).unwrap();
            note(&format!("orders {name}, {which} page"), plan(connection, query));
        }
        note(&format!("returns, {which} page"), plan(connection, read::returns(None, &page)));
        let main = PickupPointId::parse("main").unwrap();
        note(
            &format!("returns at a point, {which} page"),
            plan(connection, read::returns(Some(&main), &page)),
        );
    }
    note("history", plan(connection, read::history(&order_id, 0, 50)));
    note("feed", plan(connection, read::feed(Position(0), 50)));
    note("oldest", plan(connection, read::oldest()));
    note("audit", plan(connection, audit::ids(Some(&order_id), 50)));
    note("load orders", plan(connection, write::orders_by_id("[]")));
    note("load records", plan(connection, write::records_by_key("[]")));
    note("update", plan(connection, write::update("[]")));
    let now = Timestamp::from_micros(0).unwrap();
    note("expire records", plan(connection, write::expire_idempotency_records(now, 50)));
    let token = LeaseToken { sink: "journal".to_owned(), fencing_token: 1 };
    note("led", plan(connection, outbox::led(&token)));
    note("move cursor", plan(connection, outbox::move_cursor(&token, Position(1))));
    note("held back", plan(connection, outbox::held("journal", "[]")));
    note("dead letters", plan(connection, outbox::letters("journal", Some(&order_id), 50)));
    note("cursor", plan(connection, outbox::cursor("journal")));
    note("known sink", plan(connection, known_sink::known_sink("journal")));
    note("republish", plan(connection, known_sink::republish("journal", Position(1))));
    plans
}

#[test]
fn every_statement_uses_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = SqliteStore::open(&path, &SqliteOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let plans = runtime.block_on(store.writers.write(|connection| Ok(every_plan(connection)))).unwrap();
    insta::assert_snapshot!(plans);
    for line in plans.lines() {
        for step in line.split(": ").skip(1).flat_map(|steps| steps.split("; ")) {
            let bounded = ["named", "change", "CONSTANT ROW", "sqlite_sequence"];
            let scan = step.strip_prefix("SCAN ");
            let scans_table = scan.is_some_and(|what| !bounded.iter().any(|name| what.starts_with(name)));
            assert!(!scans_table || step.contains("USING INDEX"), "scans a table: {line}");
            // Few orders are expired, so they are sorted.
            let is_short = line.starts_with("orders expired");
            assert!(
                is_short || !step.contains("TEMP B-TREE"),
                "sorts rows that an index has in order: {line}"
            );
        }
    }
}

/// Returns the value of a pragma.
fn pragma(connection: &mut SqliteConnection, pragma: &'static str) -> i64 {
    let query: Sql<BigInt> = Sql::new(pragma);
    query.get_result(connection).unwrap()
}

#[tokio::test]
async fn connections_are_set_up_for_durability() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("orders.db"), &SqliteOptions::default()).unwrap();
    let check = |connection: &mut SqliteConnection| -> Result<(), Failure> {
        assert_eq!(pragma(connection, "PRAGMA synchronous"), 2, "FULL");
        assert_eq!(pragma(connection, "PRAGMA foreign_keys"), 1);
        assert_eq!(pragma(connection, "PRAGMA busy_timeout"), 5_000);
        assert_eq!(pragma(connection, "PRAGMA query_only"), 0);
        let mode: Sql<Text> = Sql::new("PRAGMA journal_mode");
        assert_eq!(mode.get_result::<String>(connection)?, "wal");
        Ok(())
    };
    store.writers.write(check).await.unwrap();
    // The connection that opened the store, then one opened after a failure.
    let failed: Result<(), _> =
        store.writers.write(|_| Err(diesel::result::Error::NotInTransaction.into())).await;
    assert!(failed.unwrap_err().retryable());
    store.writers.write(check).await.unwrap();
    let query_only = store.readers.lists.read(|connection| Ok(pragma(connection, "PRAGMA query_only"))).await;
    assert_eq!(query_only.unwrap(), 1);
}

struct DecideNothing;

impl Decide for DecideNothing {
    fn decide(&self, _: Loaded) -> BatchDecision {
        BatchDecision::default()
    }
}

#[tokio::test]
async fn a_statement_is_prepared_once_for_all_values() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("orders.db"), &SqliteOptions::default()).unwrap();
    let prepared = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&prepared);
    store
        .writers
        .write(move |connection| {
            connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if matches!(event, InstrumentationEvent::CacheQuery { .. }) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
            for order_id in ["1", "2", "3"] {
                let batch =
                    Batch { order_ids: [OrderId::parse(order_id).unwrap()].into(), ..Batch::default() };
                write::transact(connection, &OptimisticInsert::default(), &batch, &DecideNothing)?;
                let records = vec![record(order_id); 300];
                assert_eq!(insert(connection, &records)?, 300);
            }
            Ok(())
        })
        .await
        .unwrap();
    // One load, and inserts of 256, 32 and 4 rows.
    assert_eq!(prepared.load(Ordering::Relaxed), 4);
}

fn record(request_id: &str) -> IdempotencyRow {
    IdempotencyRow {
        scope: String::new(),
        request_id: request_id.to_owned(),
        method: "AcceptOrder".to_owned(),
        hashes: Vec::new(),
        answer: Vec::new(),
        created_at: 0,
        later_hashes: None,
    }
}
