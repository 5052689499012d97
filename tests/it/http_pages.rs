//! Pages for people: their links, their content, and the Postman collection.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use pvz::adapters::http::{example, metadata_keys};
use pvz::domain::Reason;
use serde_json::Value;

use crate::http_support::{HttpApp, HttpResponse, ScriptedService, get, send_to};
use crate::support::app::TestApp;

fn text(response: &HttpResponse) -> String {
    String::from_utf8(response.body.to_vec()).unwrap()
}

/// Returns the values of an attribute in a page.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Resolves a relative address of a page. Panics for an address that begins at the
/// root of the host: it would leave the path of a proxy.
fn resolve(page: &str, link: &str) -> String {
    assert!(!link.starts_with('/'), "{page} links to {link}, which is not relative");
    let mut folders: Vec<&str> = page.split('/').collect();
    folders.pop();
    let mut parts = link.split('/').peekable();
    while let Some(part) = parts.next() {
        match part {
            "." => {}
            ".." => assert!(folders.pop().is_some_and(|folder| !folder.is_empty()), "{page}: {link}"),
            name => {
                folders.push(name);
                continue;
            }
        }
        if parts.peek().is_none() {
            folders.push("");
        }
    }
    folders.join("/")
}

#[tokio::test]
async fn every_page_is_reached_by_links_that_work_below_a_path() {
    let app = HttpApp::start().await;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open = vec!["/".to_owned()];
    let mut anchors = Vec::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let page = app.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        if page.header("content-type") != "text/html; charset=utf-8" || path.starts_with("/swagger-ui/") {
            continue;
        }
        let html = text(&page);
        for link in values(&html, "href") {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { resolve(&path, file) };
            if !anchor.is_empty() && !target.starts_with("/swagger-ui/") {
                anchors.push((path.clone(), target.clone(), anchor.to_owned()));
            }
            open.push(target);
        }
    }
    for (from, target, anchor) in anchors {
        let html = text(&app.get(&target).await);
        assert!(values(&html, "id").contains(&anchor.as_str()), "{from} links to {target}#{anchor}");
    }
    let reasons = Reason::ALL
        .iter()
        .map(|reason| format!("/problems/{}", reason.name().to_ascii_lowercase().replace('_', "-")));
    let guides =
        ["getting-started", "idempotency", "errors", "paging", "events", "time-and-money", "changelog"];
    let guides = guides.iter().map(|guide| format!("/docs/{guide}"));
    let others =
        ["/docs/api", "/docs/domain", "/openapi.json", "/postman.json", "/swagger-ui/", "/favicon.ico"];
    for page in reasons.chain(guides).chain(others.map(str::to_owned)) {
        assert!(seen.contains(&page), "no link to {page}");
    }
}

