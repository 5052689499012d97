//! The store's statements, and the plans that the server executes for them on a
//! million orders (`auto_explain`): plans cached while the tables were empty, and new
//! ones.

use std::collections::{BTreeMap, BTreeSet};

use pvz::adapters::postgres::migrate;
use serde_json::Value;

use super::cluster::Cluster;
use super::plans::{FILL, run_every_statement};

const ORDERS: &str = "1000000";
/// The maximum number of rows in a plan node: a list page and a batch, with a margin.
const MAX_ROWS: f64 = 400.0;

/// Collects a plan node and its descendants.
fn nodes<'p>(plan: &'p Value, found: &mut Vec<&'p Value>) {
    found.push(plan);
    for child in plan["Plans"].as_array().into_iter().flatten() {
        nodes(child, found);
    }
}

/// Returns the sequential scans and the oversized nodes of a plan.
fn problems(plan: &Value) -> Vec<String> {
    let mut found = Vec::new();
    nodes(&plan["Plan"], &mut found);
    let mut problems = Vec::new();
    for node in found {
        let text = |field: &str| node[field].as_str().unwrap_or_default();
        let number = |field: &str| node[field].as_f64().unwrap_or_default();
        let (kind, table) = (text("Node Type"), text("Relation Name"));
        let grows = table == "orders" || table == "idempotency" || table.starts_with("order_events");
        // A sequence is a relation with one row.
        let grows = grows && !table.ends_with("_seq");
        if kind == "Seq Scan" && grows {
            problems.push(format!("sequential scan of {table}"));
        }
        let rows = number("Actual Rows") * number("Actual Loops").max(1.0);
        if rows > MAX_ROWS || number("Rows Removed by Filter") > MAX_ROWS {
            problems.push(format!("{kind} on {table:?} handles {rows} rows"));
        }
    }
    problems
}

/// Parses the plans in the server's log. Tabs indent their lines.
fn plans(log: &str) -> Vec<Value> {
    let entries = log.split("  plan:\n").skip(1);
    let json =
        |entry: &str| entry.lines().take_while(|line| line.starts_with('\t')).collect::<Vec<_>>().join("\n");
    entries.map(|entry| serde_json::from_str(&json(entry)).unwrap()).collect()
}

/// Returns the statement of a plan on one line.
fn statement(plan: &Value) -> String {
    plan["Query Text"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_do_not_scan_or_sort_a_million_orders() {
    let cluster = Cluster::start();
    let database = cluster.database(false).await;
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
    // Often enough that the server caches a generic plan for each statement.
    for round in 0..8 {
        run_every_statement(&early, round).await;
    }
    let before = cluster.log().len();
    // This session began before the settings, so it logs no plans.
    shell.batch_execute(&FILL.replace("60000", ORDERS)).await.unwrap();
    let late = database.open().await;
    for round in 8..11 {
        run_every_statement(&early, round).await;
        run_every_statement(&late, round + 100).await;
    }
    drop((early, late));

    let log = cluster.log();
    let plans = plans(&log[before..]);
    let mut statements = BTreeSet::new();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for plan in &plans {
        statements.insert(statement(plan));
        found.entry(statement(plan)).or_default().extend(problems(plan));
    }
    found.retain(|_, problems| !problems.is_empty());
    assert!(found.is_empty(), "{found:#?}");
    // The reads, the locking write and the optimistic insert.
    assert!(plans.len() > 300, "{} plans", plans.len());
    let statements: Vec<String> = statements.into_iter().collect();
    insta::assert_snapshot!("statements", statements.join("\n\n"));
    cluster.crash();
}

#[test]
fn scans_sorts_and_filters_are_found() {
    let plan = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let sort = plan(
        r#"{"Plan": {"Node Type": "Limit", "Actual Rows": 5, "Plans": [
            {"Node Type": "Sort", "Actual Rows": 5, "Plans": [
                {"Node Type": "Index Scan", "Relation Name": "orders", "Actual Rows": 10000, "Actual Loops": 1}]}]}}"#,
    );
    assert_eq!(problems(&sort), ["Index Scan on \"orders\" handles 10000 rows"]);
    let scan =
        plan(r#"{"Plan": {"Node Type": "Seq Scan", "Relation Name": "order_events_1", "Actual Rows": 1}}"#);
    assert_eq!(problems(&scan), ["sequential scan of order_events_1"]);
    let filter = plan(
        r#"{"Plan": {"Node Type": "Index Scan", "Relation Name": "orders", "Actual Rows": 1, "Actual Loops": 1,
            "Rows Removed by Filter": 5000}}"#,
    );
    assert_eq!(problems(&filter).len(), 1);
}
