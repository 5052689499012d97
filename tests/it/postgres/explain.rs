//! The plans that PostgreSQL runs the store's statements by, on a million
//! orders, as the server itself writes them down (`auto_explain`): those that
//! were made while the tables were empty and are kept, and those that were made
//! since. And the statements, word by word.

use std::collections::{BTreeMap, BTreeSet};

use pvz::adapters::postgres::migrate;
use serde_json::Value;

use super::cluster::Cluster;
use super::plans::{FILL, everything};

const ORDERS: &str = "1000000";
/// A page of a list, a batch of the rounds, and some room: what a node of a plan
/// may handle, however many orders there are.
const MOST_ROWS: f64 = 400.0;

/// A node of a plan, and those below it.
fn nodes<'p>(plan: &'p Value, found: &mut Vec<&'p Value>) {
    found.push(plan);
    for below in plan["Plans"].as_array().into_iter().flatten() {
        nodes(below, found);
    }
}

/// What is wrong with a plan, a line each.
fn faults(plan: &Value) -> Vec<String> {
    let mut found = Vec::new();
    nodes(&plan["Plan"], &mut found);
    let mut faults = Vec::new();
    for node in found {
        let text = |field: &str| node[field].as_str().unwrap_or_default();
        let number = |field: &str| node[field].as_f64().unwrap_or_default();
        let (kind, table) = (text("Node Type"), text("Relation Name"));
        let grows = table == "orders" || table == "idempotency" || table.starts_with("order_events");
        // A sequence is a table of one row.
        let grows = grows && !table.ends_with("_seq");
        if kind == "Seq Scan" && grows {
            faults.push(format!("walks through {table}"));
        }
        let rows = number("Actual Rows") * number("Actual Loops").max(1.0);
        if rows > MOST_ROWS || number("Rows Removed by Filter") > MOST_ROWS {
            faults.push(format!("{kind} on {table:?} handles {rows} rows"));
        }
    }
    faults
}

/// The plans in the server's log: each a line, and those below it indented.
fn plans(log: &str) -> Vec<Value> {
    let entries = log.split("  plan:\n").skip(1);
    let json =
        |entry: &str| entry.lines().take_while(|line| line.starts_with('\t')).collect::<Vec<_>>().join("\n");
    entries.map(|entry| serde_json::from_str(&json(entry)).unwrap()).collect()
}

/// A statement on one line.
fn flat(plan: &Value) -> String {
    plan["Query Text"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_orders_are_neither_walked_through_nor_sorted() {
    let own = Cluster::start();
    let database = own.database(false).await;
    migrate(&database.options()).await.unwrap();
    let shell = database.shell().await;
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_format = 'json'",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
    ] {
        let name = &database.name;
        shell.batch_execute(&format!("ALTER DATABASE {name} SET {setting}")).await.unwrap();
    }
    let early = database.open().await;
    // So often that the server keeps a plan for each statement.
    for round in 0..8 {
        everything(&early, round).await;
    }
    let before = own.said().len();
    // This session has none of the settings.
    shell.batch_execute(&FILL.replace("60000", ORDERS)).await.unwrap();
    let late = database.open().await;
    for round in 8..11 {
        everything(&early, round).await;
        everything(&late, round + 100).await;
    }
    drop((early, late));

    let log = own.said();
    let plans = plans(&log[before..]);
    let mut statements = BTreeSet::new();
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for plan in &plans {
        statements.insert(flat(plan));
        wrong.entry(flat(plan)).or_default().extend(faults(plan));
    }
    wrong.retain(|_, faults| !faults.is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The reads, the write the long way, and the write without looking first.
    assert!(plans.len() > 300, "{} plans", plans.len());
    let statements: Vec<String> = statements.into_iter().collect();
    insta::assert_snapshot!("statements", statements.join("\n\n"));
    own.crash();
}

#[test]
fn a_walk_and_a_sort_are_found() {
    let plan = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let sort = plan(
        r#"{"Plan": {"Node Type": "Limit", "Actual Rows": 5, "Plans": [
            {"Node Type": "Sort", "Actual Rows": 5, "Plans": [
                {"Node Type": "Index Scan", "Relation Name": "orders", "Actual Rows": 10000, "Actual Loops": 1}]}]}}"#,
    );
    assert_eq!(faults(&sort), ["Index Scan on \"orders\" handles 10000 rows"]);
    let walk =
        plan(r#"{"Plan": {"Node Type": "Seq Scan", "Relation Name": "order_events_1", "Actual Rows": 1}}"#);
    assert_eq!(faults(&walk), ["walks through order_events_1"]);
    let filter = plan(
        r#"{"Plan": {"Node Type": "Index Scan", "Relation Name": "orders", "Actual Rows": 1, "Actual Loops": 1,
            "Rows Removed by Filter": 5000}}"#,
    );
    assert_eq!(faults(&filter).len(), 1);
}
