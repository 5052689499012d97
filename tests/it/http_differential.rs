//! T17: the same random call over gRPC, REST and the CLI gets the same result,
//! reason and metadata, and an idempotency key is valid across them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use prost::Message as _;
use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use pvz::proto::v1::order_service_client::OrderServiceClient;
use pvz::proto::{Timestamp, v1};
use tonic_types::pb;

use crate::clients::{ApiCall, Cli, Grpc, Reply, Rest};
use crate::process::{Server, eventually};
use crate::support::runtime::block_on;

/// The number of calls in `docs/reliability.md` (T17).
const REQUESTS: usize = 5_000;
/// Calls per case. Each case has its own orders, so that there are always new
/// ones.
const CASE_CALLS: usize = 50;
/// The first calls use orders that expire soon. The last as many calls use the
/// same orders after their expiry.
const EXPIRING: usize = 4 * CASE_CALLS;
/// Storage time of these orders, in seconds: long enough for the first calls on
/// a slow machine, because an order that expires between two interfaces gets
/// different replies.
const EXPIRES_AFTER: i64 = 50;

const DAY: i64 = 86_400;

/// Placeholder in ids and keys. The number of the case replaces it, so that cases
/// do not share orders.
const CASE: &str = "CASE";

fn known(kind: &'static str, count: usize) -> impl Strategy<Value = String> {
    (0..count).prop_map(move |number| format!("{CASE}-{kind}{number}"))
}

/// Mostly one of a few ids, sometimes an unusual one.
fn id(kind: &'static str, count: usize) -> impl Strategy<Value = String> {
    let odd = ["", "-x", "a b", "заказ", "a/b", "..", "%2F", "?", "#x", "x=y&z", "A+B", "'\"", "📦"];
    let long = Just("x".repeat(65));
    prop_oneof![80 => known(kind, count), 2 => select(odd.to_vec()).prop_map(str::to_owned), 1 => long]
}

fn point() -> impl Strategy<Value = Option<String>> {
    weighted(
        0.2,
        prop_oneof![3 => Just("main".to_owned()), 1 => Just("other".to_owned()), 1 => Just("no point".to_owned())],
    )
}

fn key() -> impl Strategy<Value = Option<String>> {
    let odd = prop_oneof![Just("a b".to_owned()), Just("k".repeat(129)), Just("ключ".to_owned())];
    weighted(0.3, prop_oneof![40 => known("k", 12), 1 => odd])
}

fn accept(now: i64, soon: i64) -> impl Strategy<Value = ApiCall> {
    let days = prop_oneof![1..360_i64, Just(0)];
    let until = prop_oneof![40 => days, 1 => Just(-1), 1 => Just(400), 1 => Just(i64::MIN)];
    let weight = select(vec![1, 1_500, 9_999, 10_000, 29_999, 30_000, 100_000]);
    let weight = of(prop_oneof![30 => weight, 1 => select(vec![-5, 0, 100_001])]);
    let price = select(vec![0, 5, 19_990, 1_000_000_000_000]);
    let price = of(prop_oneof![30 => price, 1 => select(vec![-1, 1_000_000_000_001])]);
    let fine = prop_oneof![Just(vec![]), Just(vec!["bag"]), Just(vec!["film", "box"]), Just(vec!["film"])];
    let packaging =
        prop_oneof![12 => fine, 1 => vec(select(vec!["bag", "box", "film", "Box", "crate"]), 0..3)];
    let packaging = packaging.prop_map(|codes| codes.into_iter().map(str::to_owned).collect());
    let rest = (weight, price, packaging, point(), key());
    (id("o", 5), id("c", 2), until, rest).prop_map(move |(order_id, customer_id, days, rest)| {
        let (weight_grams, price_minor, packaging, pickup_point_id, request_id) = rest;
        let storage_until = (days != i64::MIN).then(|| {
            let seconds = now + if days == 0 { soon } else { days * DAY };
            Timestamp { seconds, nanos: 0 }
        });
        ApiCall::accept_order(v1::AcceptOrderRequest {
            order_id,
            customer_id,
            storage_until,
            weight_grams,
            price_minor,
            packaging,
            pickup_point_id,
            request_id,
        })
    })
}

