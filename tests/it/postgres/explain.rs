//! The store's statements, and the plans that the server executes for them on a
//! million orders (`auto_explain`): plans cached while the tables were empty, and new
//! ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pvz::adapters::postgres::{PostgresStore, migrate};
use serde_json::Value;

use super::cluster::Cluster;
use super::plans::{FILL, fill_one_point, run_every_list, run_every_statement};

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

/// Runs statements `rounds` times, adds orders by `fill`, and runs them again, on the same store and
/// on a new one. Returns the plans of the runs after the fill.
async fn plans_after_growth(
    rounds: Range<usize>,
    fill: &str,
    run: impl AsyncFn(&PostgresStore, usize),
) -> Vec<Value> {
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
        run(&early, round).await;
    }
    let before = cluster.log().len();
    // This session began before the settings, so it logs no plans.
    shell.batch_execute(fill).await.unwrap();
    let late = database.open().await;
    for round in rounds {
        run(&early, round).await;
        run(&late, round + 100).await;
    }
    drop((early, late));
    let plans = plans(&cluster.log()[before..]);
    cluster.crash();
    plans
}

/// Returns the problems of each statement that has any.
fn problems_by_statement(plans: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for plan in plans {
        found.entry(statement(plan)).or_default().extend(problems(plan));
    }
    found.retain(|_, problems| !problems.is_empty());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_do_not_scan_or_sort_a_million_orders() {
    let run = async |store: &PostgresStore, round: usize| {
        run_every_statement(store, round).await;
    };
    let fill = FILL.replace("60000", ORDERS);
    let plans = Box::pin(plans_after_growth(8..11, &fill, run)).await;
    let found = problems_by_statement(&plans);
    assert!(found.is_empty(), "{found:#?}");
    // The reads, the locking write and the optimistic insert.
    assert!(plans.len() > 300, "{} plans", plans.len());
    let statements: BTreeSet<String> = plans.iter().map(statement).collect();
    let statements: Vec<String> = statements.into_iter().collect();
    insta::assert_snapshot!("statements", statements.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_read_hardly_more_than_their_page() {
    for majority in ["STORED", "ISSUED", "RETURNED", "HANDED_TO_COURIER"] {
        let run = async |store: &PostgresStore, _: usize| run_every_list(store).await;
        let fill = fill_one_point(majority);
        let plans = Box::pin(plans_after_growth(8..9, &fill, run)).await;
        assert!(plans.len() > 600, "{} plans", plans.len());
        let found = problems_by_statement(&plans);
        assert!(found.is_empty(), "most orders are {majority}: {found:#?}");
    }
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
