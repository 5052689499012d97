//! `pvz import` against a server with scripted results and broken streams.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::mpsc;

use insta::assert_snapshot;
use pvz::proto::v1::*;
use serde_json::{Value, json};
use tonic::Status;

use crate::cli_server::{Call, CommandOutput, Rows, Script, ScriptedServer, accepted};

const UNTIL: &str = "2026-12-31T10:00:00Z";

fn csv(rows: usize) -> String {
    let rows: String = (1..=rows).flat_map(|id| [id.to_string(), format!(",7,{UNTIL}\n")]).collect();
    format!("order_id,customer_id,storage_until\n{rows}")
}

fn file(name: &str, content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// Returns the order id and the `request_id` of each row that was sent.
fn request_ids(calls: &[Call]) -> Vec<(String, String)> {
    let rows = calls.iter().map(Call::message::<AcceptOrderRequest>);
    rows.map(|row| (row.order_id, row.request_id.unwrap())).collect()
}

fn mixed(row: &AcceptOrderRequest) -> ImportOrdersResponse {
    let refusal = || Refusal {
        reason: "WEIGHT_TOO_HEAVY".to_owned(),
        message: "30000 g is too heavy for box".to_owned(),
        ..Refusal::default()
    };
    match row.order_id.as_str() {
        "heavy" => ImportOrdersResponse {
            result: Some(OrderResult {
                order_id: row.order_id.clone(),
                outcome: Some(order_result::Outcome::Refusal(refusal())),
            }),
            ..accepted(row)
        },
        "there" => ImportOrdersResponse { already_existed: true, ..accepted(row) },
        _ => accepted(row),
    }
}

#[test]
fn bad_rows_are_reported_and_the_others_accepted() {
    let text = format!(
        "order_id,customer_id,storage_until,weight\n\
         1,7,{UNTIL},\n\
         2,7,tomorrow,heavy\n\
         there,7,{UNTIL},\n\
         heavy,7,{UNTIL},30kg\n\
         \"multi\nline\",7,{UNTIL},1g\n\
         5,7\n"
    );
    let (_folder, path) = file("day.csv", &text);
    let script = Script::default().import(Rows::Respond(mixed)).import(Rows::Respond(mixed));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["import", &path]);
    assert_eq!(output.exit, Some(4));
    assert_snapshot!(output.stdout, @r"
    rows                 6
    accepted             2
    already existed      1
    refused              3
      VALIDATION_FAILED  2
      WEIGHT_TOO_HEAVY   1
    ");
    let stderr = output.stderr.replace(&path, "day.csv");
    let mut faults: Vec<_> = stderr.trim().split("\nday").collect();
    faults.sort_by_key(|fault| fault.trim_start_matches("day").to_owned());
    assert_snapshot!(faults.join("\nday"), @r#"
    day.csv:3: VALIDATION_FAILED: column storage_until must be a date (2026-12-31), a local time (2026-12-31 18:00) or an RFC 3339 instant (2026-12-31T18:00:00+03:00), not "tomorrow" (order 2)
      - column weight must be a weight such as 1500, 900g, 1.5kg or 1,5 кг, not "heavy"
    day.csv:5: WEIGHT_TOO_HEAVY: 30000 g is too heavy for box (order heavy)
    day.csv:8: VALIDATION_FAILED: line has 2 fields, but the header has 4
    "#);

    let json = server.run(&["import", &path, "--output=json"]);
    let summary: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        summary,
        json!({
            "finished": true, "rows": 6, "accepted": 2, "alreadyThere": 1, "refused": 3,
            "refusedByReason": {"VALIDATION_FAILED": 2, "WEIGHT_TOO_HEAVY": 1},
        })
    );
}

#[test]
fn ndjson_prints_one_result_per_line() {
    let (_folder, path) = file(
        "day.ndjson",
        &format!(
            "{{\"orderId\":\"1\",\"customer_id\":\"7\",\"storageUntil\":\"{UNTIL}\",\"requestId\":\"mine\"}}\n\n{{\"order\n"
        ),
    );
    let script = Script::default();
    let server = ScriptedServer::start(&script);
    let output = server.run(&["import", &path, "--output=ndjson"]);
    assert_eq!(output.exit, Some(4));
    let mut rows: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.sort_by_key(|row| row["line"].as_u64());
    assert_eq!((&rows[0]["line"], &rows[0]["index"]), (&json!(1), &json!("0")));
    assert_eq!(rows[0]["result"]["order"]["orderId"], json!("1"));
    assert_eq!((&rows[1]["line"], &rows[1]["index"]), (&json!(3), &json!("1")));
    assert_eq!(rows[1]["result"]["refusal"]["reason"], json!("VALIDATION_FAILED"));
    assert_eq!(
        request_ids(&script.calls()),
        [("1".to_owned(), "mine".to_owned())],
        "a row may have a request id of its own"
    );
}

#[test]
fn rows_without_a_result_are_sent_again_with_the_same_request_ids() {
    let (_folder, path) = file("day.csv", &csv(5_000));
    let script = Script::default()
        .import(Rows::Break(1_000, Status::unavailable("draining")))
        .import(Rows::Break(500, Status::unavailable("draining")));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["import", &path, "--output=json"]);
    assert_eq!(output.exit, Some(0), "{}", output.stderr);
    let summary: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&summary["rows"], &summary["accepted"]), (&json!(5_000), &json!(5_000)));
    let sent = request_ids(&script.calls());
    assert!(sent.len() > 5_000, "some were sent again");
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), 5_000, "each has its own request id");
    assert_eq!(sent.iter().map(|(_, key)| key).collect::<BTreeSet<_>>().len(), 5_000);
}