fn batch() -> impl Strategy<Value = (Vec<String>, i32, Option<String>, Option<String>)> {
    // For the CLI, `--order-ids=` is an empty list, not a list with an empty id.
    let orders = vec(id("o", 5), 1..4).prop_filter("a list", |orders| *orders != [""]);
    (orders, 1..3_i32, point(), key())
}

/// A command. Half of the orders that it may accept expire after `soon` seconds.
fn change(now: i64, soon: i64) -> impl Strategy<Value = ApiCall> {
    let issue = (batch(), weighted(0.5, id("c", 2))).prop_map(|(batch, customer_id)| {
        let (order_ids, mode, pickup_point_id, request_id) = batch;
        ApiCall::issue_orders(v1::IssueOrdersRequest {
            order_ids,
            customer_id,
            pickup_point_id,
            mode,
            request_id,
        })
    });
    let accept_return = (id("o", 5), id("c", 2), point(), key());
    let accept_return = accept_return.prop_map(|(order_id, customer_id, pickup_point_id, request_id)| {
        ApiCall::accept_return(v1::AcceptReturnRequest { order_id, customer_id, pickup_point_id, request_id })
    });
    let to_courier = batch().prop_map(|(order_ids, mode, pickup_point_id, request_id)| {
        ApiCall::return_to_courier(v1::ReturnToCourierRequest {
            order_ids,
            pickup_point_id,
            mode,
            request_id,
        })
    });
    prop_oneof![4 => accept(now, soon), 3 => issue, 2 => accept_return, 2 => to_courier]
}

fn read() -> impl Strategy<Value = ApiCall> {
    let page_size = || prop_oneof![10 => select(vec![0, 1, 2, 1_000, 5_000]), 1 => Just(-1)];
    // The id is part of the path, where an empty one gives another route.
    let order_id = || id("o", 5).prop_filter("a path segment", |id| !id.is_empty());
    let list =
        (id("c", 2), point(), vec(0..5_i32, 0..3), of(any::<bool>()), weighted(0.2, -1..4_i32), page_size());
    let list = list.prop_map(|(customer_id, pickup_point_id, states, expired, last_n, page_size)| {
        ApiCall::list_orders(v1::ListOrdersRequest {
            customer_id: Some(customer_id),
            pickup_point_id,
            states,
            expired,
            last_n,
            page_size,
            page_token: String::new(),
        })
    });
    prop_oneof![
        order_id().prop_map(|order_id| ApiCall::get_order(v1::GetOrderRequest { order_id })),
        list,
        (order_id(), page_size()).prop_map(|(order_id, page_size)| {
            ApiCall::get_order_history(v1::GetOrderHistoryRequest {
                order_id,
                page_size,
                page_token: String::new(),
            })
        }),
        (point(), page_size()).prop_map(|(pickup_point_id, page_size)| {
            ApiCall::list_returns(v1::ListReturnsRequest {
                pickup_point_id,
                page_size,
                page_token: String::new(),
            })
        }),
        Just(ApiCall::list_packaging(v1::ListPackagingRequest {})),
    ]
}

/// Returns the call with the ids of a case.
fn with_ids_of(call: &ApiCall, case: usize) -> ApiCall {
    let name = |text: &String| text.replace(CASE, &format!("case{case}"));
    let optional = |text: &Option<String>| text.as_ref().map(name);
    match call.clone() {
        ApiCall::accept_order(message) => ApiCall::accept_order(v1::AcceptOrderRequest {
            order_id: name(&message.order_id),
            customer_id: name(&message.customer_id),
            request_id: optional(&message.request_id),
            ..message
        }),
        ApiCall::issue_orders(message) => ApiCall::issue_orders(v1::IssueOrdersRequest {
            order_ids: message.order_ids.iter().map(name).collect(),
            customer_id: optional(&message.customer_id),
            request_id: optional(&message.request_id),
            ..message
        }),
        ApiCall::accept_return(message) => ApiCall::accept_return(v1::AcceptReturnRequest {
            order_id: name(&message.order_id),
            customer_id: name(&message.customer_id),
            request_id: optional(&message.request_id),
            ..message
        }),
        ApiCall::return_to_courier(message) => ApiCall::return_to_courier(v1::ReturnToCourierRequest {
            order_ids: message.order_ids.iter().map(name).collect(),
            request_id: optional(&message.request_id),
            ..message
        }),
        ApiCall::get_order(message) => {
            ApiCall::get_order(v1::GetOrderRequest { order_id: name(&message.order_id) })
        }
        ApiCall::get_order_history(message) => ApiCall::get_order_history(v1::GetOrderHistoryRequest {
            order_id: name(&message.order_id),
            ..message
        }),
        ApiCall::list_orders(message) => ApiCall::list_orders(v1::ListOrdersRequest {
            customer_id: optional(&message.customer_id),
            ..message
        }),
        other => other,
    }
}

