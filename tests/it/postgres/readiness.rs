//! Readiness: a ping succeeds if, and only if, a command would.

use pvz::adapters::postgres::{PostgresOptions, PostgresStore};
use pvz::domain::BatchMode;
use pvz::ports::{OrderStore as _, chain};
use tokio_postgres::Client;

use super::cluster::{Cluster, Database, cluster};
use super::run;
use crate::faults::test_service::wait_until;
use crate::support::commands::{accept, issue, parcel};

/// Returns the cause of a failed ping of a store that has not committed yet.
async fn failure(options: &PostgresOptions) -> String {
    let store = PostgresStore::open(options).await.unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(error.retryable(), "{error:?}");
    chain(&error)
}

/// Returns the options of a role without rights, whose name is that of the database.
async fn role(database: &Database, shell: &Client) -> PostgresOptions {
    shell.batch_execute(&format!("CREATE ROLE {} LOGIN", database.name)).await.unwrap();
    let mut options = database.options();
    options.server.config.user(&database.name);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_that_lacks_a_right_of_a_command_is_not_ready() {
    let database = cluster().database(true).await;
    let shell = database.shell().await;
    let options = role(&database, &shell).await;
    let name = &database.name;
    let execute = |sql: String| {
        let shell = &shell;
        async move { shell.batch_execute(&sql).await.unwrap() }
    };
    execute(format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")).await;
    let rights = [
        ("INSERT ON orders", "orders"),
        ("UPDATE ON orders", "orders"),
        ("INSERT ON idempotency", "idempotency"),
        ("UPDATE ON idempotency", "idempotency"),
        ("INSERT ON order_events", "order_events"),
        ("SELECT ON order_events_position_seq", "order_events_position_seq"),
        ("USAGE ON order_events_position_seq", "USAGE on the sequence order_events_position_seq"),
        ("EXECUTE ON FUNCTION order_events_make_room", "EXECUTE on order_events_make_room"),
    ];
    for (right, _) in rights {
        execute(format!("GRANT {right} TO {name}")).await;
    }
    let ready = PostgresStore::open(&options).await.unwrap();
    ready.ping().await.unwrap();
    for (right, named) in rights {
        execute(format!("REVOKE {right} FROM {name}")).await;
        let cause = failure(&options).await;
        assert!(cause.contains(named), "without {right}: {cause}");
        execute(format!("GRANT {right} TO {name}")).await;
    }
    // A batch of each kind needs no other rights.
    run(&ready, &[accept(parcel("one")).key("one")]).await.unwrap();
    let again = [accept(parcel("two")), issue(&["one"], BatchMode::Atomic).key("two")];
    assert!(run(&ready, &again).await.unwrap().iter().all(|outcome| outcome.answer.is_ok()));
    ready.maintenance().await.unwrap_err();
    execute(format!("DROP OWNED BY {name}; DROP ROLE {name}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_nobody_can_create_are_noticed() {
    let database = cluster().database(true).await;
    let shell = database.shell().await;
    role(&database, &shell).await;
    let name = &database.name;
    let store = database.open().await;
    shell.batch_execute(&format!("ALTER FUNCTION order_events_make_room OWNER TO {name}")).await.unwrap();
    let cause = failure(&database.options()).await;
    assert!(cause.contains("must own order_events"), "{cause}");
    shell.batch_execute("ALTER FUNCTION order_events_make_room OWNER TO pvz").await.unwrap();
    // The last position that has a partition.
    shell.batch_execute("SELECT setval('order_events_position_seq', 29999999)").await.unwrap();
    run(&store, &[accept(parcel("last"))]).await.unwrap();
    run(&store, &[accept(parcel("one-more"))]).await.unwrap_err();
    let cause = failure(&database.options()).await;
    assert!(cause.contains("no partition of order_events is left"), "{cause}");
    store.maintenance().await.unwrap();
    database.open().await.ping().await.unwrap();
    run(&store, &[accept(parcel("one-more"))]).await.unwrap();
    shell.batch_execute(&format!("DROP ROLE {name}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_database_is_not_ready() {
    let database = cluster().database(true).await;
    let store = database.open().await;
    store.ping().await.unwrap();
    let shell = cluster().shell().await;
    shell.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", database.name)).await.unwrap();
    let cause = chain(&store.ping().await.unwrap_err());
    assert!(cause.contains("does not exist"), "{cause}");
}

/// Returns the next transaction id. Nothing else writes to a server of one test.
async fn next_transaction(shell: &Client) -> i64 {
    let query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    shell.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ping_commits_only_if_no_command_did_lately() {
    let server = Cluster::start();
    let database = server.database(false).await;
    pvz::adapters::postgres::migrate(&database.options()).await.unwrap();
    let (store, shell) = (database.open().await, database.shell().await);
    let before = next_transaction(&shell).await;
    store.ping().await.unwrap();
    assert!(next_transaction(&shell).await > before);
    let mut orders = 0;
    // Repeated, because the machine may have paused for longer than a commit counts as recent.
    wait_until("a ping after a command commits nothing", async || {
        orders += 1;
        run(&store, &[accept(parcel(&format!("order-{orders}")))]).await.unwrap();
        let before = next_transaction(&shell).await;
        store.ping().await.unwrap();
        next_transaction(&shell).await == before
    })
    .await;
    // After a failure, the store is not ready until a commit succeeds.
    shell.batch_execute("ALTER TABLE orders RENAME TO gone").await.unwrap();
    run(&store, &[accept(parcel("lost"))]).await.unwrap_err();
    let cause = chain(&store.ping().await.unwrap_err());
    assert!(cause.contains("\"orders\" does not exist"), "{cause}");
    shell.batch_execute("ALTER TABLE gone RENAME TO orders").await.unwrap();
    let before = next_transaction(&shell).await;
    store.ping().await.unwrap();
    assert!(next_transaction(&shell).await > before);
    server.crash();
}
