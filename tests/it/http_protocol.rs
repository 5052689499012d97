//! The HTTP protocol: methods, entity tags, compression, CORS, limits, slow
//! clients, shutdown.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::faults::test_service::wait_until;
use crate::http_support::{HttpApp, ScriptedService, get, order, post};

#[tokio::test]
async fn an_order_has_an_entity_tag() {
    let app = HttpApp::start().await;
    let tagged = async |etag: &str| {
        let request = get("/v1/orders/1").header("if-none-match", etag).body(Full::default()).unwrap();
        app.send(request).await
    };
    let first = app.get("/v1/orders/1").await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (200, "W/\"1\""));
    for same in ["W/\"1\"", "\"1\"", "\"0\", W/\"1\"", "*"] {
        let again = tagged(same).await;
        assert_eq!((again.status.as_u16(), again.header("etag")), (304, "W/\"1\""), "{same}");
        assert!(again.body.is_empty());
    }
    assert_eq!(tagged("\"2\"").await.status, 200);
    // An order expires without a new version.
    app.service.order.lock().unwrap().expired = true;
    assert_eq!(tagged("W/\"1\"").await.header("etag"), "W/\"1-expired\"");
    app.service.order.lock().unwrap().version = 2;
    assert_eq!(tagged("W/\"1-expired\"").await.status, 200);
}

#[tokio::test]
async fn head_and_options_are_supported() {
    let app = HttpApp::start().await;
    let send = async |verb: &str, path: &str| {
        app.send(
            Request::builder().method(verb).uri(path).header("host", "pvz").body(Full::default()).unwrap(),
        )
        .await
    };
    let head = send("HEAD", "/v1/orders/1").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), app.get("/v1/orders/1").await.body.len().to_string());
    for (path, allow) in [
        ("/v1/orders", "GET, HEAD, OPTIONS, POST"),
        ("/v1/orders:issue", "OPTIONS, POST"),
        ("/v1/orders/1", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
    ] {
        let options = send("OPTIONS", path).await;
        assert_eq!((options.status.as_u16(), options.header("allow")), (204, allow), "{path}");
    }
}

#[tokio::test]
async fn large_responses_are_compressed_if_the_client_accepts_it() {
    let app = HttpApp::start().await;
    let gzip = async |path: &str| {
        app.send(get(path).header("accept-encoding", "gzip").body(Full::default()).unwrap()).await
    };
    let large = gzip("/v1/orders").await;
    assert_eq!(large.header("content-encoding"), "gzip");
    assert!(large.body.len() * 4 < app.get("/v1/orders").await.body.len());
    assert_eq!(gzip("/v1/orders/1").await.header("content-encoding"), "");
    assert_eq!(app.get("/v1/orders").await.header("content-encoding"), "");
}

#[tokio::test]
async fn cross_origin_requests_are_allowed_only_if_configured() {
    let preflight = || {
        Request::options("/v1/orders")
            .header("host", "pvz")
            .header("origin", "https://shop.example")
            .header("access-control-request-method", "POST")
            .body(Full::default())
            .unwrap()
    };
    let closed = HttpApp::start().await;
    assert_eq!(closed.send(preflight()).await.header("access-control-allow-origin"), "");
    let open = HttpApp::start_with(ScriptedService::default(), |options| {
        options.cors_origins = vec!["https://shop.example".to_owned()];
    })
    .await;
    let response = open.send(preflight()).await;
    assert_eq!(response.header("access-control-allow-origin"), "https://shop.example");
    assert!(response.header("access-control-allow-headers").contains("idempotency-key"));
    let other_origin =
        get("/v1/packaging").header("origin", "https://other.example").body(Full::default()).unwrap();
    assert_eq!(open.send(other_origin).await.header("access-control-allow-origin"), "");
    // An OPTIONS request that is not a preflight still lists the methods.
    let plain = Request::options("/v1/orders").header("host", "pvz").header("origin", "https://shop.example");
    assert_eq!(
        open.send(plain.body(Full::default()).unwrap()).await.header("allow"),
        "GET, HEAD, OPTIONS, POST"
    );
}

