//! Refusals as `application/problem+json`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use pvz::adapters::status::{RefusalSource, status_codes};
use pvz::domain::{BatchRefusal, OrderId, OrderResult, Reason, Refusal};
use serde_json::Value;
use tonic::Status;

use crate::http_support::{HttpApp, get, post};

fn show(problem: &Value) -> String {
    serde_json::to_string_pretty(problem).unwrap()
}

/// Returns the status of a refusal.
fn status(refusal: Refusal) -> Status {
    let mut status = Status::new(status_codes(refusal.reason).grpc, refusal.message.clone());
    status.set_source(Arc::new(RefusalSource(refusal)));
    status
}

#[tokio::test]
async fn every_reason_has_a_problem() {
    let app = HttpApp::start().await;
    let mut shown = String::new();
    for reason in Reason::ALL {
        let mut refusal = match reason {
            Reason::ValidationFailed => Refusal::invalid("order_ids[2]", "is required"),
            _ => Refusal::new(*reason, "a sentence"),
        }
        .with("order_id", "1");
        let retryable = matches!(reason, Reason::Overloaded | Reason::Unavailable);
        if retryable {
            refusal = refusal.retry_after(Duration::from_millis(1200));
        }
        *app.service.refuse.lock().unwrap() = Some(status(refusal));
        let request = get("/v1/orders/1").header("x-request-id", "mine").body(Full::default()).unwrap();
        let response = app.send(request).await;
        assert_eq!(response.status, status_codes(*reason).http, "{reason:?}");
        assert_eq!(response.reason(), reason.name());
        assert_eq!(response.header("retry-after"), if retryable { "2" } else { "" });
        // The page that the problem names exists.
        let page = app.get(response.json()["type"].as_str().unwrap()).await;
        assert_eq!(page.status, 200, "{reason:?}");
        assert!(String::from_utf8_lossy(&page.body).contains(reason.name()));
        shown.push_str(&show(&response.json()));
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_refused_batch_lists_its_orders() {
    let app = HttpApp::start().await;
    let wrong_customer =
        || Refusal::new(Reason::WrongCustomer, "order 2 belongs to another customer").with("order_id", "2");
    let result = OrderResult { order_id: OrderId::parse("2").unwrap(), outcome: Err(wrong_customer()) };
    let batch = Some(BatchRefusal { refused_total: 1, results: vec![result] });
    *app.service.refuse.lock().unwrap() = Some(status(Refusal { batch, ..wrong_customer() }));
    let response = app.post("/v1/orders:issue", r#"{"orderIds":["2"]}"#).await;
    insta::assert_snapshot!(show(&response.json()));
}

#[tokio::test]
async fn a_status_without_a_refusal_maps_by_its_code() {
    let app = HttpApp::start().await;
    for (status, reason) in [
        (Status::internal("SELECT * FROM orders"), "INTERNAL"),
        (Status::unknown("a library says"), "INTERNAL"),
        (Status::unavailable("no connection"), "UNAVAILABLE"),
        (Status::deadline_exceeded("late"), "DEADLINE_EXCEEDED"),
    ] {
        *app.service.refuse.lock().unwrap() = Some(status);
        let response = app.get("/v1/orders/1").await;
        assert_eq!(response.reason(), reason);
        assert!(!response.json()["detail"].as_str().unwrap().contains("SELECT"));
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_affects_no_other_request() {
    let app = HttpApp::start().await;
    let response = app.post("/v1/orders", r#"{"orderId":"panic"}"#).await;
    assert_eq!((response.status.as_u16(), response.reason().as_str()), (500, "INTERNAL"));
    assert_eq!(app.get("/v1/orders/1").await.status, 200);
}

#[tokio::test]
async fn errors_of_the_gateway_are_problems() {
    let app = HttpApp::start().await;
    let mut shown = String::new();
    for (verb, path, content_type, encoding) in [
        ("GET", "/", "", ""),
        ("GET", "/nowhere", "", ""),
        ("GET", "/v1/orders/", "", ""),
        ("GET", "/v1/orders/../../etc/passwd", "", ""),
        ("GET", "/v1/orders/1/nothing", "", ""),
        ("GET", "/swagger-ui/../Cargo.toml", "", ""),
        ("GET", "/problems/nonsense", "", ""),
        ("DELETE", "/v1/orders", "", ""),
        ("POST", "/v1/orders/1", "application/json", ""),
        ("GET", "/v1/orders:import", "", ""),
        ("PATCH", "/openapi.json", "", ""),
        ("POST", "/v1/orders", "", ""),
        ("POST", "/v1/orders", "text/plain", ""),
        ("POST", "/v1/orders", "application/json; charset=utf-8", ""),
        ("POST", "/v1/orders", "application/json", "gzip"),
        ("POST", "/v1/orders:import", "application/json", ""),
    ] {
        let mut request = http::Request::builder().method(verb).uri(path).header("host", "pvz");
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        let response = app.send(request.body(Full::from("{}")).unwrap()).await;
        write!(shown, "{verb} {path} {content_type} {encoding}: {}", response.status).unwrap();
        if !response.status.is_success() {
            let problem = response.json();
            write!(shown, " {} {} {}", response.reason(), problem["detail"], problem["metadata"]).unwrap();
            assert_eq!(response.header("allow"), problem["metadata"]["allow"].as_str().unwrap_or_default());
        }
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_correlation_id_is_echoed_or_generated() {
    let app = HttpApp::start().await;
    let long = "x".repeat(129);
    for (sent, generated) in
        [(None, true), (Some("given"), false), (Some(long.as_str()), true), (Some("a b"), true)]
    {
        let mut request = post("/v1/orders");
        if let Some(sent) = sent {
            request = request.header("x-request-id", sent);
        }
        let response = app.send(request.body(Full::from("{}")).unwrap()).await;
        let echoed = response.header("x-request-id");
        assert_eq!(echoed.starts_with("fresh-"), generated, "{echoed}");
        assert_eq!(app.service.last_call().metadata.get("x-request-id").unwrap(), echoed);
    }
    // The gateway passes a repeated actor on; the service refuses it.
    let request = post("/v1/orders").header("pvz-actor", "operator:a").header("pvz-actor", "operator:b");
    app.send(request.body(Full::from("{}")).unwrap()).await;
    assert_eq!(app.service.last_call().metadata.get_all("pvz-actor").iter().count(), 2);
}
