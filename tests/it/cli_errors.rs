//! The errors of client commands: in the words of the command line, with the server they tried,
//! as JSON if asked.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::path::Path;

use insta::assert_snapshot;
use prost_reflect::DescriptorPool;
use pvz::proto::v1::*;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::cli_server::{CommandOutput, Script, ScriptedServer, pvz};
use crate::process::{Server, file};

const ACCEPT: [&str; 4] = ["accept", "1", "--customer-id=7", "--storage-until=2026-12-31T10:00:00Z"];

/// A command for each unary method of the service, without other options.
const COMMANDS: [(&str, &[&str]); 16] = [
    ("AcceptOrder", &ACCEPT),
    ("IssueOrders", &["issue", "--order-ids=1"]),
    ("AcceptReturn", &["accept-return", "1", "--customer-id=7"]),
    ("ReturnToCourier", &["return-to-courier", "--order-ids=1"]),
    ("GetOrder", &["get", "--order-id=1"]),
    ("ListOrders", &["list"]),
    ("GetOrderHistory", &["history", "--order-id=1"]),
    ("ListReturns", &["returns"]),
    ("ListEvents", &["events"]),
    ("ListPackaging", &["packaging"]),
    ("GetStatistics", &["stats"]),
    ("GetOutbox", &["outbox", "status"]),
    ("ListDeadLetters", &["dlq", "list"]),
    ("AcceptFork", &["outbox", "accept-fork"]),
    ("RepublishEvents", &["outbox", "republish", "--from=1"]),
    ("RetryDeadLetter", &["dlq", "retry", "1"]),
];
/// The methods without a command of their own in the list: the same request as another, or a
/// stream, whose rows have columns.
const OTHERS: [&str; 3] = ["DropDeadLetter", "ImportOrders", "WatchEvents"];

fn invalid(fields: &[String]) -> Status {
    let mut details =
        ErrorDetails::with_error_info("VALIDATION_FAILED", "pvz", [("field".into(), "x".into())]);
    for field in fields {
        details.add_bad_request_violation(field, "is wrong");
    }
    Status::with_error_details(Code::InvalidArgument, "the request is not valid", details)
}

fn refusal(code: Code, reason: &str, message: &str, metadata: &[(&str, &str)]) -> Status {
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "pvz", metadata))
}

/// Returns the methods of the service and the fields of their requests.
fn requests() -> Vec<(String, Vec<String>)> {
    let pool = DescriptorPool::decode(pvz::proto::DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name("pvz.v1.OrderService").unwrap();
    let fields = |method: &prost_reflect::MethodDescriptor| {
        method.input().fields().map(|field| field.name().to_owned()).collect()
    };
    service.methods().map(|method| (method.name().to_owned(), fields(&method))).collect()
}

#[test]
fn every_field_that_a_command_sends_has_a_flag_or_an_argument() {
    for (method, mut fields) in requests() {
        let Some((_, arguments)) = COMMANDS.iter().find(|(name, _)| *name == method) else {
            assert!(OTHERS.contains(&method.as_str()), "{method} has no command in this test");
            continue;
        };
        fields.push("pvz-actor".to_owned());
        fields.push("unknown_field".to_owned());
        let server = ScriptedServer::start(&Script::default().refuse(invalid(&fields)));
        let output = server.run(arguments);
        assert_eq!(output.exit, Some(2), "{method}: {output:?}");
        let path: Vec<&str> =
            arguments.iter().copied().filter(|part| !part.starts_with('-') && *part != "1").collect();
        let help = CommandOutput::from(pvz(&[&path[..], &["--help"]].concat()).output().unwrap()).stdout;
        let words: BTreeSet<&str> = help.split_whitespace().collect();
        let named: Vec<&str> = output
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("  - ")?.strip_suffix(" is wrong"))
            .collect();
        assert_eq!(named.len(), fields.len(), "{}", output.stderr);
        assert_eq!(named.last(), Some(&"unknown_field"));
        for name in &named[..named.len() - 1] {
            assert!(name.starts_with("--") || name.starts_with('<'), "{method}: {}", output.stderr);
            let in_help = words
                .iter()
                .any(|word| *word == *name || word.trim_matches(['[', ']']).trim_end_matches('.') == *name);
            assert!(in_help, "{name} is not in the help of {path:?}");
        }
    }
}

