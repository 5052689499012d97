//! Generates the pages that describe the schemas from migrated databases, and
//! compares them with the committed ones. The meanings of tables and columns come
//! from the comments in the PostgreSQL schema, for SQLite too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query};
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use tokio_postgres::Client;

use crate::postgres::cluster;

/// Compares a page with the committed one, or rewrites it if `PVZ_UPDATE` is
/// set.
fn check(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("PVZ_UPDATE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "{name} is stale; run the test with PVZ_UPDATE=1, or write a migration with COMMENT ON"
    );
}

/// A table or view, and its columns.
struct Table {
    name: String,
    meaning: String,
    is_view: bool,
    columns: Vec<Column>,
    /// Name and definition of each index.
    indexes: Vec<(String, String)>,
}

struct Column {
    name: String,
    sql_type: String,
    nullable: bool,
    meaning: String,
}

fn section(page: &mut String, table: &Table) {
    let kind = if table.is_view { " (view)" } else { "" };
    write!(page, "\n## `{}`{kind}\n\n{}\n\n", table.name, table.meaning).unwrap();
    let null = if table.is_view { ("", "") } else { (" null |", "---|") };
    write!(page, "| column | type |{} meaning |\n|---|---|{}---|\n", null.0, null.1).unwrap();
    for Column { name, sql_type, nullable, meaning } in &table.columns {
        let null = match (table.is_view, nullable) {
            (true, _) => "",
            (false, true) => " yes |",
            (false, false) => " no |",
        };
        writeln!(page, "| `{name}` | `{sql_type}` |{null} {meaning} |").unwrap();
    }
    if !table.indexes.is_empty() {
        page.push_str("\nIndexes:\n\n");
    }
    for (name, definition) in &table.indexes {
        writeln!(page, "- `{name}`: `{definition}`").unwrap();
    }
}

fn page(database: &str, tables: &[Table]) -> String {
    let mut page = format!(
        "# The {database} schema\n\n\
         Generated from a migrated database by `tests/it/schema_docs.rs`; the migrations are in \
         [migrations](../migrations).\n"
    );
    for table in tables {
        section(&mut page, table);
    }
    page
}

/// Fails on an object without a comment.
fn meaning(what: &str, comment: Option<String>) -> String {
    comment
        .unwrap_or_else(|| panic!("{what} has no comment: add a migration with COMMENT ON"))
        .replace('|', "\\|")
}

async fn postgres_tables(shell: &Client) -> Vec<Table> {
    let query = "SELECT oid, relname::text, relkind = 'v', obj_description(oid, 'pg_class') FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
            AND relname <> '__diesel_schema_migrations'
        ORDER BY relname";
    let mut tables = Vec::new();
    for row in shell.query(query, &[]).await.unwrap() {
        let (oid, name): (u32, String) = (row.get(0), row.get(1));
        let columns = "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull,
                col_description(attrelid, attnum)
            FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let columns = shell.query(columns, &[&oid]).await.unwrap();
        let column = |row: &tokio_postgres::Row| {
            let column: String = row.get(0);
            let meaning = meaning(&format!("column {name}.{column}"), row.get(3));
            Column { name: column, sql_type: row.get(1), nullable: !row.get::<_, bool>(2), meaning }
        };
        let columns = columns.iter().map(column).collect();
        let indexes =
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisprimary, indisunique
            FROM pg_index WHERE indrelid = $1 ORDER BY indisprimary DESC, 1";
        let index = |row: &tokio_postgres::Row| {
            let definition: String = row.get(1);
            let kind = match (row.get(2), row.get(3)) {
                (true, _) => "primary key, ",
                (false, true) => "unique, ",
                (false, false) => "",
            };
            (row.get(0), format!("{kind}{}", definition.split_once(" USING ").unwrap().1))
        };
        let indexes = shell.query(indexes, &[&oid]).await.unwrap().iter().map(index).collect();
        let meaning = meaning(&format!("table {name}"), row.get(3));
        tables.push(Table { name, meaning, is_view: row.get(2), columns, indexes });
    }
    tables
}