#[test]
fn an_import_continues_after_the_server_restarts() {
    let (_folder, path) = file("day.csv", &csv(3_000));
    let (kill, killed) = mpsc::channel();
    let script = Script::default().import(Rows::Kill(700, kill));
    let server = ScriptedServer::start(&script);
    let address = server.address;
    let child = server.pvz(&["import", &path, "--output=json"]).spawn().unwrap();
    killed.recv().unwrap();
    drop(server);
    let _server = ScriptedServer::start_at(&script, address);
    let output = CommandOutput::from(child.wait_with_output().unwrap());
    assert_eq!(output.exit, Some(0), "{}", output.stderr);
    let summary: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(summary["accepted"], json!(3_000));
    assert_eq!(request_ids(&script.calls()).iter().collect::<BTreeSet<_>>().len(), 3_000);
}

#[test]
fn an_import_that_cannot_finish_reports_it() {
    let (_folder, path) = file("day.csv", &csv(10));
    let refused = Status::permission_denied("not you");
    let script = Script::default().import(Rows::Break(2, refused));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["import", &path, "--output=json"]);
    assert_eq!(output.exit, Some(6));
    let summary: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&summary["finished"], &summary["accepted"]), (&json!(false), &json!(2)));
    let error: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!((&error["reason"], &error["exitCode"]), (&json!("PERMISSION_DENIED"), &json!(6)));
}

#[test]
fn an_import_without_results_times_out() {
    let (_folder, path) = file("day.csv", &csv(10));
    let script = Script::default().import(Rows::Silent);
    let server = ScriptedServer::start(&script);
    let output = server.run(&["import", &path, "--timeout=1s"]);
    assert_eq!(output.exit, Some(6));
    assert_eq!(
        output.stderr,
        format!(
            "error: DEADLINE_EXCEEDED: no response from {} within 1s\n\
             --timeout allows more time\n\
             the import did not finish; it is safe to import the same file again\n",
            server.address
        )
    );
}

#[test]
fn an_interrupted_import_prints_its_results() {
    let (_folder, path) = file("day.csv", &csv(100));
    let (reached, reached_limit) = mpsc::channel();
    let script = Script::default().import(Rows::Kill(20, reached));
    let server = ScriptedServer::start(&script);
    let child = server.pvz(&["import", &path, "--output=ndjson"]).spawn().unwrap();
    reached_limit.recv().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let output = CommandOutput::from(child.wait_with_output().unwrap());
    assert_eq!(output.exit, Some(6));
    assert!(output.stdout.lines().count() <= 20);
    let error: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["message"], "interrupted");
}

#[test]
fn the_format_of_standard_input_is_detected() {
    let script = Script::default();
    let server = ScriptedServer::start(&script);
    for (text, name) in
        [(csv(3), "CSV"), (format!("{{\"order_id\":\"1\",\"storage_until\":\"{UNTIL}\"}}"), "NDJSON")]
    {
        let mut child = server.pvz(&["import", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = CommandOutput::from(child.wait_with_output().unwrap());
        assert_eq!(output.exit, Some(0), "{}", output.stderr);
        assert_eq!(
            output.stderr,
            format!(
                "reading standard input as {name}, judging by its first line; use --format to override\n"
            )
        );
    }
    assert_eq!(script.calls().len(), 4);
}

#[test]
fn an_invalid_file_is_refused_before_anything_is_sent() {
    let script = Script::default();
    let server = ScriptedServer::start(&script);
    let (_folder, path) = file("day.csv", "order_id,colour\n1,red\n");
    let output = server.run(&["import", &path]);
    assert_eq!(output.exit, Some(2));
    assert!(
        output.stderr.contains("day.csv:1: the header has unknown columns: \"colour\"; "),
        "{}",
        output.stderr
    );
    let output = server.run(&["import", "/no/such/file.csv"]);
    assert_eq!(output.exit, Some(2));
    assert!(output.stderr.starts_with("error: cannot read /no/such/file.csv: "), "{}", output.stderr);
    assert!(script.calls().is_empty());
}