#[test]
fn every_field_of_an_import_has_a_column() {
    let (_, fields) = requests().into_iter().find(|(method, _)| method == "AcceptOrder").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let row: Vec<&str> = fields
        .iter()
        .map(|field| match field.as_str() {
            "storage_until" => "2026-12-31T10:00:00Z",
            _ => "1",
        })
        .collect();
    let path = file(folder.path(), "all.csv", &format!("{}\n{}\n", fields.join(","), row.join(",")));
    let script = Script::default();
    let output = ScriptedServer::start(&script).run(&["import", &path]);
    assert_eq!(output.exit, Some(0), "{}", output.stderr);
    let sent: AcceptOrderRequest = script.calls()[0].message();
    let value = serde_json::to_value(&sent).unwrap();
    assert_eq!(value.as_object().unwrap().len(), fields.len(), "{value}");
}

#[test]
fn instants_are_local_and_nothing_is_said_twice() {
    let expired = refusal(
        Code::FailedPrecondition,
        "STORAGE_EXPIRED",
        "the storage deadline of order 1 was 2026-11-30T10:00:00Z; it is now 2026-12-01T21:30:00.5Z",
        &[("order_id", "1"), ("storage_until", "2026-11-30T10:00:00Z"), ("now", "2026-12-01T21:30:00.5Z")],
    );
    let late = {
        let metadata = [
            ("field".to_owned(), "storage_until".to_owned()),
            ("order_id".to_owned(), "1".to_owned()),
            ("now".to_owned(), "2026-12-01T21:30:00Z".to_owned()),
            ("storage_until".to_owned(), "2026-11-30T10:00:00Z".to_owned()),
        ];
        let mut details = ErrorDetails::with_error_info("VALIDATION_FAILED", "pvz", metadata);
        details.add_bad_request_violation("storage_until", "must be later than now (2026-12-01T21:30:00Z)");
        let message = "the request is not valid: storage_until must be later than now (2026-12-01T21:30:00Z)";
        Status::with_error_details(Code::InvalidArgument, message, details)
    };
    let reused = refusal(
        Code::InvalidArgument,
        "IDEMPOTENCY_KEY_REUSED",
        "the request_id k was used for another request: its weight_grams is different",
        &[("request_id", "k"), ("field", "weight_grams")],
    );
    let script = Script::default().refuse(expired).refuse(late.clone()).refuse(reused).refuse(late);
    let server = ScriptedServer::start(&script);
    let run = |arguments: &[&str]| {
        let output = server.pvz(arguments).env("TZ", "MSK-3").output().unwrap();
        CommandOutput::from(output).stderr
    };
    assert_snapshot!(run(&["issue", "--order-ids=1"]), @"error: STORAGE_EXPIRED: the storage deadline of order 1 was 2026-11-30 13:00:00 +03:00; it is now 2026-12-02 00:30:00 +03:00");
    assert_snapshot!(run(&ACCEPT), @r"
    error: VALIDATION_FAILED: --storage-until must be later than now (2026-12-02 00:30:00 +03:00)
      --order-id: 1
      --storage-until: 2026-11-30 13:00:00 +03:00
    ");
    assert_snapshot!(run(&ACCEPT), @"error: IDEMPOTENCY_KEY_REUSED: the --request-id k was used for another request: its --weight is different");
    // Programs get what the server sent.
    let object: Value = serde_json::from_str(&run(&[&ACCEPT[..], &["--output=json"]].concat())).unwrap();
    assert_eq!(object["message"], "--storage-until must be later than now (2026-12-01T21:30:00Z)");
    assert_eq!(object["metadata"]["storage_until"], "2026-11-30T10:00:00Z");
    let violation = json!({"field": "storage_until", "flag": "--storage-until",
        "description": "must be later than now (2026-12-01T21:30:00Z)"});
    assert_eq!(object["fieldViolations"], json!([violation]));
    assert_eq!(object["exitCode"], 2);
}

/// Runs the command against a server that answers each connection in this way.
fn against(answer: fn(&mut std::net::TcpStream), arguments: &[&str]) -> CommandOutput {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(&mut stream.unwrap());
        }
    });
    let output = CommandOutput::from(pvz(arguments).env("PVZ_SERVER", address.to_string()).output().unwrap());
    CommandOutput { stderr: output.stderr.replace(&address.to_string(), "HOST:PORT"), ..output }
}

