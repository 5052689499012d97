//! Tests that a list visits few more rows than it returns, with every combination of filters and
//! whichever state most orders are in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::RunQueryDsl as _;
use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;

use super::error::Failure;
use super::plans::every_filter;
use super::sql::Sql;
use super::tables::OrderColumns;
use super::{SqliteOptions, SqliteStore, interrupt, read};
use crate::adapters::rows::OrderRow;
use crate::domain::{OrderId, PickupPointId, Timestamp};
use crate::ports::Page;

const LIMIT: usize = 51;
/// A merge reads one row ahead in each of the four states. A customer has 40 orders, and 100 orders
/// are expired. A list sorts or skips those.
const MAX_VISITED: usize = 2 * LIMIT + 8;

/// Adds 20,000 orders of 500 customers at one pickup point. Each state except `majority` has 1 % of
/// them, and the first 100 are past their deadline.
fn fill(majority: &str) -> String {
    format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000),
         drawn (n, state) AS (SELECT n, CASE n % 100 WHEN 1 THEN 'STORED' WHEN 2 THEN 'ISSUED'
             WHEN 3 THEN 'RETURNED' WHEN 4 THEN 'HANDED_TO_COURIER' ELSE '{majority}' END FROM numbers)
         INSERT INTO orders
         SELECT 'order-' || n, CASE n % 500 WHEN 0 THEN 'anna' ELSE 'customer-' || n % 500 END, 'main',
             state, CASE WHEN n <= 100 THEN -1 ELSE 1 END, n,
             CASE WHEN state IN ('ISSUED', 'RETURNED') THEN n END, CASE state WHEN 'RETURNED' THEN n END,
             CASE state WHEN 'HANDED_TO_COURIER' THEN n END, NULL, 100, 0, 'RUB', '', 1
         FROM drawn"
    )
}

/// Returns the numbers of rows that a list returns and visits.
fn visits(
    connection: &mut SqliteConnection,
    visited: &AtomicUsize,
    list: Sql<OrderColumns>,
) -> Result<(usize, usize), Failure> {
    visited.store(0, Ordering::Relaxed);
    let rows: Vec<OrderRow> = list.load(connection)?;
    Ok((rows.len(), visited.load(Ordering::Relaxed)))
}

fn check(connection: &mut SqliteConnection, majority: &str) -> Result<(), Failure> {
    let visited = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&visited);
    interrupt::on_each_row(connection, move || {
        count.fetch_add(1, Ordering::Relaxed);
    })?;
    connection.batch_execute(&fill(majority))?;
    let main = PickupPointId::parse("main").unwrap();
    let middle = (Timestamp::from_micros(10_000).unwrap(), OrderId::parse("order-10000").unwrap());
    for below in [None, Some(middle)] {
        let page = Page { below, limit: LIMIT };
        let mut lists: Vec<(String, Sql<OrderColumns>)> = Vec::new();
        for filter in every_filter() {
            lists.extend(read::orders(&filter, &page).map(|list| (format!("{filter:?}"), list)));
        }
        lists.push(("returns".to_owned(), read::returns(None, &page)));
        lists.push(("returns at a point".to_owned(), read::returns(Some(&main), &page)));
        for (name, list) in lists {
            let (rows, visited) = visits(connection, &visited, list)?;
            assert!(
                rows <= visited && visited <= MAX_VISITED,
                "most orders are {majority}: {visited} rows visited for {rows} of {name}, {page:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_list_visits_hardly_more_rows_than_it_returns() {
    for majority in ["STORED", "ISSUED", "RETURNED", "HANDED_TO_COURIER"] {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("orders.db"), &SqliteOptions::default()).unwrap();
        store.writers.write(|connection| check(connection, majority)).await.unwrap();
    }
}
