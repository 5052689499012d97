//! Malformed and hostile gRPC requests. Each is refused with a reason other than
//! INTERNAL.

use prost::Message as _;
use pvz::proto::{Timestamp, v1};
use tonic::Code;

use super::raw_connection::{RawConnection, RawResponse, frame};
use super::requests::{CommandRequest, events, get, parcel};
use super::test_service::TestService;

/// Configuration that accepts the largest requests of these tests.
const LARGE_MESSAGES: &str = "[server]\nmax_message = \"4MiB\"\n";
const ACCEPT: &str = "/pvz.v1.OrderService/AcceptOrder";

/// Checks that the request is refused as invalid, with violations of these fields
/// in this order.
fn assert_invalid(response: &RawResponse, fields: &[&str]) {
    let refused = response.refusal();
    assert_eq!((refused.reason.as_str(), refused.code), ("VALIDATION_FAILED", Code::InvalidArgument));
    let found: Vec<&str> = refused.violations.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(found, fields, "{refused:?}");
    if let [first, ..] = fields {
        assert_eq!(refused.metadata["field"], first.chars().take(64).collect::<String>());
    }
    assert!(!response.header("x-request-id").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let raw = RawConnection::connect(&service.grpc).await;
    let good = parcel("1", "7").encode_to_vec();
    let truncated = &good[..good.len() - 3];
    let not_utf8 = [0x0a, 2, 0xff, 0xfe];
    let wrong_wire_type = [0x08, 1];
    let endless_length = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let group = [0x0b, 0x0b, 0x0b, 0x0c];
    let deep = [0x53_u8; 300];
    for bytes in [truncated, &not_utf8, &wrong_wire_type, &endless_length, &group, &deep] {
        let response = raw.send(ACCEPT, &frame(bytes), &[]).await;
        assert_invalid(&response, &[]);
    }
    // Frames with a wrong length, flag or encoding.
    let short = [0, 0, 0, 0, 9, 1];
    let flags = [7, 0, 0, 0, 0];
    let not_gzip = [1, 0, 0, 0, 3, 1, 2, 3];
    for (bytes, headers) in
        [(&short[..], &[][..]), (&flags, &[]), (&not_gzip, &[("grpc-encoding", "gzip")]), (&[], &[])]
    {
        let refused = raw.send(ACCEPT, bytes, headers).await.refusal();
        assert_eq!(refused.reason, "VALIDATION_FAILED", "{bytes:?}: {refused:?}");
    }
    let unknown_encoding = raw.send(ACCEPT, &frame(&good), &[("grpc-encoding", "brotli")]).await.refusal();
    assert_eq!(unknown_encoding.code, Code::Unimplemented);
    // Unknown fields are from a newer client and are ignored.
    let newer: Vec<u8> = good.iter().copied().chain([0xf8, 0x07, 1]).collect();
    assert_eq!(raw.send(ACCEPT, &frame(&newer), &[]).await.status.code(), Code::Ok);
    assert_eq!(events(&service.client().await).await.len(), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_above_the_size_limit_are_refused() {
    const LIMIT: usize = 256 << 10;
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let raw = RawConnection::connect(&service.grpc).await;
    let mut large = vec![0; LIMIT];
    let at_limit = raw.send(ACCEPT, &frame(&large), &[]).await;
    assert_eq!(at_limit.refusal().reason, "VALIDATION_FAILED");
    large.push(0);
    for response in [
        raw.send(ACCEPT, &frame(&large), &[]).await,
        // The length is enough: the server does not wait for 4 GiB.
        raw.send(ACCEPT, &[0, 0xff, 0xff, 0xff, 0xff], &[]).await,
    ] {
        let refused = response.refusal();
        assert_eq!((refused.reason.as_str(), refused.code), ("TOO_LARGE", Code::ResourceExhausted));
        assert!(!refused.retry, "a retry does not help");
    }
    let row = raw.send("/pvz.v1.OrderService/ImportOrders", &frame(&large), &[]).await;
    assert_eq!(row.refusal().reason, "TOO_LARGE");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let raw = RawConnection::connect(&service.grpc).await;
    for path in [
        "/pvz.v1.OrderService/Nope",
        "/pvz.v1.OrderService/acceptOrder",
        "/pvz.v2.OrderService/AcceptOrder",
        "/pvz.v1.OrderService/../AcceptOrder",
        "/",
        "//",
        "/%00",
    ] {
        let response = raw.send(path, &frame(&[]), &[("x-request-id", "mine")]).await;
        let refused = response.refusal();
        assert_eq!(
            (refused.reason.as_str(), refused.code),
            ("ROUTE_NOT_FOUND", Code::Unimplemented),
            "{path}"
        );
        assert_eq!(response.header("x-request-id"), "mine");
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_lists_every_invalid_field() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let raw = RawConnection::connect(&service.grpc).await;
    let faulty = v1::AcceptOrderRequest {
        order_id: "nul\0".to_owned(),
        customer_id: "📦".to_owned(),
        storage_until: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
        weight_grams: Some(0),
        price_minor: Some(-1),
        packaging: vec!["box".to_owned()],
        pickup_point_id: Some("x".repeat(65)),
        request_id: Some("a key".to_owned()),
    };
    let fields = [
        "pvz-actor",
        "order_id",
        "customer_id",
        "storage_until",
        "weight_grams",
        "price_minor",
        "pickup_point_id",
        "request_id",
    ];
    let headers = [("pvz-actor", "nobody"), ("pvz-actor", "operator:1")];
    assert_invalid(&raw.call("AcceptOrder", &faulty, &headers).await, &fields);
    assert_invalid(&raw.call("AcceptOrder", &faulty, &[]).await, &fields[1..]);
    let empty = v1::AcceptOrderRequest::default();
    assert_invalid(
        &raw.call("AcceptOrder", &empty, &[]).await,
        &["order_id", "customer_id", "storage_until"],
    );
    let extreme = [
        (i64::MIN, 0),
        (i64::MAX, 999_999_999),
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (1_800_000_000, -1),
        (1_800_000_000, 1_000_000_000),
        (0, i32::MIN),
        (0, i32::MAX),
    ];
    for (seconds, nanos) in extreme {
        let request =
            v1::AcceptOrderRequest { storage_until: Some(Timestamp { seconds, nanos }), ..parcel("1", "7") };
        assert_invalid(&raw.call("AcceptOrder", &request, &[]).await, &["storage_until"]);
    }
    for number in [i64::MIN, -1, i64::MAX] {
        let request = v1::AcceptOrderRequest {
            weight_grams: Some(number),
            price_minor: Some(number),
            ..parcel("1", "7")
        };
        assert_invalid(&raw.call("AcceptOrder", &request, &[]).await, &["weight_grams", "price_minor"]);
    }
    assert_eq!(events(&service.client().await).await, []);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_ids_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), LARGE_MESSAGES);
    let raw = RawConnection::connect(&service.grpc).await;
    let longest = "x".repeat(64);
    for id in [longest.as_str(), "0", "a.b_c-d", "A--"] {
        let response = raw.call("AcceptOrder", &parcel(id, id), &[]).await;
        assert_eq!(response.status.code(), Code::Ok, "{id}: {:?}", response.status);
    }
    let too_long = "x".repeat(65);
    let huge = "x".repeat(1 << 20);
    let bad =
        ["", "\0", "a\0b", "📦", "é", " 1", "1 ", "-1", ".1", "_1", "a/b", "a\nb", "%31", &too_long, &huge];
    for id in bad {
        let order_id = id.to_owned();
        assert_invalid(&raw.call("AcceptOrder", &parcel(id, "7"), &[]).await, &["order_id"]);
        let read = v1::GetOrderRequest { order_id: order_id.clone() };
        assert_invalid(&raw.call("GetOrder", &read, &[]).await, &["order_id"]);
        let history =
            v1::GetOrderHistoryRequest { order_id: order_id.clone(), page_size: -1, ..Default::default() };
        assert_invalid(&raw.call("GetOrderHistory", &history, &[]).await, &["order_id", "page_size"]);
        let accept_return = v1::AcceptReturnRequest { order_id, ..Default::default() };
        assert_invalid(&raw.call("AcceptReturn", &accept_return, &[]).await, &["order_id", "customer_id"]);
    }
    // Ids are case-sensitive.
    assert_eq!(get(&service.client().await, &"X".repeat(64)).await, None);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_id_lists_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), LARGE_MESSAGES);
    let raw = RawConnection::connect(&service.grpc).await;
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let many = |count: usize| (0..count).map(|n| format!("{n}")).collect::<Vec<_>>();
    let cases: [(Vec<String>, i32, &[&str]); 6] = [
        (Vec::new(), 0, &["order_ids"]),
        (many(101), 0, &["order_ids"]),
        (many(100_000), 7, &["order_ids", "mode"]),
        (ids(&["1", "2", "1", "1"]), 0, &["order_ids[2]", "order_ids[3]"]),
        (ids(&["1", "", "📦", "1"]), 0, &["order_ids[1]", "order_ids[2]", "order_ids[3]"]),
        (many(100), i32::MIN, &["mode"]),
    ];
    for (order_ids, mode, fields) in cases {
        let issue = v1::IssueOrdersRequest { order_ids: order_ids.clone(), mode, ..Default::default() };
        assert_invalid(&raw.call("IssueOrders", &issue, &[]).await, fields);
        let courier = v1::ReturnToCourierRequest { order_ids, mode, ..Default::default() };
        assert_invalid(&raw.call("ReturnToCourier", &courier, &[]).await, fields);
    }
    service.stop();
}