#[test]
fn a_server_that_does_not_speak_grpc_is_named() {
    let garbage = |stream: &mut std::net::TcpStream| {
        // Read first, so that the answer is not lost in a reset.
        let _ = stream.read(&mut [0; 24]);
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(stream, &mut std::io::sink());
    };
    let web_server = |stream: &mut std::net::TcpStream| {
        let _ = stream.read(&mut [0; 24]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(stream, &mut std::io::sink());
    };
    let closes = |_: &mut std::net::TcpStream| {};
    for (answer, what) in [
        (garbage as fn(&mut _), "the answer is not HTTP/2"),
        (web_server as fn(&mut _), "the answer is not HTTP/2"),
        (closes as fn(&mut _), "the connection was closed without an answer"),
    ] {
        for arguments in [&["get", "1"][..], &["events", "--follow"], &["bench", "get"]] {
            let output = against(answer, arguments);
            let expected = format!(
                "error: UNAVAILABLE: no pvz gRPC server at HOST:PORT: {what} (is it the REST port, or a port with \
                 TLS?)\n--server or PVZ_SERVER names the server; the default is 127.0.0.1:50051\n"
            );
            assert_eq!((output.exit, output.stderr), (Some(6), expected), "{arguments:?}");
        }
    }
}

#[test]
fn the_other_ports_of_pvz_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let csv = file(dir.path(), "day.csv", "order_id,customer_id,storage_until\n1,7,2026-12-31T10:00:00Z\n");
    for port in [&server.http, &server.admin] {
        for arguments in [&["get", "1"][..], &["import", &csv], &["events", "--follow"]] {
            let output = CommandOutput::from(pvz(arguments).env("PVZ_SERVER", port).output().unwrap());
            let expected = format!("error: UNAVAILABLE: no pvz gRPC server at {port}: ");
            assert_eq!(output.exit, Some(6));
            assert!(output.stderr.starts_with(&expected), "{arguments:?}: {}", output.stderr);
            assert!(output.stderr.contains("is it the REST port"), "{}", output.stderr);
        }
    }
}

#[test]
fn a_grpc_server_that_is_not_pvz_is_named() {
    let script = Script::default().refuse(Status::unimplemented("unknown service pvz.v1.OrderService"));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["get", "1"]);
    let expected = format!(
        "error: UNAVAILABLE: no pvz gRPC server at {}: the gRPC server there does not know the call; it is another \
         service, or an older release of pvz\n",
        server.address
    );
    assert_eq!(output.exit, Some(6));
    assert!(output.stderr.starts_with(&expected), "{}", output.stderr);
}

#[test]
fn an_unknown_host_is_named() {
    let output = CommandOutput::from(pvz(&["get", "1", "--server=pvz.invalid:50051"]).output().unwrap());
    assert_eq!(output.exit, Some(6));
    let expected = "error: UNAVAILABLE: cannot connect to pvz.invalid:50051: the host is not known (";
    assert!(output.stderr.starts_with(expected), "{}", output.stderr);
}