#[tokio::test]
async fn bodies_have_a_size_limit() {
    let app = HttpApp::start_with(ScriptedService::default(), |options| options.max_body = 1000).await;
    let body = format!("{{\"orderId\":\"{}\"}}", "1".repeat(2000));
    let known = app.post("/v1/orders", body.clone()).await;
    assert_eq!((known.status.as_u16(), known.reason().as_str()), (413, "TOO_LARGE"));
    assert_eq!(known.json()["metadata"]["limit_bytes"], "1000");
    // In chunks, without a content length.
    let chunks = futures::stream::iter(body.into_bytes().chunks(100).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let chunks = futures::StreamExt::map(chunks, |chunk| {
        Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from(chunk)))
    });
    let request = post("/v1/orders").body(http_body_util::StreamBody::new(chunks)).unwrap();
    assert_eq!(app.open(request).await.status(), 413);
    assert_eq!(app.post("/v1/orders", "{}").await.status, 200);
}

#[tokio::test]
async fn http2_without_tls_is_supported() {
    let app = HttpApp::start().await;
    let stream = TcpStream::connect(app.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{}/v1/orders/1", app.address));
    let response = sender.send_request(request.body(Full::<bytes::Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

/// Writes a text, and reads until the server closes the connection.
async fn raw(app: &HttpApp, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    // The server may close before it has read everything.
    let _cut = stream.write_all(text).await;
    let mut response = Vec::new();
    let _reset = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut response))
        .await
        .expect("the server closes");
    String::from_utf8_lossy(&response).into_owned()
}

/// Checks that the response is a complete problem.
fn assert_problem(case: &str, response: &str) {
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ncontent-type: application/problem+json"), "{case}: {head}");
    let id = head.split("\r\nx-request-id: ").nth(1).unwrap_or_else(|| panic!("{case}: {head}"));
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(head.split(' ').nth(1).unwrap(), problem["status"].to_string(), "{case}");
    let instance = format!("urn:pvz:request:{}", id.lines().next().unwrap());
    assert_eq!(problem["instance"], instance, "{case}");
    assert!(!problem["detail"].as_str().unwrap().is_empty() && problem["reason"].is_string(), "{case}");
}

#[tokio::test]
async fn malformed_and_slow_requests_are_refused_and_affect_no_other() {
    let app = HttpApp::start_with(ScriptedService::default(), |options| {
        options.connections.header_timeout = Duration::from_millis(200);
        options.body_timeout = Duration::from_millis(200);
        options.connections.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let head = "POST /v1/orders HTTP/1.1\r\nhost: pvz\r\ncontent-type: application/json\r\n";
    let fields = (0..10_000).map(|number| format!("\"f{number}\":1,")).collect::<Vec<_>>().concat();
    let body = format!("{{{fields}\"x\":1}}");
    let close = "connection: close\r\n";
    let cases = [
        ("nothing", String::new(), ""),
        ("half a preface", "PRI * HT".to_owned(), ""),
        ("half a head", "GET /v1/orders/1 HTTP/1.1\r\nho".to_owned(), ""),
        ("half a body", format!("{head}content-length: 10\r\n{close}\r\n{{\"o"), "HTTP/1.1 504"),
        ("half a chunk", format!("{head}transfer-encoding: chunked\r\n{close}\r\n5\r\n{{"), "HTTP/1.1 504"),
        ("a bad chunk", format!("{head}transfer-encoding: chunked\r\n{close}\r\nzz\r\n"), "HTTP/1.1 400"),
        ("many fields", format!("{head}{close}content-length: {}\r\n\r\n{body}", body.len()), "HTTP/1.1 400"),
    ];
    for (case, text, expected) in cases {
        let response = raw(&app, text.as_bytes()).await;
        assert!(response.starts_with(expected), "{case}: {response:.300}");
        if !expected.is_empty() {
            assert_problem(case, &response);
        }
        assert!(app.service.calls.lock().unwrap().is_empty(), "{case}");
    }
    assert_eq!(app.get("/v1/orders/1").await.status, 200);
}

/// hyper responds to a request that it cannot parse before the gateway sees it.
#[tokio::test]
async fn unparsable_request_heads_get_an_empty_response() {
    let app = HttpApp::start().await;
    let head = "POST /v1/orders HTTP/1.1\r\nhost: pvz\r\n";
    let cases = [
        ("no HTTP", "\0\0\0\0 GARBAGE \r\n\r\n".to_owned(), "400 Bad Request"),
        ("a NUL in the path", "GET /v1/orders/\0 HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request"),
        (
            "two lengths",
            format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"),
            "400 Bad Request",
        ),
        (
            "a large header",
            format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)),
            "431 Request Header Fields Too Large",
        ),
        (
            "a long path",
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)),
            "431 Request Header Fields Too Large",
        ),
    ];
    for (case, text, status) in cases {
        let response = raw(&app, text.as_bytes()).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{case}: {response:.300}");
        assert!(response.contains("\r\ncontent-length: 0\r\n") && response.ends_with("\r\n\r\n"), "{case}");
    }
    assert!(app.service.calls.lock().unwrap().is_empty());
    assert_eq!(app.get("/v1/orders/1").await.status, 200);
}

