//! The roles of docs/postgres.md: one role migrates the schema, and the other serves it with
//! exactly the rights that the page grants. All contract tests of the store run as the serving
//! role.

use std::path::Path;

use pvz::adapters::postgres::{PostgresOptions, PostgresStore, migrate};
use pvz::ports::{OrderStore as _, chain};

use super::cluster::{cluster, connect};
use super::schema::partitions;
use crate::pipeline::consumer::once;
use crate::pipeline::consuming::{assert_day, served_day, wait_until_published};
use crate::process::file;
use crate::support::runtime::block_on;

const MIGRATES: &str = "pvz_migrate";
const SERVES: &str = "pvz_serve";

/// Returns the SQL of the section about roles: the part to run once, and the part to run after a
/// migration.
fn documented() -> [String; 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/postgres.md");
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Roles\n")).unwrap();
    let blocks = section.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.collect::<Vec<_>>().try_into().unwrap()
}

fn as_role(options: &PostgresOptions, role: &str) -> PostgresOptions {
    let mut options = options.clone();
    options.server.config.user(role);
    options
}

/// Returns the options of the serving role.
pub fn serving(options: &PostgresOptions) -> PostgresOptions {
    as_role(options, SERVES)
}

/// Creates the roles and the schema as the page says.
pub async fn migrate_as_documented(options: &PostgresOptions) {
    let [once, after_migration] = documented();
    connect(&options.server.config).await.batch_execute(&once).await.unwrap();
    let migrating = as_role(options, MIGRATES);
    migrate(&migrating).await.unwrap();
    connect(&migrating.server.config).await.batch_execute(&after_migration).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_role_creates_and_drops_partitions_but_no_table() {
    let database = cluster().database(true).await;
    let (shell, serving) = (database.shell().await, database.serving_options());
    let store = PostgresStore::open(&serving).await.unwrap();
    store.ping().await.unwrap();
    shell.batch_execute("SELECT setval('order_events_position_seq', 25000000)").await.unwrap();
    store.maintenance().await.unwrap();
    let all = partitions(&shell).await;
    let expected =
        ["order_events_10000001", "order_events_20000001", "order_events_30000001", "order_events_40000001"];
    assert_eq!(all, expected, "two were created, and the first was dropped");
    let role = connect(&serving.server.config).await;
    for statement in [
        "DROP TABLE orders",
        "DROP TABLE order_events_40000001",
        "ALTER TABLE order_events DETACH PARTITION order_events_40000001",
        "ALTER TABLE orders ADD COLUMN more text",
        "TRUNCATE idempotency",
        "DELETE FROM orders",
        "DELETE FROM order_events",
        "UPDATE order_events SET actor_id = 'nobody'",
        "INSERT INTO order_events_40000001 SELECT * FROM order_events",
        "CREATE TABLE mine (number integer)",
        "UPDATE store_settings SET value = ''",
        "SELECT setval('order_events_position_seq', 1)",
    ] {
        let error = role.batch_execute(statement).await.unwrap_err();
        assert_eq!(
            error.code().map(tokio_postgres::error::SqlState::code),
            Some("42501"),
            "{statement}: {error:?}"
        );
    }
    // Extreme arguments do no harm either.
    for statement in
        ["SELECT order_events_drop_empty(9223372036854775806)", "SELECT order_events_make_room(1000)"]
    {
        role.batch_execute(statement).await.unwrap();
        role.batch_execute(statement).await.unwrap();
    }
    let left = partitions(&shell).await;
    assert_eq!(left.len(), 11, "the partition of the last position and ten more: {left:?}");
    assert!(!left.contains(&"order_events_10000001".to_owned()), "{left:?}");
    // A table of the caller cannot replace the log.
    role.batch_execute("CREATE TEMPORARY TABLE order_events (position bigint)").await.unwrap();
    role.batch_execute("SELECT order_events_drop_empty(9223372036854775806), order_events_make_room(1)")
        .await
        .unwrap();
    assert_eq!(partitions(&shell).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_role_cannot_migrate() {
    let database = cluster().database(true).await;
    let shell = database.shell().await;
    let forget = "DELETE FROM __diesel_schema_migrations \
                  WHERE version = (SELECT max(version) FROM __diesel_schema_migrations)";
    shell.batch_execute(forget).await.unwrap();
    let error = migrate(&database.serving_options()).await.unwrap_err();
    assert!(
        chain(&error).contains("permission denied") || chain(&error).contains("must be owner"),
        "{error:?}"
    );
}

#[test]
fn serving_role_runs_commands_the_relay_and_the_consumer() {
    let database = block_on(cluster().database(true));
    let url = format!("postgres://{SERVES}@127.0.0.1:{}/{}", database.port, database.name);
    let dir = tempfile::tempdir().unwrap();
    let journal = format!("journal:{}", dir.path().join("journal").display());
    let config = file(dir.path(), "pvz.toml", &format!("[consumer]\nstore = \"{url}\"\n"));
    let flags = [format!("--store={url}"), format!("--events={journal}"), format!("--config={config}")];
    let server = served_day(dir.path(), &flags.each_ref().map(String::as_str), 100);
    wait_until_published(&server);
    once(dir.path(), &journal, &url, &[]);
    assert_day(&server, 100);
    server.stop();
}