#[test]
fn a_silent_server_is_named() {
    let silent = |stream: &mut std::net::TcpStream| {
        let _ = std::io::copy(stream, &mut std::io::sink());
    };
    let output = against(silent, &["get", "1", "--timeout=1s"]);
    assert_eq!(output.exit, Some(6));
    assert_snapshot!(output.stderr, @r"
    error: DEADLINE_EXCEEDED: no response from HOST:PORT within 1s
    the server accepted the connection and sent nothing: is it a pvz gRPC server?
    --server or PVZ_SERVER names the server; the default is 127.0.0.1:50051
    ");
}

/// Runs a command that must fail with one JSON object on standard error.
fn error_object(mut command: std::process::Command, exit: i32) -> Value {
    let output = CommandOutput::from(command.output().unwrap());
    assert_eq!(output.exit, Some(exit), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    let object: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(object["exitCode"], exit);
    for key in ["reason", "message"] {
        assert!(object[key].as_str().is_some_and(|text| !text.is_empty()), "{object}");
    }
    assert!(object["metadata"].is_object() && object["fieldViolations"].is_array(), "{object}");
    object
}

#[test]
fn every_client_command_reports_errors_as_json() {
    for (method, arguments) in COMMANDS {
        for format in ["json", "ndjson"] {
            let refused =
                refusal(Code::NotFound, "ORDER_NOT_FOUND", "order 9 does not exist", &[("order_id", "9")]);
            let server = ScriptedServer::start(&Script::default().refuse(refused));
            let object = error_object(server.pvz(&[arguments, &["--output", format]].concat()), 3);
            let expected = json!({"reason": "ORDER_NOT_FOUND", "message": "order 9 does not exist",
                "metadata": {"order_id": "9"}, "fieldViolations": [], "exitCode": 3});
            assert_eq!(object, expected, "{method}");
        }
    }
    let refused = refusal(Code::OutOfRange, "CURSOR_EXPIRED", "the events were archived", &[]);
    let feed = crate::cli_server::Feed::Break(Vec::new(), refused);
    let server = ScriptedServer::start(&Script::default().feed(feed));
    let object = error_object(server.pvz(&["events", "--follow", "--output=json"]), 2);
    assert_eq!(object["reason"], "CURSOR_EXPIRED");
}

#[test]
fn errors_before_the_call_are_json_too() {
    for arguments in [
        &["isue", "--output=json"][..],
        &["get", "--bogus", "--output=ndjson"],
        &["get", "1", "--output=json", "--timeout=soon"],
        &["accept", "1", "--customer-id=7", "--storage-until=7d", "--output=json", "--weight=heavy"],
        &["import", "/nonexistent/day.csv", "--output=json"],
        &["dlq", "--output=json"],
        &["bench", "accept", "--output=json", "--duration=soon"],
    ] {
        let object = error_object(pvz(arguments), 2);
        assert_eq!(object["reason"], "VALIDATION_FAILED", "{object}");
    }
    let mut command = pvz(&["list", "--bogus"]);
    command.env("PVZ_OUTPUT", "json");
    error_object(command, 2);
    let object = error_object(pvz(&["get", "1", "--output=json", "--server=127.0.0.1:1"]), 6);
    assert_eq!(object["reason"], "UNAVAILABLE");
    // The server has no output format.
    let output = CommandOutput::from(pvz(&["serve", "--bogus"]).env("PVZ_OUTPUT", "json").output().unwrap());
    assert!(output.stderr.starts_with("error: unknown option \"--bogus\""), "{}", output.stderr);
}

#[test]
fn a_refused_batch_is_json_with_its_orders() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for command in ["issue", "return-to-courier"] {
        let object = error_object(server.cli(&[command, "--order-ids=8,9", "--output=json"]), 3);
        assert_eq!((&object["refusedTotal"], &object["reason"]), (&json!(2), &json!("ORDER_NOT_FOUND")));
        let order = json!({"orderId": "9", "reason": "ORDER_NOT_FOUND", "message": "order 9 does not exist",
            "metadata": {"order_id": "9"}, "fieldViolations": []});
        assert_eq!(object["errors"][1], order);
    }
}

#[test]
fn an_id_with_an_invisible_character_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let output = CommandOutput::from(server.cli(&["get", "--order-id=1\u{a0}"]).output().unwrap());
    assert_eq!(output.exit, Some(2));
    assert_snapshot!(output.stderr, @r"error: VALIDATION_FAILED: --order-id may hold only the letters A to Z, digits, '.', '_' and '-'; it holds '\u{a0}'");
    let output =
        CommandOutput::from(server.cli(&[&ACCEPT[..], &["--weight=1\u{200b}kg"]].concat()).output().unwrap());
    assert!(output.stderr.contains(r#"not "1\u{200b}kg""#), "{}", output.stderr);
}

#[test]
fn the_help_lists_the_exit_codes_of_the_readme() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let help = CommandOutput::from(pvz(&["--help"]).output().unwrap()).stdout;
    let (_, listed) = help.split_once("\nExit codes:\n").unwrap();
    let (_, table) = readme.split_once("\n## Exit codes\n").unwrap();
    let mut codes = 0;
    for row in
        table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| !line.is_empty())
    {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let meaning = cells[1].replace('`', "");
        assert!(listed.contains(&format!("  {}  {meaning}\n", cells[0])), "{row} in {listed}");
        codes += 1;
    }
    assert_eq!(codes, 8);
}
