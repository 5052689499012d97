//! The client commands against a server with scripted responses.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use insta::assert_snapshot;
use prost::Message as _;
use pvz::proto::Timestamp;
use pvz::proto::v1::*;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::cli_server::{Feed, Script, ScriptedServer};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn order(order_id: &str) -> Order {
    Order {
        order_id: order_id.to_owned(),
        customer_id: "123".to_owned(),
        pickup_point_id: "main".to_owned(),
        state: OrderState::Stored.into(),
        storage_until: Some(at("2026-12-31T10:00:00Z")),
        accepted_at: Some(at("2026-12-01T09:15:00.123456Z")),
        weight_grams: Some(1_500),
        price_minor: 123_456_789,
        surcharge_minor: 2_100,
        total_price_minor: 123_458_889,
        currency: "RUB".to_owned(),
        packaging: vec!["box".to_owned(), "film".to_owned()],
        version: 1,
        ..Order::default()
    }
}

fn event(cursor: i64) -> Event {
    Event {
        event_id: "0193a5b0-7c1e-7000-8000-000000000001".to_owned(),
        r#type: EventType::OrderAccepted.into(),
        sequence: 1,
        occurred_at: Some(at("2026-12-01T09:15:00Z")),
        actor: Some(Actor { kind: "courier".to_owned(), id: "7".to_owned() }),
        order: Some(order("1")),
        cursor: Some(cursor.to_string()),
        ..Event::default()
    }
}

fn refusal(code: Code, reason: &str, message: &str, metadata: &[(&str, &str)]) -> Status {
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "pvz", metadata))
}

fn unavailable() -> Status {
    refusal(Code::Unavailable, "UNAVAILABLE", "the storage cannot be reached", &[])
}

const ACCEPT: [&str; 4] =
    ["accept", "--order-id=1", "--customer-id=123", "--storage-until=2026-12-31T13:00:00+03:00"];

#[test]
fn a_response_is_printed_in_every_format() {
    let response = AcceptOrderResponse { order: Some(order("1")) };
    let script = Script::default().respond(&response).respond(&response).respond(&response);
    let server = ScriptedServer::start(&script);

    let output =
        server.run(&[&ACCEPT[..], &["--weight=1.5kg", "--price=199.90", "--packaging=box+film"]].concat());
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
    assert_snapshot!(output.stdout, @r"
    order          1
    customer       123
    pickup point   main
    state          stored
    storage until  2026-12-31 10:00:00 +00:00
    accepted at    2026-12-01 09:15:00 +00:00
    weight         1,500 g
    packaging      box+film
    price          1,234,567.89 RUB
    surcharge      21.00 RUB
    total          1,234,588.89 RUB
    ");
    let json = server.run(&[&ACCEPT[..], &["--output=json", "--actor=courier:7", "--timeout=5s"]].concat());
    assert_eq!(serde_json::from_str::<AcceptOrderResponse>(&json.stdout).unwrap(), response);
    let line = server.run(&[&ACCEPT[..], &["--output", "ndjson", "--request-id=mine"]].concat());
    assert_eq!(line.stdout.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Order>(&line.stdout).unwrap(), order("1"));

    let calls = script.calls();
    let sent: AcceptOrderRequest = calls[0].message();
    assert_eq!((sent.weight_grams, sent.price_minor), (Some(1_500), Some(19_990)));
    assert_eq!(sent.packaging, ["box", "film"]);
    assert_eq!(sent.storage_until, Some(at("2026-12-31T10:00:00Z")));
    assert_eq!(sent.pickup_point_id, None);
    assert_eq!(sent.request_id.unwrap().len(), 36);
    assert_eq!(calls[0].actor, None);
    assert!(calls[0].timeout.is_some());
    assert_eq!(calls[1].actor.as_deref(), Some("courier:7"));
    assert_eq!(calls[2].message::<AcceptOrderRequest>().request_id.as_deref(), Some("mine"));
}

#[test]
fn a_refusal_is_printed_with_its_details_and_sets_the_exit_code() {
    let mut details =
        ErrorDetails::with_error_info("VALIDATION_FAILED", "pvz", [("field".into(), "order_id".into())]);
    details
        .add_bad_request_violation("order_id", "is required")
        .add_bad_request_violation("customer_id", "is required");
    let invalid = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
    let unknown = refusal(Code::FailedPrecondition, "NEW_REASON", "a \u{1b}[31mnewer server", &[]);
    let script = Script::default()
        .refuse(invalid)
        .refuse(refusal(Code::NotFound, "ORDER_NOT_FOUND", "order 1 does not exist", &[("order_id", "1")]))
        .refuse(unknown)
        .refuse(Status::permission_denied("not you"));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["accept", "--order-id=", "--customer-id=", "--storage-until="]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(2), ""));
    assert_snapshot!(output.stderr, @r"
    error: VALIDATION_FAILED: 2 values are not valid
      - --order-id is required
      - --customer-id is required
    ");
    let output = server.run(&["get", "1"]);
    assert_eq!(output.exit, Some(3));
    assert_eq!(output.stderr, "error: ORDER_NOT_FOUND: order 1 does not exist\n");
    let output = server.run(&["get", "1"]);
    assert_eq!(output.exit, Some(1));
    assert_eq!(output.stderr, "error: NEW_REASON: a \\u{1b}[31mnewer server\n");
    let output = server.run(&["get", "1"]);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(5), "error: PERMISSION_DENIED: not you\n"));
}

