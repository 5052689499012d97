//! Unary methods over REST.

use http_body_util::Full;
use serde_json::json;
use std::fmt::Write as _;

use crate::http_support::{HttpApp, get, post};

#[tokio::test]
async fn an_order_is_accepted_and_returned_in_the_json_mapping() {
    let app = HttpApp::start().await;
    let request = post("/v1/orders")
        .header("pvz-actor", "courier:7")
        .header("x-request-id", "mine")
        .header("idempotency-key", "\"key-1\"")
        .body(Full::from(
            r#"{"orderId":"a","customer_id":"123","storageUntil":"2026-12-31T13:00:00+03:00",
                "weightGrams":"1500","price_minor":19990.0,"packaging":["box","film"],"pickupPointId":null}"#,
        ))
        .unwrap();
    let response = app.send(request).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!(response.header("x-request-id"), "mine");
    assert_eq!(response.header("idempotent-replayed"), "true");
    assert_eq!(
        response.json(),
        json!({"order": {
            "orderId": "a", "customerId": "123", "pickupPointId": "main", "state": "ORDER_STATE_STORED",
            "expired": false, "storageUntil": "2026-12-31T10:00:00Z", "acceptedAt": "2026-12-01T09:15:00.123456Z",
            "weightGrams": "1500", "priceMinor": "19990", "surchargeMinor": "2100", "totalPriceMinor": "22090",
            "currency": "RUB", "packaging": ["box", "film"], "version": "1"
        }})
    );
    let call = app.service.last_call();
    insta::assert_snapshot!(call.message, @r#"AcceptOrderRequest { order_id: "a", customer_id: "123", storage_until: Some(Timestamp { seconds: 1798711200, nanos: 0 }), weight_grams: Some(1500), price_minor: Some(19990), packaging: ["box", "film"], pickup_point_id: None, request_id: Some("key-1") }"#);
    assert_eq!(call.metadata.get("pvz-actor").unwrap(), "courier:7");
    assert_eq!(call.metadata.get("x-request-id").unwrap(), "mine");
}

#[tokio::test]
async fn every_method_has_a_route() {
    let app = HttpApp::start().await;
    let calls = [
        ("POST", "/v1/orders", "AcceptOrder"),
        ("POST", "/v1/orders:issue", "IssueOrders"),
        ("POST", "/v1/orders:acceptReturn", "AcceptReturn"),
        ("POST", "/v1/orders:returnToCourier", "ReturnToCourier"),
        ("POST", "/v1/orders%3AreturnToCourie%72", "ReturnToCourier"),
        ("GET", "/v1/orders/1", "GetOrder"),
        ("GET", "/v1/orders", "ListOrders"),
        ("GET", "/v1/orders/1/history", "GetOrderHistory"),
        ("GET", "/v1/returns", "ListReturns"),
        ("GET", "/v1/events", "ListEvents"),
        ("GET", "/v1/packaging", "ListPackaging"),
        ("GET", "/v1/statistics", "GetStatistics"),
        ("GET", "/v1/outbox", "GetOutbox"),
        ("POST", "/v1/outbox:acceptFork", "AcceptFork"),
        ("POST", "/v1/outbox:republish", "RepublishEvents"),
        ("GET", "/v1/deadLetters", "ListDeadLetters"),
        ("POST", "/v1/deadLetters:retry", "RetryDeadLetter"),
        ("POST", "/v1/deadLetters:drop", "DropDeadLetter"),
    ];
    for (verb, path, method) in calls {
        let response = if verb == "POST" { app.post(path, "{}").await } else { app.get(path).await };
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert_eq!(app.service.last_call().method, method, "{path}");
    }
}