/// Returns true if the key is sent as a header: half of the valid ones. A
/// malformed header is refused with a different field name.
fn sends_key_as_header(call: &ApiCall) -> bool {
    let key = match call {
        ApiCall::accept_order(message) => &message.request_id,
        ApiCall::issue_orders(message) => &message.request_id,
        ApiCall::accept_return(message) => &message.request_id,
        ApiCall::return_to_courier(message) => &message.request_id,
        _ => &None,
    };
    key.as_ref().is_some_and(|key| key.starts_with(CASE) && key.len() % 2 == 0)
}

struct Clients<'s> {
    grpc: Grpc,
    rest: Rest,
    cli: Cli<'s>,
}

/// Starts one server per interface.
fn servers() -> [(tempfile::TempDir, Server); 3] {
    [(); 3].map(|()| {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(dir.path(), &["--store=memory:"]);
        (dir, server)
    })
}

#[test]
fn a_call_gets_the_same_reply_over_every_interface() {
    let [(_, grpc_server), (_, rest_server), (_, cli_server)] = &servers();
    let mut clients = block_on(async {
        Clients {
            grpc: Grpc::connect(grpc_server).await,
            rest: Rest::connect(rest_server).await,
            cli: Cli(cli_server),
        }
    });
    let now = SystemClock.now().parts().0;
    let actor = weighted(
        0.3,
        prop_oneof![20 => select(vec!["courier:7", "operator:anna"]), 1 => select(vec!["nobody:1", "customer"])],
    );
    let calls = |soon| (prop_oneof![3 => change(now, soon), 2 => read()], actor.clone());
    let (expiring, lasting) = (calls(EXPIRES_AFTER), calls(DAY));
    let (seed, requests) = (number("PVZ_SEED"), number("PVZ_CASES"));
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("seed"));
    let requests = requests.map_or(REQUESTS, |cases| usize::try_from(cases).unwrap());
    println!(
        "{requests} requests; replay: PVZ_SEED={seed} PVZ_CASES={requests} tests/run it http_differential"
    );
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let mut refused = BTreeMap::<String, usize>::new();
    let mut about_expired = 0..EXPIRING;
    for request in 0..requests {
        let calls = if request < EXPIRING { &expiring } else { &lasting };
        let (call, actor) = calls.new_tree(&mut runner).unwrap().current();
        let expired = || SystemClock.now().parts().0 > now + EXPIRES_AFTER;
        if request + EXPIRING == requests {
            eventually("orders expire", expired);
        }
        let again = if expired() { about_expired.next() } else { None };
        let (sent, header) =
            (with_ids_of(&call, again.unwrap_or(request) / CASE_CALLS), sends_key_as_header(&call));
        let (grpc, rest) = block_on(async {
            let grpc = clients.grpc.call(sent.clone(), actor).await;
            (grpc, clients.rest.call(sent.clone(), actor, header).await)
        });
        assert_eq!(grpc, rest, "request {request}, gRPC and REST: {sent:?}");
        assert_eq!(grpc, clients.cli.call(sent.clone(), actor), "request {request}, gRPC and CLI: {sent:?}");
        let reason = if let Reply::Refused { reason, .. } = grpc { reason } else { "OK".to_owned() };
        *refused.entry(reason).or_default() += 1;
    }
    println!("{refused:?}");
    if requests >= REQUESTS {
        // Each of these occurs often enough in a run of this size; rarer reasons may
        // not occur.
        let kinds = [
            "IDEMPOTENCY_KEY_REUSED",
            "INVALID_PACKAGING",
            "ORDER_ALREADY_EXISTS",
            "ORDER_ALREADY_ISSUED",
            "ORDER_NOT_FOUND",
            "ORDER_NOT_ISSUED",
            "STORAGE_NOT_EXPIRED",
            "VALIDATION_FAILED",
            "WEIGHT_TOO_HEAVY",
            "WRONG_CUSTOMER",
            "WRONG_PICKUP_POINT",
        ];
        let missing = kinds.iter().filter(|kind| !refused.contains_key(**kind)).collect::<Vec<_>>();
        assert!(refused["OK"] * 3 > requests && missing.is_empty(), "{missing:?} did not occur: {refused:?}");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn an_idempotency_key_has_one_effect_across_interfaces() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--store=memory:"]);
    let until = Timestamp { seconds: SystemClock.now().parts().0 + 30 * DAY, nanos: 0 };
    let accept = ApiCall::accept_order(v1::AcceptOrderRequest {
        order_id: "1".to_owned(),
        customer_id: "123".to_owned(),
        storage_until: Some(until),
        request_id: Some("one-key".to_owned()),
        ..v1::AcceptOrderRequest::default()
    });
    let issue = ApiCall::issue_orders(v1::IssueOrdersRequest {
        order_ids: vec!["1".to_owned(), "2".to_owned()],
        mode: v1::BatchMode::Partial.into(),
        request_id: Some("another-key".to_owned()),
        ..v1::IssueOrdersRequest::default()
    });
    let history = ApiCall::get_order_history(v1::GetOrderHistoryRequest {
        order_id: "1".to_owned(),
        ..v1::GetOrderHistoryRequest::default()
    });
    let mut grpc = block_on(Grpc::connect(&server));
    let mut rest = block_on(Rest::connect(&server));
    for (call, events) in [(accept, 1), (issue, 2)] {
        let first = block_on(rest.call(call.clone(), None, true));
        assert!(matches!(first, Reply::Success(_)), "{first:?}");
        assert_eq!(block_on(grpc.call(call.clone(), None)), first);
        assert_eq!(Cli(&server).call(call.clone(), None), first);
        let Reply::Success(response) = block_on(rest.call(history.clone(), None, false)) else {
            panic!("no history")
        };
        assert_eq!(response["events"].as_array().unwrap().len(), events);
    }
}