#[test]
fn a_refused_batch_lists_its_orders() {
    let refused = |order_id: &str| OrderResult {
        order_id: order_id.to_owned(),
        outcome: Some(order_result::Outcome::Refusal(Refusal {
            reason: "WRONG_CUSTOMER".to_owned(),
            message: format!("order {order_id} is another customer's"),
            metadata: [("customer_id".to_owned(), "7".to_owned())].into(),
            field_violations: Vec::new(),
        })),
    };
    let batch = BatchRefusal { refused_total: 3, results: vec![refused("2"), refused("3")] };
    let info = ErrorDetails::with_error_info("WRONG_CUSTOMER", "pvz", HashMap::new());
    let mut details =
        tonic_types::Status::decode(Status::with_error_details(Code::FailedPrecondition, "", info).details())
            .unwrap();
    let value = batch.encode_to_vec();
    details
        .details
        .push(prost_types::Any { type_url: "type.googleapis.com/pvz.v1.BatchRefusal".to_owned(), value });
    let status = Status::with_details(
        Code::FailedPrecondition,
        "order 2 is another customer's",
        details.encode_to_vec().into(),
    );
    let done = OrderResult {
        order_id: "1".to_owned(),
        outcome: Some(order_result::Outcome::Order(Order { state: OrderState::Issued.into(), ..order("1") })),
    };
    let partial = IssueOrdersResponse { results: vec![done, refused("2")] };
    let script = Script::default().refuse(status).respond(&partial);
    let server = ScriptedServer::start(&script);

    let output = server.run(&["issue", "--order-ids=1,2,3,4"]);
    assert_eq!(output.exit, Some(4));
    assert_snapshot!(output.stderr, @r"
    error: WRONG_CUSTOMER: order 2 is another customer's
      WRONG_CUSTOMER: order 3 is another customer's
        --customer-id: 7
      and 1 more refused orders
    no order was changed; --partial changes those that are not refused
    ");
    let output = server.run(&["issue", "--order-ids=1,2", "--partial"]);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(4), ""));
    assert_snapshot!(output.stdout, @r"
    ORDER  RESULT          CUSTOMER             TOTAL  MESSAGE
    1      issued          123       1,234,588.89 RUB
    2      WRONG_CUSTOMER  -                        -  order 2 is another customer's
    ");
    let calls = script.calls();
    assert_eq!(calls[0].message::<IssueOrdersRequest>().order_ids, ["1", "2", "3", "4"]);
    assert_eq!(calls[0].message::<IssueOrdersRequest>().mode(), BatchMode::Atomic);
    assert_eq!(calls[1].message::<IssueOrdersRequest>().mode(), BatchMode::Partial);
}