#[tokio::test]
async fn folders_are_found_without_a_slash_too() {
    let app = HttpApp::start().await;
    for folder in ["problems", "docs", "swagger-ui"] {
        let moved = app.get(&format!("/{folder}")).await;
        // Relative to the address of the request, which has a prefix behind a proxy.
        assert_eq!((moved.status.as_u16(), moved.header("location")), (308, format!("{folder}/").as_str()));
    }
    assert_eq!(app.get("/docs/absent").await.reason(), "ROUTE_NOT_FOUND");
    let icon = app.get("/favicon.ico").await;
    assert_eq!(icon.header("content-type"), "image/x-icon");
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_adapt_to_the_screen() {
    let app = HttpApp::start().await;
    for path in ["/", "/problems/", "/problems/storage-expired", "/docs/", "/docs/errors"] {
        let page = app.get(path).await;
        let html = text(&page);
        assert!(html.contains("<meta name=\"viewport\" content=\"width=device-width"), "{path}");
        assert!(html.contains("prefers-color-scheme:dark"), "{path}");
        assert_eq!(values(&html, "src"), [""; 0], "{path}");
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
    }
}

#[tokio::test]
async fn the_page_of_a_reason_has_its_example_keys_and_methods() {
    let app = HttpApp::start().await;
    let page = text(&app.get("/problems/storage-expired").await);
    for part in [
        "HTTP/1.1 409 Conflict",
        "&quot;type&quot;: &quot;/problems/storage-expired&quot;",
        "<code>storage_until</code>",
        "<a href=\"../swagger-ui/#/orders/issueOrders\"><code>POST /v1/orders:issue</code></a>",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    assert!(text(&app.get("/problems/overloaded").await).contains("retry-after: 1\n"));
    assert!(text(&app.get("/problems/internal").await).contains("Every method."));
    for reason in Reason::ALL {
        let slug = reason.name().to_ascii_lowercase().replace('_', "-");
        let page = text(&app.get(&format!("/problems/{slug}")).await);
        assert!(!page.contains("<td></td>"), "a key of {reason:?} has no meaning");
        for key in metadata_keys(*reason) {
            assert!(page.contains(&format!("<code>{key}</code>")), "{reason:?} {key}");
        }
    }
}

/// A request, after the clock was set to an instant.
type Call<'a> = (&'a str, &'a str, &'a str, &'a str);

const ACCEPT: &str =
    r#"{"orderId":"67012345-0001-1","customerId":"123","storageUntil":"2026-12-31T10:00:00Z"}"#;
const ISSUE: &str = r#"{"orderIds":["67012345-0001-1"]}"#;
const RETURN: &str = r#"{"orderId":"67012345-0001-1","customerId":"123"}"#;
const ACCEPTED: Call<'_> = ("2026-12-01T09:00:00Z", "POST", "/v1/orders", ACCEPT);
const ISSUED: Call<'_> = ("2026-12-01T09:15:00Z", "POST", "/v1/orders:issue", ISSUE);
const RETURNED: Call<'_> = ("2026-12-02T18:40:00Z", "POST", "/v1/orders:acceptReturn", RETURN);
const HANDED: Call<'_> = ("2026-12-03T08:00:00Z", "POST", "/v1/orders:returnToCourier", ISSUE);

/// Returns the calls of which the last is refused for a reason; none if the reason
/// needs an archive, an overload or a bug.
fn refused_calls(reason: Reason) -> Vec<Call<'static>> {
    let at_start = "2026-12-01T09:15:00Z";
    let post = |path, body| (at_start, "POST", path, body);
    match reason {
        Reason::ValidationFailed => vec![post("/v1/orders", r#"{"orderId":"67012345-0001-1"}"#)],
        Reason::InvalidPackaging => vec![post(
            "/v1/orders",
            r#"{"orderId":"67012345-0001-1","customerId":"123","storageUntil":"2026-12-31T10:00:00Z","packaging":["crate"]}"#,
        )],
        Reason::WeightTooHeavy => vec![post(
            "/v1/orders",
            r#"{"orderId":"67012345-0001-1","customerId":"123","storageUntil":"2026-12-31T10:00:00Z","weightGrams":15000,"packaging":["bag"]}"#,
        )],
        Reason::IdempotencyKeyReused => {
            let first = r#"{"orderId":"67012345-0001-1","customerId":"123","storageUntil":"2026-12-31T10:00:00Z","requestId":"5d6c1a52-accept-1"}"#;
            let other = r#"{"orderId":"67012345-0001-1","customerId":"124","storageUntil":"2026-12-31T10:00:00Z","requestId":"5d6c1a52-accept-1"}"#;
            vec![post("/v1/orders", first), post("/v1/orders", other)]
        }
        Reason::OrderNotFound => vec![(at_start, "GET", "/v1/orders/67012345-0001-1", "")],
        Reason::OrderAlreadyExists => vec![
            ACCEPTED,
            post(
                "/v1/orders",
                r#"{"orderId":"67012345-0001-1","customerId":"123","storageUntil":"2026-12-31T10:00:00Z","priceMinor":100}"#,
            ),
        ],
        Reason::StorageExpired => vec![ACCEPTED, ("2026-12-31T10:05:00Z", "POST", "/v1/orders:issue", ISSUE)],
        Reason::StorageNotExpired => vec![ACCEPTED, post("/v1/orders:returnToCourier", ISSUE)],
        Reason::OrderAlreadyIssued => vec![ACCEPTED, ISSUED, ISSUED],
        Reason::OrderNotIssued => vec![ACCEPTED, post("/v1/orders:acceptReturn", RETURN)],
        Reason::OrderReturned => vec![ACCEPTED, ISSUED, RETURNED, RETURNED],
        Reason::OrderHandedToCourier => vec![
            ACCEPTED,
            ISSUED,
            RETURNED,
            HANDED,
            ("2026-12-03T08:00:00Z", "POST", "/v1/orders:acceptReturn", RETURN),
        ],
        Reason::ReturnWindowClosed => {
            vec![ACCEPTED, ISSUED, ("2026-12-03T11:30:00Z", "POST", "/v1/orders:acceptReturn", RETURN)]
        }
        Reason::WrongCustomer => vec![
            ACCEPTED,
            post("/v1/orders:acceptReturn", r#"{"orderId":"67012345-0001-1","customerId":"124"}"#),
        ],
        Reason::WrongPickupPoint => vec![
            ACCEPTED,
            post(
                "/v1/orders:acceptReturn",
                r#"{"orderId":"67012345-0001-1","customerId":"123","pickupPointId":"north"}"#,
            ),
        ],
        Reason::RouteNotFound => vec![(at_start, "GET", "/v1/order", "")],
        Reason::MethodNotAllowed => vec![(at_start, "DELETE", "/v1/orders", "")],
        _ => vec![],
    }
}

async fn send(app: &TestApp, (now, method, path, body): Call<'_>) -> HttpResponse {
    let now = chrono::DateTime::parse_from_rfc3339(now).unwrap().timestamp_micros();
    app.clock.set(now);
    let request = Request::builder().method(method).uri(path).header("host", "pvz");
    let request = if body.is_empty() { request } else { request.header("content-type", "application/json") };
    send_to(app.http(), request.body(Full::from(Bytes::from(body.to_owned()))).unwrap()).await
}

#[test]
fn the_examples_of_problems_are_answers_of_the_service() {
    let mut compared = 0;
    for reason in Reason::ALL {
        let calls = refused_calls(*reason);
        let Some((last, before)) = calls.split_last() else { continue };
        let app = TestApp::start_with(&[("--store", "memory:"), ("--events", "none:")]);
        let mut problem = app.block_on(async {
            for call in before {
                assert_eq!(send(&app, *call).await.status, 200, "{reason:?} {call:?}");
            }
            send(&app, *last).await.json()
        });
        let shown = serde_json::to_value(example(*reason, &"".into())).unwrap();
        problem["instance"] = shown["instance"].clone();
        assert_eq!(problem, shown, "{reason:?}");
        compared += 1;
    }
    assert_eq!(compared, 17);
}

#[tokio::test]
async fn the_collection_has_every_operation_of_the_document() {
    let app = HttpApp::start().await;
    let request = get("/postman.json").body(Full::default()).unwrap();
    let collection = app.send(request).await.json();
    let document = app.get("/openapi.json").await.json();
    assert_eq!(collection["variable"][0]["value"], "http://pvz");
    let mut expected = BTreeSet::new();
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for verb in verbs.as_object().unwrap().keys() {
            let path = path.replace("{order_id}", ":order_id");
            expected.insert(format!("{} {{{{baseUrl}}}}{path}", verb.to_uppercase()));
        }
    }
    let folders = collection["item"].as_array().unwrap();
    let requests = folders.iter().flat_map(|folder| folder["item"].as_array().unwrap());
    let requests: Vec<&Value> = requests.map(|item| &item["request"]).collect();
    let address = |request: &&Value| {
        format!("{} {}", request["method"].as_str().unwrap(), request["url"]["raw"].as_str().unwrap())
    };
    assert_eq!(requests.iter().map(address).collect::<BTreeSet<_>>(), expected);
    assert_eq!(requests.len(), expected.len());
    for request in requests {
        let body = request["body"]["raw"].as_str().unwrap_or_default();
        let is_post = request["method"] == "POST";
        assert!(!is_post || body.starts_with('{'), "{request}");
        assert!(!body.contains("2026-"), "a fixed instant is not always ahead: {body}");
    }
}

#[tokio::test]
async fn the_collection_names_the_public_url() {
    let app = HttpApp::start_with(ScriptedService::default(), |options| {
        options.public_url = "https://shop.example/pvz".into();
    })
    .await;
    assert_eq!(app.get("/postman.json").await.json()["variable"][0]["value"], "https://shop.example/pvz");
}
