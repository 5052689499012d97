//! Order ids as arguments and from standard input, and `pvz issue --all`.

use std::io::Write as _;
use std::process::Stdio;

use pvz::proto::v1::*;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::cli_server::{Call, CommandOutput, Script, ScriptedServer};

fn order(order_id: &str) -> Order {
    Order {
        order_id: order_id.to_owned(),
        customer_id: "7".to_owned(),
        pickup_point_id: "main".to_owned(),
        state: OrderState::Stored.into(),
        ..Order::default()
    }
}

fn done(order_id: &str) -> OrderResult {
    let order = Order { state: OrderState::Issued.into(), ..order(order_id) };
    OrderResult { order_id: order_id.to_owned(), outcome: Some(order_result::Outcome::Order(order)) }
}

fn refused(order_id: &str) -> OrderResult {
    let refusal = Refusal {
        reason: "WRONG_CUSTOMER".to_owned(),
        message: format!("order {order_id} is another customer's"),
        ..Refusal::default()
    };
    OrderResult { order_id: order_id.to_owned(), outcome: Some(order_result::Outcome::Refusal(refusal)) }
}

fn not_found(order_id: &str) -> Status {
    let details = ErrorDetails::with_error_info("ORDER_NOT_FOUND", "pvz", std::collections::HashMap::new());
    Status::with_error_details(Code::NotFound, format!("order {order_id} does not exist"), details)
}

fn internal() -> Status {
    let details = ErrorDetails::with_error_info("INTERNAL", "pvz", std::collections::HashMap::new());
    Status::with_error_details(Code::Internal, "a bug", details)
}

/// Runs `pvz` with a text as standard input.
fn run_with_input(server: &ScriptedServer, arguments: &[&str], input: &str) -> CommandOutput {
    let mut child = server.pvz(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    CommandOutput::from(child.wait_with_output().unwrap())
}

#[test]
fn ids_are_arguments_an_option_or_lines_of_standard_input() {
    for (arguments, input) in [
        (&["1", "2", "3"][..], ""),
        (&["1,2,3"], ""),
        (&["1,", "2,", "3"], ""),
        (&["--order-ids=1,2,3"], ""),
        (&["-"], "1\n2\r\n\n3"),
    ] {
        let issued = IssueOrdersResponse { results: vec![done("1")] };
        let handed_over = ReturnToCourierResponse { results: vec![done("1")] };
        let script = Script::default().respond(&issued).respond(&handed_over);
        let server = ScriptedServer::start(&script);
        for command in ["issue", "return-to-courier"] {
            let output = run_with_input(&server, &[&[command][..], arguments].concat(), input);
            assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        }
        let calls = script.calls();
        assert_eq!(calls[0].message::<IssueOrdersRequest>().order_ids, ["1", "2", "3"], "{arguments:?}");
        assert_eq!(calls[1].message::<ReturnToCourierRequest>().order_ids, ["1", "2", "3"], "{arguments:?}");
    }
}

#[test]
fn commands_for_one_order_take_its_id_as_an_argument() {
    let script = Script::default()
        .respond(&AcceptOrderResponse { order: Some(order("1")) })
        .respond(&AcceptReturnResponse { order: Some(order("1")) });
    let server = ScriptedServer::start(&script);
    let output = server.run(&["accept", "1", "--customer-id=7", "--storage-until=7d", "-q"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "1\n"));
    let output = server.run(&["accept-return", "1", "--customer-id=7", "--quiet"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "1\n"));
    let calls = script.calls();
    assert_eq!(calls[0].message::<AcceptOrderRequest>().order_id, "1");
    assert_eq!(calls[1].message::<AcceptReturnRequest>().order_id, "1");
}

#[test]
fn listed_ids_can_be_piped_into_a_command() {
    let page = ListOrdersResponse { orders: vec![order("1"), order("2")], next_page_token: String::new() };
    let script = Script::default()
        .respond(&page)
        .respond(&IssueOrdersResponse { results: vec![done("1"), done("2")] });
    let server = ScriptedServer::start(&script);
    let mut bash = std::process::Command::new("bash");
    let program = env!("CARGO_BIN_EXE_pvz");
    bash.args(["-c", &format!("'{program}' list --customer-id=7 -q | '{program}' issue - -q")]);
    let output = CommandOutput::from(bash.env("PVZ_SERVER", server.address.to_string()).output().unwrap());
    assert_eq!((output.exit, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "1\n2\n", ""));
    assert_eq!(script.calls()[1].message::<IssueOrdersRequest>().order_ids, ["1", "2"]);
}

#[test]
fn dead_letters_are_retried_and_dropped_one_after_the_other() {
    let script = Script::default()
        .respond(&RetryDeadLetterResponse {})
        .respond(&RetryDeadLetterResponse {})
        .respond(&DropDeadLetterResponse {})
        .refuse(not_found("2"));
    let server = ScriptedServer::start(&script);
    let output = run_with_input(&server, &["dlq", "retry", "-"], "1\n2\n");
    assert_eq!((output.exit, output.stdout.lines().count()), (Some(0), 2));
    let output = server.run(&["dlq", "drop", "1", "2", "3"]);
    assert_eq!((output.exit, output.stdout.lines().count()), (Some(3), 1), "stops at the first that fails");
    assert_eq!(script.calls().len(), 4);
    assert_eq!(script.calls()[1].message::<RetryDeadLetterRequest>().order_id, "2");
}

#[test]
fn input_that_is_not_ids_is_refused_before_a_call() {
    let script = Script::default();
    let server = ScriptedServer::start(&script);
    for (input, expected) in [
        ("", "standard input has no order ids"),
        ("ORDER  CUSTOMER\n1      7\n", "line 1 of standard input must be an order id"),
    ] {
        let output = run_with_input(&server, &["issue", "-", "--partial"], input);
        assert_eq!(output.exit, Some(2));
        assert!(output.stderr.contains(expected), "{}", output.stderr);
    }
    assert_eq!(script.calls().len(), 0);
}

#[test]
fn get_shows_several_orders_and_reports_missing_ones() {
    let answers = |script: Script| script.respond(&order("1")).refuse(not_found("2")).respond(&order("3"));
    let script = (0..4).fold(Script::default(), |script, _| answers(script)).respond(&order("1"));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["get", "1", "2", "3"]);
    assert_eq!(
        (output.exit, output.stderr.as_str()),
        (Some(3), "error: ORDER_NOT_FOUND: order 2 does not exist\n")
    );
    let cards: Vec<_> = output.stdout.split("\n\n").map(|card| card.lines().next().unwrap()).collect();
    assert_eq!(cards, ["order          1", "order          3"]);
    let output = server.run(&["get", "1,2,3", "-o", "json"]);
    let listed: ListOrdersResponse = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.exit, listed.orders), (Some(3), vec![order("1"), order("3")]));
    let error: serde_json::Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!((&error["reason"], &error["exitCode"]), (&"ORDER_NOT_FOUND".into(), &3.into()));
    let output = run_with_input(&server, &["get", "-", "--output=ndjson"], "1\n2\n3\n");
    assert_eq!((output.exit, output.stdout.lines().count()), (Some(3), 2));
    let output = run_with_input(&server, &["get", "-", "-q"], "1\n2\n3\n");
    assert_eq!((output.exit, output.stdout.as_str()), (Some(3), "1\n3\n"));
    let output = server.run(&["get", "1", "-ojson"]);
    assert_eq!(serde_json::from_str::<Order>(&output.stdout).unwrap(), order("1"), "one id prints one order");
}

