//! JSON bodies over REST: exact numbers, all faults at once, a byte-order mark.

use http_body_util::Full;
use serde_json::Value;

use crate::http_support::HttpApp;

#[tokio::test]
async fn a_number_is_taken_exactly_or_refused() {
    let app = HttpApp::start().await;
    for (text, grams) in [
        ("100000", Some(100_000)),
        ("\"100000\"", Some(100_000)),
        ("100000.000", Some(100_000)),
        ("1e5", Some(100_000)),
        ("\"1e5\"", Some(100_000)),
        ("\"1.5E+3\"", Some(1_500)),
        ("1500e-2", Some(15)),
        ("-0", Some(0)),
        ("9007199254740993.0", Some(9_007_199_254_740_993)),
        ("9223372036854775807e0", Some(i64::MAX)),
        ("99999.99999999999999", None),
        ("\"99999.99999999999999\"", None),
        ("9007199254740992.5", None),
        ("9223372036854775808", None),
        ("1e19", None),
        ("1e999", None),
        ("0.1", None),
        ("\"\"", None),
        ("\" 5\"", None),
        ("\"5 \"", None),
        ("\"\u{2212}5\"", None),
        ("[5]", None),
        ("{}", None),
    ] {
        let response = app.post("/v1/orders", format!("{{\"weightGrams\":{text}}}")).await;
        let Some(grams) = grams else {
            assert_eq!(response.status, 400, "{text}");
            let expected = "weight_grams must be a whole number within the range of its type";
            let detail = response.json()["detail"].clone();
            assert_eq!(detail, format!("the request is not valid: {expected}"), "{text}");
            continue;
        };
        assert_eq!(response.status, 200, "{text}: {response:?}");
        let message = app.service.last_call().message;
        assert!(message.contains(&format!("weight_grams: Some({grams})")), "{text}: {message}");
    }
    for (mode, status) in [("2", 200), ("2.0", 200), ("1.5", 400), ("\"2\"", 400), ("[]", 400)] {
        let response = app.post("/v1/orders:issue", format!("{{\"mode\":{mode}}}")).await;
        assert_eq!(response.status, status, "{mode}: {response:?}");
    }
    // A query takes decimal digits alone, as its schema says.
    assert_eq!(app.get("/v1/orders?pageSize=1e1").await.status, 400);
}

/// The fields of the problem, in order.
fn fields(problem: &Value) -> Vec<String> {
    let violations = problem["fieldViolations"].as_array().unwrap();
    violations.iter().map(|violation| violation["field"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_faults_of_a_body_are_reported_at_once() {
    let app = HttpApp::start().await;
    for (body, expected) in [
        (
            r#"{"orderId":1,"customerId":"c","storageUntil":"soon","weightGrams":"much","priceMinor":0.5,
                "packaging":["box",7,null],"pickup_point_id":[],"more":{"a":[1]}}"#,
            &[
                "order_id",
                "storage_until",
                "weight_grams",
                "price_minor",
                "packaging[1]",
                "packaging[2]",
                "pickup_point_id",
                "more",
            ][..],
        ),
        (r#"{"weightGrams":true,"orderId":"1","order_id":"1"}"#, &["weight_grams"]),
        (r#"{"orderId":"1","order_id":"1","weightGrams":true}"#, &["order_id", "weight_grams"]),
        (r#"{"packaging":"box","orderId":{}}"#, &["packaging", "order_id"]),
        (r#"{"a\"b":1,"orderId":2}"#, &["a\"b", "order_id"]),
        // The text as a whole comes first.
        (r#"{"orderId":1,"weightGrams":tru}"#, &[]),
        (r#"{"orderId":1}}"#, &[]),
        ("[]", &[]),
    ] {
        let problem = app.post("/v1/orders", body.to_owned()).await.json();
        assert_eq!(problem["reason"], "VALIDATION_FAILED", "{body}");
        assert_eq!(fields(&problem), expected, "{body}");
        let total = problem["metadata"]["violations_total"].as_str().unwrap_or("1");
        assert_eq!(total, expected.len().max(1).to_string(), "{body}");
    }
    let query = app.get("/v1/orders?pageSize=x&expired=yes&lastN=5&nonsense=1").await.json();
    assert_eq!(fields(&query), ["page_size", "expired", "nonsense"]);

    let many: Vec<String> = (0..5_000).map(|number| format!("\"x{number}\":1")).collect();
    let problem = app.post("/v1/orders", format!("{{{}}}", many.join(","))).await.json();
    assert_eq!(fields(&problem).len(), 100);
    let list = format!("{{\"orderIds\":[{}1]}}", "1,".repeat(5_000));
    let problem = app.post("/v1/orders:issue", list).await.json();
    assert_eq!(fields(&problem).len(), 100);
    // A message inside a number is not read, however deep it is.
    let deep = format!("{{\"weightGrams\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let problem = app.post("/v1/orders", deep).await.json();
    assert_eq!(fields(&problem), ["weight_grams"]);
}

#[tokio::test]
async fn a_byte_order_mark_is_skipped_at_the_start_only() {
    let app = HttpApp::start().await;
    let response = app.post("/v1/orders", "\u{feff}{\"orderId\":\"a\"}".to_owned()).await;
    assert_eq!(response.status, 200, "{response:?}");
    for body in ["\u{feff}\u{feff}{}", "{}\u{feff}", "\u{feff}"] {
        assert_eq!(app.post("/v1/orders", body.to_owned()).await.status, 400, "{body:?}");
    }

    let row = r#"{"orderId":"a","customerId":"c","storageUntil":"2026-12-31T10:00:00Z"}"#;
    for (rows, accepted) in [
        (format!("\u{feff}{row}\n"), &[true][..]),
        (format!("\u{feff}\n{row}\n\u{feff}{row}\n"), &[true, false]),
    ] {
        let request = http::Request::post("/v1/orders:import")
            .header("host", "pvz")
            .header("content-type", "application/x-ndjson");
        let response = app.send(request.body(Full::from(rows)).unwrap()).await;
        assert_eq!(response.status, 200, "{response:?}");
        let mut found: Vec<Value> = String::from_utf8_lossy(&response.body)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        found.sort_by_key(|line| line["index"].as_str().unwrap().parse::<u32>().unwrap());
        let found: Vec<bool> = found.iter().map(|line| line["result"]["refusal"].is_null()).collect();
        assert_eq!(found, accepted);
    }
}
