//! Tests that reads are interrupted, and that their connections remain usable.

use std::num::NonZeroUsize;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, RunQueryDsl, SqliteConnection};
use tokio::time::timeout;

use super::error::Failure;
use super::sql::Sql;
use super::{SqliteOptions, SqliteStore, audit, inbox_sql, outbox, read};
use crate::domain::{OrderId, PickupPointId};
use crate::ports::{Page, Position, StatisticsFilter, StatisticsPage};

/// Longer than any operation of these tests.
const LONG: Duration = Duration::from_secs(30);

/// A statement that runs until it is interrupted.
fn endless() -> Sql<BigInt> {
    Sql::new(
        "WITH RECURSIVE rows (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM rows WHERE is_awaited()) \
         SELECT count(*) FROM rows",
    )
}

fn store(folder: &tempfile::TempDir) -> SqliteStore {
    let options = SqliteOptions { readers: NonZeroUsize::MIN, ..SqliteOptions::default() };
    SqliteStore::open(&folder.path().join("orders.db"), &options).unwrap()
}

fn cache_size(connection: &mut SqliteConnection) -> Result<i64, Failure> {
    Ok(Sql::<BigInt>::new("PRAGMA cache_size").get_result(connection)?)
}

#[tokio::test]
async fn a_read_ends_with_its_caller_and_its_connection_serves_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let lists = &store.readers.lists;
    lists.read(|connection| Ok(connection.batch_execute("PRAGMA cache_size = -1234")?)).await.unwrap();
    for _ in 0..3 {
        let read = lists.read(|connection| Ok(endless().load::<i64>(connection)?));
        assert!(timeout(Duration::from_millis(20), read).await.is_err(), "the statement has no end");
        let next = timeout(LONG, lists.read(cache_size)).await.expect("the only connection is free again");
        assert_eq!(next.unwrap(), -1234, "it is the same connection");
    }
}

/// Adds rows, so that every read visits at least one.
const ROWS: &str = "
    INSERT INTO orders VALUES
        ('1', 'anna', 'main', 'STORED', 0, 0, NULL, NULL, NULL, NULL, 100, 0, 'RUB', '', 1),
        ('2', 'anna', 'main', 'ISSUED', 0, 0, 0, NULL, NULL, NULL, 100, 0, 'RUB', '', 2),
        ('3', 'anna', 'main', 'RETURNED', 0, 0, 0, 0, NULL, NULL, 100, 0, 'RUB', '', 3),
        ('4', 'anna', 'main', 'HANDED_TO_COURIER', 0, 0, NULL, NULL, 0, NULL, 100, 0, 'RUB', '', 2);
    INSERT INTO order_events (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body)
        VALUES (randomblob(16), '1', 1, 'ORDER_ACCEPTED', 'courier', 'c', 0, x'');
    INSERT INTO outbox_cursors (sink, fence, position) VALUES ('journal', 1, 0);
    INSERT INTO dead_letters (sink, order_id, sequence, position, cause, buried_at)
        VALUES ('journal', '1', 1, 1, '', 0);
    INSERT INTO inbox_orders VALUES ('1', 1, 2);
    INSERT INTO inbox_statistics VALUES ('main', 0, 'RUB', 1, 0, 0, 0, 0, 0, 0, 0);
    INSERT INTO inbox_unknown VALUES ('topic', 0, 0, '', NULL, NULL, '{}')";

/// Runs a statement whose caller no longer waits.
fn interrupted<T>(connection: &mut SqliteConnection, name: &str, statement: Sql<T>) {
    let ended = Unread(statement).execute(connection).map_err(Failure::from);
    assert!(ended.as_ref().is_err_and(Failure::is_interruption), "{name}: {ended:?}");
}

/// A statement of which only the rows are counted.
struct Unread<T>(Sql<T>);

impl<T> QueryFragment<Sqlite> for Unread<T> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<T> QueryId for Unread<T> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> RunQueryDsl<SqliteConnection> for Unread<T> {}

#[tokio::test]
async fn every_read_of_more_than_one_row_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let check = |connection: &mut SqliteConnection| {
        connection.batch_execute(ROWS)?;
        let page = Page { below: None, limit: 50 };
        let (order_id, main) = (OrderId::parse("1").unwrap(), PickupPointId::parse("main").unwrap());
        for filter in super::plans::every_filter() {
            if let Some(query) = read::orders(&filter, &page) {
                interrupted(connection, &format!("{filter:?}"), query);
            }
        }
        interrupted(connection, "returns", read::returns(None, &page));
        interrupted(connection, "returns at a point", read::returns(Some(&main), &page));
        interrupted(connection, "history", read::history(&order_id, 0, 50));
        interrupted(connection, "feed", read::feed(Position(0), 50));
        interrupted(connection, "audit", audit::ids(None, 50));
        interrupted(connection, "dead letters", outbox::letters("journal", None, 50));
        interrupted(connection, "outbox status", outbox::status("journal"));
        interrupted(connection, "gaps", inbox_sql::gaps(50));
        interrupted(connection, "number of gaps", inbox_sql::count_gaps());
        interrupted(connection, "unknown events", inbox_sql::unknown_events("topic", 0, None, 50));
        let days = StatisticsPage { after: None, limit: 50 };
        interrupted(connection, "statistics", inbox_sql::statistics(&StatisticsFilter::default(), &days));
        Ok(())
    };
    // A write has no caller for `is_awaited()` to check.
    store.writers.write(check).await.unwrap();
}