#[test]
fn quiet_prints_the_changed_orders_and_reports_the_others() {
    let script = Script::default().respond(&IssueOrdersResponse { results: vec![done("1"), refused("2")] });
    let server = ScriptedServer::start(&script);
    let output = server.run(&["issue", "1", "2", "--partial", "--quiet"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(4), "1\n"));
    assert_eq!(output.stderr, "order 2: WRONG_CUSTOMER: order 2 is another customer's\n");
    let output = server.run(&["issue", "1", "-q", "-o", "json"]);
    assert_eq!(output.exit, Some(2));
    assert!(output.stderr.contains("\"--quiet prints only ids and cannot be combined with --output\""));
}

#[test]
fn all_issues_the_orders_that_can_be_collected() {
    let page = |ids: &[&str], next: &str| ListOrdersResponse {
        orders: ids.iter().map(|id| Order { expired: *id == "late", ..order(id) }).collect(),
        next_page_token: next.to_owned(),
    };
    let script = Script::default()
        .respond(&page(&["3", "late"], "next"))
        .respond(&page(&["2", "1"], ""))
        .respond(&IssueOrdersResponse { results: vec![done("1"), done("2"), done("3")] });
    let server = ScriptedServer::start(&script);
    let output = server.run(&["issue", "--customer-id=7", "--all", "--pickup-point=main"]);
    assert_eq!(output.exit, Some(0));
    assert_eq!(output.stderr, "not issued, because the storage deadline has passed: late\n");
    assert_eq!(output.stdout.lines().count(), 4, "{}", output.stdout);
    let calls = script.calls();
    let list: ListOrdersRequest = calls[0].message();
    assert_eq!((list.customer_id.as_deref(), list.pickup_point_id.as_deref()), (Some("7"), Some("main")));
    assert_eq!((list.states, list.expired), (vec![i32::from(OrderState::Stored)], None));
    assert_eq!(calls[1].message::<ListOrdersRequest>().page_token, "next");
    let issue: IssueOrdersRequest = calls[2].message();
    assert_eq!(issue.order_ids, ["1", "2", "3"]);
    assert_eq!((issue.customer_id.as_deref(), issue.pickup_point_id.as_deref()), (Some("7"), Some("main")));
    assert_eq!(issue.mode(), BatchMode::Atomic);
}

