//! Migrations that fail or wait: the lock is released, and the error names the blocking session.

use std::time::Duration;

use pvz::adapters::postgres::{OpenError, PostgresOptions, migrate};
use tokio_postgres::Client;

use super::cluster::{Database, cluster};

/// Returns a database without a schema, and options with a short timeout.
async fn empty_database() -> (Database, PostgresOptions) {
    let database = cluster().database(false).await;
    let mut options = database.options();
    options.timeout = Duration::from_millis(1_500);
    (database, options)
}

/// Returns a session with a name, and its process id.
async fn session(database: &Database) -> (Client, i32) {
    let shell = database.shell().await;
    shell.batch_execute("SET application_name = 'night job'").await.unwrap();
    let process_id = shell.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    (shell, process_id)
}

/// Asserts that a migration gives up and names the session.
async fn assert_blocked(options: &PostgresOptions, process_id: i32, state: &str) {
    let error = migrate(options).await.unwrap_err();
    assert!(matches!(error, OpenError::Blocked { .. }), "{error:?}");
    let expected = format!("process {process_id} (night job, {state}, query started 2");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_migration_releases_the_lock() {
    let (database, options) = empty_database().await;
    let shell = database.shell().await;
    shell.batch_execute("CREATE TABLE orders (in_the_way integer)").await.unwrap();
    let error = migrate(&options).await.unwrap_err();
    assert!(matches!(error, OpenError::Migration(_)), "{error:?}");
    let free = "SELECT pg_try_advisory_lock(7370362, 1), pg_advisory_unlock(7370362, 1)";
    assert!(shell.query_one(free, &[]).await.unwrap().get::<_, bool>(0));
    shell.batch_execute("DROP TABLE orders").await.unwrap();
    assert!(!migrate(&options).await.unwrap().is_empty());
    assert!(shell.query_one(free, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migration_that_waits_for_another_gives_up_and_names_it() {
    let (database, options) = empty_database().await;
    let (other, process_id) = session(&database).await;
    other.batch_execute("SELECT pg_advisory_lock(7370362, 1)").await.unwrap();
    assert_blocked(&options, process_id, "idle").await;
    other.batch_execute("SELECT pg_advisory_unlock(7370362, 1)").await.unwrap();
    assert!(!migrate(&options).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migration_that_waits_for_a_transaction_gives_up_and_names_it() {
    let (database, options) = empty_database().await;
    let (other, process_id) = session(&database).await;
    // This name is that of the first table of the schema.
    other.batch_execute("BEGIN; CREATE TABLE orders (in_the_way integer)").await.unwrap();
    assert_blocked(&options, process_id, "idle in transaction").await;
    other.batch_execute("ROLLBACK").await.unwrap();
    assert!(!migrate(&options).await.unwrap().is_empty());
}