/// REST has no limit on the size of a refusal; gRPC details must fit into the
/// trailers that clients accept.
#[test]
fn a_refused_batch_is_complete_over_rest_and_cut_over_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--store=memory:"]);
    let order_ids: Vec<String> = (0..100).map(|number| format!("{}{number:03}", "x".repeat(61))).collect();
    let issue = v1::IssueOrdersRequest { order_ids: order_ids.clone(), ..v1::IssueOrdersRequest::default() };
    let problem = block_on(async {
        let mut rest = Rest::connect(&server).await;
        rest.send(ApiCall::issue_orders(issue.clone()), None, false).await.1
    });
    assert_eq!((&problem["reason"], &problem["refusedTotal"]), (&"ORDER_NOT_FOUND".into(), &100.into()));
    let listed = problem["errors"].as_array().unwrap();
    assert!(listed.iter().map(|error| error["orderId"].as_str().unwrap()).eq(&order_ids));
    let status = block_on(async {
        let mut client = OrderServiceClient::connect(format!("http://{}", server.grpc)).await.unwrap();
        client.issue_orders(issue).await.unwrap_err()
    });
    assert!(status.details().len() <= 6 * 1024, "{}", status.details().len());
    let details = pb::Status::decode(status.details()).unwrap().details;
    let batch = details.iter().find(|any| any.type_url.ends_with("/pvz.v1.BatchRefusal")).unwrap();
    let batch = v1::BatchRefusal::decode(batch.value.as_slice()).unwrap();
    assert_eq!(batch.refused_total, 100);
    assert!((10..100).contains(&batch.results.len()), "{}", batch.results.len());
}