#[test]
fn all_without_orders_says_so_and_issues_nothing() {
    let late =
        ListOrdersResponse { orders: vec![Order { expired: true, ..order("late") }], ..Default::default() };
    let script = Script::default()
        .respond(&ListOrdersResponse::default())
        .respond(&late)
        .respond(&ListOrdersResponse::default());
    let server = ScriptedServer::start(&script);
    let output = server.run(&["issue", "--customer-id=7", "--all"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), ""));
    assert_eq!(output.stderr, "customer 7 has no orders to collect\n");
    let output = server.run(&["issue", "--customer-id=7", "--all", "-q"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), ""));
    let both =
        "not issued, because the storage deadline has passed: late\ncustomer 7 has no orders to collect\n";
    assert_eq!(output.stderr, both);
    let output = server.run(&["issue", "--customer-id=7", "--all", "-o", "json"]);
    let printed: IssueOrdersResponse = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.exit, printed), (Some(0), IssueOrdersResponse::default()));
    assert_eq!(script.calls().len(), 3);
}

#[test]
fn all_that_may_have_taken_effect_is_safe_to_repeat_without_a_request_id() {
    let page = ListOrdersResponse { orders: vec![order("1")], ..Default::default() };
    let server = ScriptedServer::start(&Script::default().respond(&page).refuse(internal()));
    let output = server.run(&["issue", "--customer-id=7", "--all"]);
    assert_eq!(output.exit, Some(1));
    let expected = "error: INTERNAL: a bug\nthe command may have taken effect; it is safe to repeat it\n";
    assert_eq!(output.stderr, expected);
}

#[test]
fn all_at_several_pickup_points_asks_for_one() {
    let north = Order { pickup_point_id: "north".to_owned(), ..order("2") };
    let script = Script::default().respond(&ListOrdersResponse {
        orders: vec![order("1"), north, order("3")],
        next_page_token: String::new(),
    });
    let server = ScriptedServer::start(&script);
    let output = server.run(&["issue", "--customer-id=7", "--all"]);
    assert_eq!((output.exit, script.calls().len()), (Some(2), 1));
    let expected = "error: customer 7 has orders at several pickup points: main (2), north (1); choose one with \
                    --pickup-point\n";
    assert_eq!(output.stderr, expected);
}

/// The ids 1 to 250, and the response to each group of 100.
fn large_batch(script: Script) -> (String, Script) {
    let ids: Vec<String> = (1..=250).map(|id| id.to_string()).collect();
    let script = ids.chunks(100).fold(script, |script, group| {
        script.respond(&IssueOrdersResponse { results: group.iter().map(|id| done(id)).collect() })
    });
    (ids.join("\n"), script)
}

#[test]
fn more_orders_than_a_batch_are_sent_in_groups_if_each_stands_for_itself() {
    let (ids, script) = large_batch(Script::default());
    let server = ScriptedServer::start(&script);
    for (arguments, expected) in [
        (
            &["issue", "-", "--customer-id=7"][..],
            "250 orders are more than the 100 that can be changed all or none",
        ),
        (
            &["issue", "-", "--partial"],
            "give --customer-id, so that all groups are issued to the same customer",
        ),
    ] {
        let output = run_with_input(&server, arguments, &ids);
        assert_eq!((output.exit, script.calls().len()), (Some(2), 0));
        assert!(output.stderr.contains(expected), "{}", output.stderr);
    }
    let arguments = ["issue", "-", "--customer-id=7", "--partial", "--request-id=mine", "-q"];
    let output = run_with_input(&server, &arguments, &ids);
    assert_eq!((output.exit, output.stdout.trim_end(), output.stderr.as_str()), (Some(0), ids.as_str(), ""));
    let sent: Vec<IssueOrdersRequest> = script.calls().iter().map(Call::message).collect();
    assert_eq!(sent.iter().map(|request| request.order_ids.len()).collect::<Vec<_>>(), [100, 100, 50]);
    let keys: Vec<_> = sent.iter().map(|request| request.request_id.as_deref().unwrap()).collect();
    assert_eq!(keys, ["mine", "mine-2", "mine-3"]);
}

#[test]
fn a_group_that_fails_leaves_the_results_of_the_others() {
    let first = IssueOrdersResponse { results: (1..=100).map(|id| done(&id.to_string())).collect() };
    let (ids, _) = large_batch(Script::default());
    let script = Script::default().respond(&first).refuse(internal());
    let server = ScriptedServer::start(&script);
    let arguments = ["issue", "-", "--customer-id=7", "--partial", "--request-id=mine", "-q"];
    let output = run_with_input(&server, &arguments, &ids);
    assert_eq!((output.exit, output.stdout.lines().count()), (Some(1), 100));
    assert_eq!(
        output.stderr,
        "the command failed after 100 of 250 orders; repeat it to complete it\n\
         error: INTERNAL: a bug\n\
         the command may have taken effect; it is safe to repeat it with --request-id=mine\n"
    );
}