/// The domains, which the types of columns are, and the functions.
async fn postgres_types_and_functions(shell: &Client) -> String {
    let mut text = "\n## Domains\n\n| domain | type | check | meaning |\n|---|---|---|---|\n".to_owned();
    let domains = "SELECT typname::text, format_type(typbasetype, typtypmod),
            (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contypid = pg_type.oid),
            obj_description(oid, 'pg_type')
        FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'd' ORDER BY typname";
    for row in shell.query(domains, &[]).await.unwrap() {
        let (name, base, check): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let meaning = meaning(&format!("domain {name}"), row.get(3));
        writeln!(text, "| `{name}` | `{base}` | `{check}` | {meaning} |").unwrap();
    }
    text.push_str("\n## Functions\n\n| function | meaning |\n|---|---|\n");
    let functions = "SELECT oid::regprocedure::text, obj_description(oid, 'pg_proc') FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname !~ '^diesel_' ORDER BY 1";
    for row in shell.query(functions, &[]).await.unwrap() {
        let name: String = row.get(0);
        let meaning = meaning(&format!("function {name}"), row.get(1));
        writeln!(text, "| `{name}` | {meaning} |").unwrap();
    }
    text
}

#[derive(QueryableByName)]
struct SqliteObject {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    definition: Option<String>,
}

#[derive(QueryableByName)]
struct SqliteColumn {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql_type: String,
    #[diesel(sql_type = BigInt)]
    required: i64,
    #[diesel(sql_type = BigInt)]
    key: i64,
}

/// Meanings of tables and columns, by name: `orders`, `orders.order_id`.
type Meanings = BTreeMap<String, String>;

fn sqlite_tables(file: &Path, meanings: &Meanings) -> Vec<Table> {
    let mut shell = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let meaning = |name: &str| {
        meanings.get(name).unwrap_or_else(|| panic!("{name} is not in the PostgreSQL schema")).clone()
    };
    let objects = |shell: &mut SqliteConnection, of: &str| -> Vec<SqliteObject> {
        let query = format!("SELECT name, sql AS definition FROM sqlite_master WHERE {of} ORDER BY name");
        sql_query(query).load(shell).unwrap()
    };
    let mut tables = Vec::new();
    let of = "type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_\\_%' ESCAPE '\\'";
    for SqliteObject { name, .. } in objects(&mut shell, of) {
        let query = format!(
            "SELECT name, type AS sql_type, \"notnull\" AS required, pk AS key FROM pragma_table_info('{name}')"
        );
        let mut columns: Vec<SqliteColumn> = sql_query(query).load(&mut shell).unwrap();
        let column = |column: &SqliteColumn| Column {
            name: column.name.clone(),
            sql_type: column.sql_type.clone(),
            nullable: column.required == 0,
            meaning: meaning(&format!("{name}.{}", column.name)),
        };
        let described = columns.iter().map(column).collect();
        columns.retain(|column| column.key > 0);
        columns.sort_by_key(|column| column.key);
        let key: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let mut indexes = vec![("primary key".to_owned(), format!("({})", key.join(", ")))];
        let of = format!("type = 'index' AND tbl_name = '{name}' AND sql IS NOT NULL");
        for SqliteObject { name: index, definition } in objects(&mut shell, &of) {
            let words: Vec<&str> = definition.as_deref().unwrap_or_default().split_whitespace().collect();
            let definition = words.join(" ");
            indexes.push((index, definition.split_once(&format!(" ON {name} ")).unwrap().1.to_owned()));
        }
        let meaning = meaning(&name);
        tables.push(Table { name, meaning, is_view: false, columns: described, indexes });
    }
    tables
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_pages_match_migrated_databases() {
    let (_store, database) = cluster::store().await;
    let shell = database.shell().await;
    let tables = postgres_tables(&shell).await;
    check(
        "docs/schema-postgres.md",
        &(page("PostgreSQL", &tables) + &postgres_types_and_functions(&shell).await),
    );

    let meanings = tables.iter().flat_map(|table| {
        let columns = table
            .columns
            .iter()
            .map(|column| (format!("{}.{}", table.name, column.name), column.meaning.clone()));
        std::iter::once((table.name.clone(), table.meaning.clone())).chain(columns)
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.db");
    drop(SqliteStore::open(&file, &SqliteOptions::default()).unwrap());
    check("docs/schema-sqlite.md", &page("SQLite", &sqlite_tables(&file, &meanings.collect())));
}
