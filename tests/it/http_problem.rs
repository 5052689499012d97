//! Refusals as `application/problem+json`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use http_body_util::Full;
use prost::Message as _;
use pvz::adapters::status::status_codes;
use pvz::domain::Reason;
use pvz::proto::v1;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb};

use crate::http_support::{HttpApp, get, post};

fn show(problem: &Value) -> String {
    serde_json::to_string_pretty(problem).unwrap()
}

#[tokio::test]
async fn every_reason_of_the_service_has_its_shape() {
    let app = HttpApp::start().await;
    let mut shown = String::new();
    for reason in Reason::ALL {
        let metadata = HashMap::from([("order_id".to_owned(), "1".to_owned())]);
        let mut details = ErrorDetails::with_error_info(reason.name(), "pvz", metadata);
        if *reason == Reason::ValidationFailed {
            details.add_bad_request_violation("order_ids[2]", "is required");
        }
        let waits = matches!(reason, Reason::RateLimited | Reason::Overloaded | Reason::Unavailable);
        if waits {
            details.set_retry_info(Some(Duration::from_millis(1200)));
        }
        let status = Status::with_error_details(status_codes(*reason).grpc, "a sentence", details);
        *app.service.refuse.lock().unwrap() = Some(status);
        let request = get("/v1/orders/1").header("x-request-id", "mine").body(Full::default()).unwrap();
        let answer = app.send(request).await;
        assert_eq!(answer.status, status_codes(*reason).http, "{reason:?}");
        assert_eq!(answer.reason(), reason.name());
        assert_eq!(answer.header("retry-after"), if waits { "2" } else { "" });
        // The page that the problem names is there.
        let page = app.get(answer.json()["type"].as_str().unwrap()).await;
        assert_eq!(page.status, 200, "{reason:?}");
        assert!(String::from_utf8_lossy(&page.body).contains(reason.name()));
        shown.push_str(&show(&answer.json()));
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_refused_batch_names_its_orders() {
    let app = HttpApp::start().await;
    let refusal = v1::Refusal {
        reason: "WRONG_CUSTOMER".to_owned(),
        message: "order 2 belongs to another customer".to_owned(),
        metadata: [("order_id".to_owned(), "2".to_owned())].into(),
        field_violations: Vec::new(),
    };
    let batch = v1::BatchRefusal {
        refused_total: 7,
        results: vec![v1::OrderResult {
            order_id: "2".to_owned(),
            outcome: Some(v1::order_result::Outcome::Refusal(refusal)),
        }],
    };
    let info = pb::ErrorInfo {
        reason: "WRONG_CUSTOMER".to_owned(),
        domain: "pvz".to_owned(),
        metadata: HashMap::new(),
    };
    let any = |name: &str, value: Vec<u8>| prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value,
    };
    let details = pb::Status {
        code: Code::FailedPrecondition.into(),
        message: "order 2 belongs to another customer".to_owned(),
        details: vec![
            any("google.rpc.ErrorInfo", info.encode_to_vec()),
            any("pvz.v1.BatchRefusal", batch.encode_to_vec()),
        ],
    };
    let status = Status::with_details(
        Code::FailedPrecondition,
        details.message.clone(),
        details.encode_to_vec().into(),
    );
    *app.service.refuse.lock().unwrap() = Some(status);
    let answer = app.post("/v1/orders:issue", r#"{"orderIds":["2"]}"#).await;
    insta::assert_snapshot!(show(&answer.json()));
}

#[tokio::test]
async fn a_status_without_details_is_told_by_its_code() {
    let app = HttpApp::start().await;
    for (status, reason) in [
        (Status::internal("SELECT * FROM orders"), "INTERNAL"),
        (Status::unknown("a library says"), "INTERNAL"),
        (Status::unavailable("no connection"), "UNAVAILABLE"),
        (Status::deadline_exceeded("late"), "DEADLINE_EXCEEDED"),
    ] {
        *app.service.refuse.lock().unwrap() = Some(status);
        let answer = app.get("/v1/orders/1").await;
        assert_eq!(answer.reason(), reason);
        assert!(!answer.json()["detail"].as_str().unwrap().contains("SELECT"));
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_hurts_nobody_else() {
    let app = HttpApp::start().await;
    let answer = app.post("/v1/orders", r#"{"orderId":"panic"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (500, "INTERNAL"));
    assert_eq!(app.get("/v1/orders/1").await.status, 200);
}

#[tokio::test]
async fn what_http_itself_refuses_is_a_problem_too() {
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
        let answer = app.send(request.body(Full::from("{}")).unwrap()).await;
        write!(shown, "{verb} {path} {content_type} {encoding}: {}", answer.status).unwrap();
        if !answer.status.is_success() {
            let problem = answer.json();
            write!(shown, " {} {} {}", answer.reason(), problem["detail"], problem["metadata"]).unwrap();
            assert_eq!(answer.header("allow"), problem["metadata"]["allow"].as_str().unwrap_or_default());
        }
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_correlation_id_is_echoed_or_made() {
    let app = HttpApp::start().await;
    let long = "x".repeat(129);
    for (sent, made) in
        [(None, true), (Some("given"), false), (Some(long.as_str()), true), (Some("a b"), true)]
    {
        let mut request = post("/v1/orders");
        if let Some(sent) = sent {
            request = request.header("x-request-id", sent);
        }
        let answer = app.send(request.body(Full::from("{}")).unwrap()).await;
        let echoed = answer.header("x-request-id");
        assert_eq!(echoed.starts_with("fresh-"), made, "{echoed}");
        assert_eq!(app.service.last().metadata.get("x-request-id").unwrap(), echoed);
    }
    // A repeated actor reaches the service, which refuses it.
    let request = post("/v1/orders").header("pvz-actor", "operator:a").header("pvz-actor", "operator:b");
    app.send(request.body(Full::from("{}")).unwrap()).await;
    assert_eq!(app.service.last().metadata.get_all("pvz-actor").iter().count(), 2);
}