#[tokio::test]
async fn path_and_query_are_read_into_the_message() {
    let app = HttpApp::start().await;
    let received = async |path: &str| {
        let response = app.get(path).await;
        assert_eq!(response.status, 200, "{path}: {response:?}");
        app.service.last_call().message
    };
    insta::assert_snapshot!(
        received("/v1/orders?states=ORDER_STATE_STORED&expired=false&states=ORDER_STATE_ISSUED&pageSize=5&customer_id=%31+2&page_token=a%2Bb").await,
        @r#"ListOrdersRequest { customer_id: Some("1 2"), pickup_point_id: None, states: [Stored, Issued], expired: Some(false), last_n: None, page_size: 5, page_token: "a+b" }"#
    );
    insta::assert_snapshot!(received("/v1/orders/a%2Fb%20%F0%9F%93%A6+").await, @r#"GetOrderRequest { order_id: "a/b 📦+" }"#);
    insta::assert_snapshot!(received("/v1/orders/..%2f").await, @r#"GetOrderRequest { order_id: "../" }"#);
    insta::assert_snapshot!(
        received("/v1/orders/x/history?page_size=-1&&pageToken=").await,
        @r#"GetOrderHistoryRequest { order_id: "x", page_size: -1, page_token: "" }"#
    );
}

#[tokio::test]
async fn an_invalid_body_is_refused_with_the_field() {
    let app = HttpApp::start().await;
    let long = format!(r#"{{"{}":1}}"#, "x".repeat(100_000));
    let deep = format!(r#"{{"packaging":{}}}"#, "[".repeat(100_000));
    let bodies: Vec<&str> = vec![
        "",
        "null",
        "[]",
        "{",
        "{\n  \"orderId\": tru\n}",
        r#"{"orderId":"1"} x"#,
        r#"{"orderId":5}"#,
        r#"{"orderId":"1","order_id":"1"}"#,
        r#"{"order_id":null,"orderId":"1"}"#,
        r#"{"nonsense":1}"#,
        r#"{"OrderId":"1"}"#,
        r#"{"weightGrams":1.5}"#,
        r#"{"weightGrams":"much"}"#,
        r#"{"weightGrams":9223372036854775808}"#,
        r#"{"weightGrams":true}"#,
        r#"{"packaging":["box",7]}"#,
        r#"{"packaging":"box"}"#,
        r#"{"packaging":["box",null]}"#,
        r#"{"storageUntil":"2026-12-31"}"#,
        r#"{"storageUntil":5}"#,
        "{\"orderId\":\"\u{0}\"}",
        &long,
        &deep,
    ];
    let mut shown = String::new();
    for body in bodies {
        let response = app.post("/v1/orders", body.to_owned()).await;
        assert_eq!(response.status, 400, "{body}: {response:?}");
        assert_eq!(response.reason(), "VALIDATION_FAILED");
        let problem = response.json();
        let start: String = body.chars().take(60).collect();
        writeln!(shown, "{start:?}\n  {}\n  {}", problem["detail"], problem["metadata"]).unwrap();
    }
    insta::assert_snapshot!(shown);
    let mode = app.post("/v1/orders:issue", r#"{"mode":"PARTIAL"}"#).await;
    insta::assert_snapshot!(mode.json()["detail"], @r#""the request is not valid: mode must be one of BATCH_MODE_UNSPECIFIED, BATCH_MODE_ATOMIC, BATCH_MODE_PARTIAL, not PARTIAL""#);
    assert!(app.service.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_invalid_query_is_refused_with_the_parameter() {
    let app = HttpApp::start().await;
    let mut shown = String::new();
    for path in [
        "/v1/orders?nonsense=1",
        "/v1/orders?expired=yes",
        "/v1/orders?expired=",
        "/v1/orders?pageSize=5&pageSize=5",
        "/v1/orders?pageSize=5&page_size=5",
        "/v1/orders?pageSize=x",
        "/v1/orders?lastN=1.5",
        "/v1/orders?lastN=5.0",
        "/v1/orders?pageSize=1e1",
        "/v1/orders?states=STORED",
        "/v1/orders?states=1",
        "/v1/orders?customerId=%zz",
        "/v1/orders?customerId=%ff",
        "/v1/orders/1?order_id=2",
        "/v1/orders/%ff",
        "/v1/packaging?x",
    ] {
        let response = app.get(path).await;
        assert_eq!(response.status, 400, "{path}: {response:?}");
        assert_eq!(response.reason(), "VALIDATION_FAILED");
        writeln!(shown, "{path}\n  {}", response.json()["detail"]).unwrap();
    }
    let response = app.post("/v1/orders?orderId=1", "{}").await;
    writeln!(shown, "POST /v1/orders?orderId=1\n  {}", response.json()["detail"]).unwrap();
    insta::assert_snapshot!(shown);
    assert!(app.service.calls.lock().unwrap().is_empty());
}

/// A query is refused before its names are compared: the text fits into the head of a
/// request, and a web page can send it.
#[tokio::test]
async fn a_query_with_too_many_parameters_is_refused() {
    let app = HttpApp::start().await;
    let states = vec!["states=ORDER_STATE_STORED"; 200].join("&");
    assert_eq!(app.get(&format!("/v1/orders?{states}")).await.status, 200);
    let names = (0..8_000).map(|n| format!("n{n}")).collect::<Vec<_>>().join("&");
    for query in [format!("{states}&pageSize=5"), names] {
        let refused = [
            app.get(&format!("/v1/orders?{query}")).await,
            app.post(&format!("/v1/orders?{query}"), "{}").await,
        ];
        for response in refused {
            assert_eq!((response.status.as_u16(), response.reason().as_str()), (400, "VALIDATION_FAILED"));
            let detail = response.json()["detail"].to_string();
            assert_eq!(detail, r#""the query has more than 200 parameters, which is the limit""#);
        }
    }
}

#[tokio::test]
async fn an_idempotency_key_is_the_request_id() {
    let app = HttpApp::start().await;
    let send = async |keys: &[&[u8]], body: &'static str| {
        let mut request = post("/v1/orders");
        for key in keys {
            request = request.header("Idempotency-Key", http::HeaderValue::from_bytes(key).unwrap());
        }
        app.send(request.body(Full::from(body)).unwrap()).await
    };
    for (sent, body, used) in [
        (vec![b"k".as_slice()], "{}", "Some(\"k\")"),
        (vec![b"\"k\""], "{}", "Some(\"k\")"),
        (vec![b" k "], r#"{"requestId":"k"}"#, "Some(\"k\")"),
        (vec![b"k"], r#"{"requestId":""}"#, "Some(\"k\")"),
        (vec![], r#"{"requestId":"k"}"#, "Some(\"k\")"),
        (vec![], "{}", "None"),
    ] {
        let response = send(&sent, body).await;
        assert_eq!(response.status, 200, "{response:?}");
        assert!(app.service.last_call().message.contains(&format!("request_id: {used}")));
    }
    let calls = app.service.calls.lock().unwrap().len();
    let mut shown = String::new();
    for (sent, body) in [
        (vec![b"".as_slice()], "{}"),
        (vec![b"\"\""], "{}"),
        (vec![b"a b"], "{}"),
        (vec![b"\xff"], "{}"),
        (vec![b"a", b"a"], "{}"),
        (vec![b"a"], r#"{"requestId":"b"}"#),
    ] {
        let response = send(&sent, body).await;
        assert_eq!(response.reason(), "VALIDATION_FAILED");
        writeln!(shown, "{}", response.json()["detail"].as_str().unwrap()).unwrap();
    }
    insta::assert_snapshot!(shown);
    assert_eq!(app.service.calls.lock().unwrap().len(), calls);
    // A read ignores the header.
    let read = get("/v1/orders/1").header("idempotency-key", "").body(Full::default()).unwrap();
    assert_eq!(app.send(read).await.status, 200);
}