#[test]
fn a_mutation_is_retried_with_the_same_request_id() {
    let mut busy = ErrorDetails::with_error_info("OVERLOADED", "pvz", HashMap::new());
    busy.set_retry_info(Some(Duration::from_millis(50)));
    let busy = Status::with_error_details(Code::ResourceExhausted, "too much work", busy);
    let script = Script::default()
        .refuse(unavailable())
        .refuse(busy)
        .respond(&AcceptOrderResponse { order: Some(order("1")) });
    let server = ScriptedServer::start(&script);
    let output = server.run(&ACCEPT);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
    let keys: Vec<_> =
        script.calls().iter().map(|call| call.message::<AcceptOrderRequest>().request_id.unwrap()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "{keys:?}");
}

#[test]
fn failures_that_are_not_retryable_are_not_retried() {
    let script = Script::default()
        .refuse(refusal(Code::ResourceExhausted, "TOO_LARGE", "the message is too large", &[]))
        .refuse(refusal(Code::Internal, "INTERNAL", "a bug", &[]));
    let server = ScriptedServer::start(&script);
    assert_eq!(server.run(&["get", "1"]).exit, Some(2));
    let output = server.run(&[&ACCEPT[..], &["--request-id=mine"]].concat());
    assert_eq!(output.exit, Some(1));
    assert_eq!(
        output.stderr,
        "error: INTERNAL: a bug\n\
         the command may have taken effect; it is safe to repeat it with --request-id=mine\n",
        "the request id allows a safe repetition"
    );
    assert_eq!(script.calls().len(), 2);
}

#[test]
fn a_call_without_a_response_times_out() {
    let script = Script::default();
    let server = ScriptedServer::start(&script);
    let output = server.run(&[&ACCEPT[..], &["--timeout=1s", "--request-id=mine"]].concat());
    assert_eq!(output.exit, Some(6));
    let expected = format!(
        "error: DEADLINE_EXCEEDED: no response from {} within 1s\n\
         --timeout allows more time\n\
         the command may have taken effect; it is safe to repeat it with --request-id=mine\n",
        server.address
    );
    assert_eq!(output.stderr, expected);
    assert_eq!(script.calls().len(), 1);

    let script = (0..10).fold(Script::default(), |script, _| script.refuse(unavailable()));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["get", "1", "--timeout=1s"]);
    assert_eq!(
        (output.exit, output.stderr.as_str()),
        (Some(6), "error: UNAVAILABLE: the storage cannot be reached\n")
    );
    assert!(script.calls().len() > 1);
}

#[test]
fn lists_print_one_page_or_all() {
    let page = |ids: &[&str], next: &str| ListOrdersResponse {
        orders: ids.iter().map(|id| order(id)).collect(),
        next_page_token: next.to_owned(),
    };
    let script = [("table", false), ("json", true), ("ndjson", true), ("table", true)].iter().fold(
        Script::default(),
        |script, (_, all)| {
            let script = script.respond(&page(&["1", "2"], "next"));
            if *all { script.respond(&page(&["3"], "")) } else { script }
        },
    );
    let server = ScriptedServer::start(&script);
    let output =
        server.run(&["list", "--states=stored,ORDER_STATE_ISSUED", "--expired=false", "--page-size=2"]);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), "there may be more: --page-token next\n"));
    assert_snapshot!(output.stdout, @r"
    ORDER  CUSTOMER  POINT  STATE   STORAGE UNTIL                WEIGHT             TOTAL  PACKAGING
    1      123       main   stored  2026-12-31 10:00:00 +00:00  1,500 g  1,234,588.89 RUB  box+film
    2      123       main   stored  2026-12-31 10:00:00 +00:00  1,500 g  1,234,588.89 RUB  box+film
    ");
    let output = server.run(&["list", "--all", "--output=json"]);
    assert_eq!(
        serde_json::from_str::<ListOrdersResponse>(&output.stdout).unwrap(),
        page(&["1", "2", "3"], "")
    );
    let output = server.run(&["list", "--all", "--output=ndjson"]);
    let ids: Vec<_> =
        output.stdout.lines().map(|line| serde_json::from_str::<Order>(line).unwrap().order_id).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    let output = server.run(&["list", "--all"]);
    assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (4, ""));

    let calls: Vec<ListOrdersRequest> = script.calls().iter().map(super::cli_server::Call::message).collect();
    assert_eq!(calls[0].states, [i32::from(OrderState::Stored), i32::from(OrderState::Issued)]);
    assert_eq!((calls[0].expired, calls[0].page_size), (Some(false), 2));
    assert_eq!((calls[1].page_size, calls[1].page_token.as_str()), (1_000, ""));
    assert_eq!((calls[2].page_size, calls[2].page_token.as_str()), (1_000, "next"));
}