#[tokio::test]
async fn a_shutdown_waits_only_for_requests_in_progress() {
    let app = HttpApp::start_with(ScriptedService::default(), |options| {
        options.connections.grace = Duration::from_millis(100);
    })
    .await;
    // Half a head, half a body, a connection that is kept alive, and one without
    // a request.
    let mut held = Vec::new();
    for text in [
        "GET /v1/or",
        "POST /v1/orders HTTP/1.1\r\nhost: pvz\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        "GET /v1/orders/1 HTTP/1.1\r\nhost: pvz\r\n\r\n",
        "",
    ] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let mut first = [0; 12];
    held[2].read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    app.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), app.served).await.expect("it stops").unwrap().unwrap();
    let mut refused = String::new();
    held[1].read_to_string(&mut refused).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"UNAVAILABLE\""), "{refused}");
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert!(TcpStream::connect(app.address).await.is_err());
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let app = HttpApp::start_with(
        ScriptedService { order: order("1").into(), ..ScriptedService::default() },
        |options| {
            options.connections.max_connections = 1;
        },
    )
    .await;
    let mut first_client = TcpStream::connect(app.address).await.unwrap();
    first_client.write_all(b"GET /v1/orders/1 HTTP/1.1\r\nhost: pvz\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    first_client.read_exact(&mut first).await.unwrap();
    let second = raw(&app, b"GET /v1/orders/1 HTTP/1.1\r\nhost: pvz\r\n\r\n").await;
    assert!(second.starts_with("HTTP/1.1 503") && second.contains("\r\nretry-after: 1\r\n"), "{second}");
    assert!(second.contains("\r\nconnection: close\r\n") && second.contains("\"UNAVAILABLE\""), "{second}");
    assert_problem("above the limit", &second);
    drop(first_client);
    wait_until("there is room again", async || app.get("/v1/orders/1").await.status == 200).await;
}

#[tokio::test]
async fn swagger_ui_and_its_document_are_served() {
    let app = HttpApp::start().await;
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js", "index.html"] {
        assert_eq!(app.get(&format!("/swagger-ui/{file}")).await.status, 200, "{file}");
    }
    let document = app.get("/openapi.json").await;
    assert_eq!(document.json()["openapi"], "3.1.0");
    let etag = document.header("etag").to_owned();
    let again = get("/openapi.json").header("if-none-match", &etag).body(Full::default()).unwrap();
    assert_eq!(app.send(again).await.status, 304);
}

/// A proxy may serve REST below a path: then only relative addresses and those with the public
/// URL are right.
#[tokio::test]
async fn addresses_are_relative_or_begin_with_the_public_url() {
    let public = "https://shop.example/pvz";
    for (url, servers, prefix) in [("", vec!["."], ""), (public, vec![public, "."], public)] {
        let app = HttpApp::start_with(ScriptedService::default(), |options| {
            options.public_url = url.into();
        })
        .await;
        let document = app.get("/openapi.json").await.json();
        let urls = document["servers"].as_array().unwrap().iter().map(|server| &server["url"]);
        assert_eq!(urls.collect::<Vec<_>>(), servers);
        let unknown = format!("{prefix}/problems/route-not-found");
        for path in ["/v2", "/swagger-ui/absent.js", "/problems/absent"] {
            assert_eq!(app.get(path).await.json()["type"], unknown, "{path}");
        }
        let faults = [
            (app.post("/v1/packaging", "").await, "method-not-allowed"),
            (app.post("/v1/orders", "{").await, "validation-failed"),
            (app.post("/v1/orders:import", "").await, "unsupported-media-type"),
            (app.get("/v1/events:watch?after=x&x").await, "validation-failed"),
        ];
        for (response, page) in faults {
            assert_eq!(response.json()["type"], format!("{prefix}/problems/{page}"));
        }
        let script = app.get("/swagger-ui/swagger-initializer.js").await.body;
        assert!(String::from_utf8_lossy(&script).contains("new URL(\"../openapi.json\", location)"));
    }
}