/// Trailers must not exceed the limits of clients, so details are cut, and the
/// totals are given.
#[tokio::test(flavor = "multi_thread")]
async fn the_details_of_the_largest_refusals_are_small() {
    const LARGEST: usize = 6 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), LARGE_MESSAGES);
    let raw = RawConnection::connect(&service.grpc).await;
    let order_ids: Vec<String> = (0..100).map(|n| format!("{}{n:03}", "x".repeat(61))).collect();
    let issue = v1::IssueOrdersRequest { order_ids: order_ids.clone(), ..Default::default() };
    let response = raw.call("IssueOrders", &issue, &[]).await;
    assert!(response.status.details().len() < LARGEST, "{}", response.status.details().len());
    let refused = response.refusal();
    assert_eq!(refused.reason, "ORDER_NOT_FOUND");
    assert_eq!(refused.metadata["order_id"], order_ids[0]);
    let batch = refused.batch.unwrap();
    assert_eq!(batch.refused_total, 100);
    let listed: Vec<&String> = batch.results.iter().map(|result| &result.order_id).collect();
    assert!(listed.len() > 10, "{}", listed.len());
    assert!(
        listed.into_iter().eq(&order_ids[..batch.results.len()]),
        "the first orders, in the order of the request"
    );

    let bad: Vec<String> = (0..100).map(|n| format!("-{}{n}", "📦".repeat(1_000))).collect();
    let response =
        raw.call("IssueOrders", &v1::IssueOrdersRequest { order_ids: bad, ..Default::default() }, &[]).await;
    assert!(response.status.details().len() < LARGEST, "{}", response.status.details().len());
    let refused = response.refusal();
    assert_eq!(refused.metadata["violations_total"], "100");
    assert!((10..=100).contains(&refused.violations.len()), "{}", refused.violations.len());
    // Keys are cut in metadata.
    let key = "~".repeat(128);
    let keyed = v1::AcceptOrderRequest { request_id: Some(key.clone()), ..parcel(&"y".repeat(64), "7") };
    assert_eq!(raw.call("AcceptOrder", &keyed, &[]).await.status.code(), Code::Ok);
    let changed = v1::AcceptOrderRequest { customer_id: "8".to_owned(), ..keyed };
    let response = raw.call("AcceptOrder", &changed, &[]).await;
    assert_eq!(response.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
    assert!(response.refusal().metadata.values().all(|value| value.chars().count() <= 64));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_pages_and_cursors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let raw = RawConnection::connect(&service.grpc).await;
    let list = v1::ListOrdersRequest { states: vec![0, 1, 99, -1], page_size: -1, ..Default::default() };
    let fields = ["states[0]", "states[2]", "states[3]", "page_size"];
    assert_invalid(&raw.call("ListOrders", &list, &[]).await, &fields);
    for last_n in [0, -1, 1_001, i32::MIN, i32::MAX] {
        let list = v1::ListOrdersRequest { last_n: Some(last_n), ..Default::default() };
        assert_invalid(&raw.call("ListOrders", &list, &[]).await, &["last_n"]);
    }
    for token in ["x", "AAAA", "📦", &"A".repeat(100_000)] {
        let page_token = token.to_owned();
        let list = v1::ListOrdersRequest { page_token: page_token.clone(), ..Default::default() };
        assert_invalid(&raw.call("ListOrders", &list, &[]).await, &["page_token"]);
        let returns = v1::ListReturnsRequest { page_token, ..Default::default() };
        assert_invalid(&raw.call("ListReturns", &returns, &[]).await, &["page_token"]);
    }
    for after in ["-1", "x", "1.5", "99999999999999999999", "\0"] {
        let feed = v1::ListEventsRequest { after: Some(after.to_owned()), page_size: i32::MIN };
        assert_invalid(&raw.call("ListEvents", &feed, &[]).await, &["after", "page_size"]);
        let watch = v1::WatchEventsRequest { after: Some(after.to_owned()) };
        assert_invalid(&raw.call("WatchEvents", &watch, &[]).await, &["after"]);
    }
    let largest = v1::ListOrdersRequest { page_size: i32::MAX, ..Default::default() };
    assert_eq!(raw.call("ListOrders", &largest, &[]).await.status.code(), Code::Ok);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_headers_are_refused_or_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let raw = RawConnection::connect(&service.grpc).await;
    let request = v1::ListPackagingRequest {};
    for actor in ["operator", "robot:1", "operator:", ":1", "operator:a b", "OPERATOR:1", "operator:1:2"] {
        assert_invalid(&raw.call("ListPackaging", &request, &[("pvz-actor", actor)]).await, &["pvz-actor"]);
    }
    let twice = [("pvz-actor", "operator:1"), ("pvz-actor", "operator:1")];
    assert_invalid(&raw.call("ListPackaging", &request, &twice).await, &["pvz-actor"]);

    let longest = "x".repeat(128);
    let echoed = raw.call("ListPackaging", &request, &[("x-request-id", &longest)]).await;
    assert_eq!(echoed.header("x-request-id"), longest);
    for invalid in ["x".repeat(129), "a b".to_owned(), String::new()] {
        let response = raw.call("ListPackaging", &request, &[("x-request-id", &invalid)]).await;
        assert_eq!(response.status.code(), Code::Ok);
        let generated = response.header("x-request-id");
        assert!(!generated.is_empty() && generated != invalid, "{generated:?}");
    }
    for timeout in ["0n", "1n", "0H", "1u"] {
        let refused = raw.call("ListPackaging", &request, &[("grpc-timeout", timeout)]).await;
        let code = refused.status.code();
        // A call can finish within a microsecond.
        assert!(code == Code::Ok || refused.refusal().reason == "DEADLINE_EXCEEDED", "{timeout}");
    }
    for no_timeout in ["", "S", "123456789S", "-1S", "1", "1x", "📦"] {
        let response = raw.call("ListPackaging", &request, &[("grpc-timeout", no_timeout)]).await;
        assert_eq!(response.status.code(), Code::Ok, "{no_timeout:?}");
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_survives_random_bytes() {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let raw = RawConnection::connect(&service.grpc).await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..200);
    let methods = [
        "AcceptOrder",
        "IssueOrders",
        "AcceptReturn",
        "ReturnToCourier",
        "ListOrders",
        "ListEvents",
        "ListReturns",
    ];
    for round in 0..700 {
        let bytes = bytes.new_tree(&mut runner).unwrap().current();
        let path = format!("/pvz.v1.OrderService/{}", methods[round % methods.len()]);
        let response = raw.send(&path, &frame(&bytes), &[]).await;
        if response.status.code() != Code::Ok {
            assert_ne!(response.refusal().reason, "INTERNAL", "{path} {bytes:?}");
        }
    }
    assert!(
        CommandRequest::Accept(parcel("1", "7")).send(&service.client().await).await.unwrap().result.is_ok()
    );
    service.stop();
}