#[test]
fn history_prints_the_events_of_one_order() {
    let events = vec![Event { cursor: None, ..event(0) }];
    let script =
        Script::default().respond(&GetOrderHistoryResponse { events, next_page_token: String::new() });
    let server = ScriptedServer::start(&script);
    let output = server.run(&["history", "--order-id=1"]);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
    assert_snapshot!(output.stdout, @r"
    OCCURRED AT                 ORDER  SEQ  EVENT     ACTOR
    2026-12-01 09:15:00 +00:00  1        1  accepted  courier:7
    ");
    assert_eq!(script.calls()[0].message::<GetOrderHistoryRequest>().order_id, "1");
}

#[test]
fn events_are_printed_up_to_the_newest() {
    let page = |events: Vec<Event>, next: &str| ListEventsResponse { events, next_cursor: next.to_owned() };
    let script = Script::default()
        .respond(&page(vec![event(4)], "4"))
        .respond(&page(vec![event(4), event(5)], "5"))
        .respond(&page(Vec::new(), "5"));
    let server = ScriptedServer::start(&script);
    let output = server.run(&["events", "--page-size=1"]);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), "there may be more: --after 4\n"));
    assert_snapshot!(output.stdout, @r"
    CURSOR  OCCURRED AT                 ORDER  SEQ  EVENT     ACTOR
         4  2026-12-01 09:15:00 +00:00  1        1  accepted  courier:7
    ");
    let output = server.run(&["events", "--all", "--after=3", "--output=json"]);
    let merged: ListEventsResponse = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(merged, page(vec![event(4), event(5)], "5"));
    let last: ListEventsRequest = script.calls()[2].message();
    assert_eq!(last.after.as_deref(), Some("5"));
}

#[test]
fn follow_reconnects_and_ends_on_ctrl_c() {
    let script = Script::default()
        .feed(Feed::Break(vec![event(1), event(2)], unavailable()))
        .feed(Feed::Open(vec![event(3)]));
    let server = ScriptedServer::start(&script);
    let mut child = server.pvz(&["events", "--follow", "--after=0", "--output=ndjson"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let cursors: Vec<_> = (0..3)
        .map(|_| serde_json::from_str::<Event>(&lines.next().unwrap().unwrap()).unwrap().cursor.unwrap())
        .collect();
    assert_eq!(cursors, ["1", "2", "3"]);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    let after: Vec<_> =
        script.calls().iter().map(|call| call.message::<WatchEventsRequest>().after.unwrap()).collect();
    assert_eq!(after, ["0", "2"]);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let orders = (0..1_000).map(|id| order(&id.to_string())).collect();
    let script = Script::default().respond(&ListOrdersResponse { orders, next_page_token: String::new() });
    let server = ScriptedServer::start(&script);
    let mut child = server.pvz(&["list", "--output=ndjson"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
