//! Streams over REST: the import and the event stream.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use pvz::proto::v1;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::http_support::{HttpApp, ScriptedService, event, get, post};

type Rows = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

/// A body that the test sends step by step.
type RowBody = StreamBody<ReceiverStream<Result<Frame<Bytes>, std::io::Error>>>;

fn body() -> (Rows, RowBody) {
    let (rows, receiver) = mpsc::channel(1);
    (rows, StreamBody::new(ReceiverStream::new(receiver)))
}

async fn send(rows: &Rows, text: &str) {
    rows.send(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))).await.unwrap();
}

fn nothing() -> Full<Bytes> {
    Full::default()
}

/// Reads the lines of a response body.
struct LineReader {
    body: hyper::body::Incoming,
    buffer: String,
}

impl LineReader {
    fn new(response: hyper::Response<hyper::body::Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), buffer: String::new() }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.buffer.split_once('\n') {
                let line = line.to_owned();
                self.buffer = rest.to_owned();
                return Some(line);
            }
            let frame = self.body.frame().await?.unwrap();
            self.buffer.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.line().await.expect("a line")).unwrap()
    }
}

/// A row that the store accepts.
fn row(order_id: &str) -> String {
    format!("{{\"orderId\":\"{order_id}\",\"customerId\":\"1\",\"storageUntil\":\"2026-11-15T00:00:00Z\"}}")
}

fn ndjson() -> http::request::Builder {
    http::Request::post("/v1/orders:import")
        .header("host", "pvz")
        .header("content-type", "application/x-ndjson")
}

#[tokio::test]
async fn rows_get_results_as_they_arrive() {
    let app = HttpApp::start().await;
    let (rows, body) = body();
    let mut lines = LineReader::new(app.open(ndjson().body(body).unwrap()).await);
    // A row in two chunks, the second with the first half of the next row.
    let (first, second) = (row("a"), row("b"));
    send(&rows, &first[..11]).await;
    send(&rows, &format!("{}\r\n{}", &first[11..], &second[..7])).await;
    let first = lines.json().await;
    assert_eq!((&first["index"], &first["result"]["orderId"]), (&"0".into(), &"a".into()));
    assert_eq!(first["result"]["order"]["state"], "ORDER_STATE_STORED");
    assert_eq!(first["alreadyExisted"], false);
    // Blank lines take no index, and the last row needs no line end.
    send(&rows, &format!("{}\n\n \t\r\n{}", &second[7..], row("c"))).await;
    assert_eq!(lines.json().await["result"]["orderId"], "b");
    drop(rows);
    let last = lines.json().await;
    assert_eq!((&last["index"], &last["result"]["orderId"]), (&"2".into(), &"c".into()));
    assert_eq!(lines.line().await, None);
}

#[tokio::test]
async fn a_broken_line_fails_only_its_row() {
    let app = HttpApp::start().await;
    let long = format!("{{\"orderId\":\"{}\"}}", "x".repeat(65_536));
    let text = [
        "nonsense",
        &row("a"),
        "{\"orderId\":\"b\"",
        "{\"orderId\":7}",
        "\u{feff}{}",
        "{\"orderId\":\"c\",\"wrong\":1}",
        &long,
        &row("d"),
        "[]",
    ]
    .join("\n");
    let response = app.send(ndjson().body(Full::from(text)).unwrap()).await;
    let mut lines: Vec<Value> = String::from_utf8_lossy(&response.body)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.sort_by_key(|line| line["index"].as_str().unwrap().parse::<u32>().unwrap());
    let mut shown = String::new();
    for line in lines {
        let (result, refusal) = (&line["result"], &line["result"]["refusal"]);
        writeln!(
            shown,
            "{} {} {} {}",
            line["index"], result["orderId"], refusal["message"], refusal["metadata"]
        )
        .unwrap();
    }
    insta::assert_snapshot!("broken_lines", shown);
}

#[tokio::test]
async fn a_slow_reader_stops_the_reading_of_rows() {
    let app = HttpApp::start().await;
    let (rows, body) = body();
    let mut lines = LineReader::new(app.open(ndjson().body(body).unwrap()).await);
    // Every field is at fault, so that results are large.
    let row = "{\"orderId\":\"*\",\"customerId\":\"*\",\"pickupPointId\":\"*\",\"requestId\":\" \",\
               \"weightGrams\":0,\"priceMinor\":-1}\n"
        .repeat(100);
    // No results are read, so rows back up into the socket buffers, and no
    // further.
    let sending = async {
        let mut sent = 0;
        while tokio::time::timeout(Duration::from_secs(1), send(&rows, &row)).await.is_ok() {
            sent += 1;
            assert!(sent < 10_000, "the server reads an unlimited number of rows");
        }
        sent
    };
    let sent = sending.await;
    assert!(sent > 0);
    // Once results are read, all of them arrive.
    drop(rows);
    for _ in 0..sent * 100 {
        lines.json().await;
    }
}

#[tokio::test]
async fn an_import_is_refused_as_a_whole_before_it_begins() {
    let app = HttpApp::start().await;
    let keyed = app.send(ndjson().header("idempotency-key", "k").body(Full::from("{}")).unwrap()).await;
    assert_eq!(keyed.reason(), "VALIDATION_FAILED");
    assert_eq!(keyed.json()["metadata"]["field"], "Idempotency-Key");
    assert_eq!(app.post("/v1/orders:import", "{}").await.reason(), "UNSUPPORTED_MEDIA_TYPE");
    let actor = app.send(ndjson().header("pvz-actor", "nobody").body(Full::from("{}")).unwrap()).await;
    assert_eq!((actor.status.as_u16(), actor.reason().as_str()), (400, "VALIDATION_FAILED"));
    assert_eq!(actor.json()["metadata"]["field"], "pvz-actor");
}

#[tokio::test]
async fn an_import_ends_with_a_problem_when_the_service_stops() {
    let app = HttpApp::start().await;
    let (rows, body) = body();
    let mut lines = LineReader::new(app.open(ndjson().body(body).unwrap()).await);
    send(&rows, &format!("{}\n", row("a"))).await;
    assert_eq!(lines.json().await["result"]["orderId"], "a");
    app.shutdown.cancel();
    assert_eq!(lines.json().await["problem"]["reason"], "UNAVAILABLE");
    assert_eq!(lines.line().await, None);
    tokio::time::timeout(Duration::from_secs(10), app.served).await.expect("it stops").unwrap().unwrap();
}

#[tokio::test]
async fn an_import_that_pauses_too_long_is_ended() {
    let app = HttpApp::start_with(ScriptedService::default(), |options| {
        options.stream_timeout = Duration::from_millis(100);
    })
    .await;
    let (rows, body) = body();
    let mut lines = LineReader::new(app.open(ndjson().body(body).unwrap()).await);
    send(&rows, &format!("{}\n{{", row("a"))).await;
    assert_eq!(lines.json().await["result"]["orderId"], "a");
    assert_eq!(lines.json().await["problem"]["reason"], "DEADLINE_EXCEEDED");
}

type Events = mpsc::Sender<Result<v1::Event, Status>>;

async fn watched(change: impl FnOnce(&mut pvz::adapters::http::HttpOptions)) -> (HttpApp, Events) {
    let (events, receiver) = mpsc::channel(1);
    let app = HttpApp::start_with(
        ScriptedService { events: Some(receiver).into(), ..ScriptedService::default() },
        change,
    )
    .await;
    (app, events)
}

#[tokio::test]
async fn events_are_watched_line_by_line() {
    let (app, events) = watched(|_| {}).await;
    let mut lines = LineReader::new(app.open(get("/v1/events:watch?after=5").body(nothing()).unwrap()).await);
    insta::assert_snapshot!(app.service.last_call().message, @r#"WatchEventsRequest { after: Some("5") }"#);
    events.send(Ok(event(6))).await.unwrap();
    let first = lines.json().await;
    assert_eq!((&first["cursor"], &first["type"]), (&"6".into(), &"EVENT_TYPE_ORDER_ACCEPTED".into()));
    events.send(Ok(event(7))).await.unwrap();
    assert_eq!(lines.json().await["cursor"], "7");
    events.send(Err(Status::unavailable("gone"))).await.unwrap();
    assert_eq!(lines.json().await["problem"]["reason"], "UNAVAILABLE");
    assert_eq!(lines.line().await, None);
}

#[tokio::test]
async fn events_are_watched_as_server_sent_events() {
    let (app, events) = watched(|_| {}).await;
    let request = get("/v1/events:watch?after=5")
        .header("accept", "text/html;q=0.5, text/event-stream")
        .header("last-event-id", "8");
    let response = app.open(request.body(nothing()).unwrap()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["vary"], "accept");
    insta::assert_snapshot!(app.service.last_call().message, @r#"WatchEventsRequest { after: Some("8") }"#);
    let mut lines = LineReader::new(response);
    events.send(Ok(event(9))).await.unwrap();
    assert_eq!(lines.line().await.unwrap(), "id: 9");
    let data = lines.line().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(data.strip_prefix("data: ").unwrap()).unwrap()["cursor"], "9");
    assert_eq!(lines.line().await.unwrap(), "");
    app.shutdown.cancel();
    assert_eq!(lines.line().await.unwrap(), "event: problem");
    assert!(lines.line().await.unwrap().starts_with("data: {\"problem\":{"));
    assert_eq!(lines.line().await.unwrap(), "");
    assert_eq!(lines.line().await, None);
    tokio::time::timeout(Duration::from_secs(10), app.served).await.expect("it stops").unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_stream_sends_heartbeats() {
    for (accept, beat) in [("*/*", ""), ("text/event-stream", ":")] {
        let (app, events) = watched(|options| options.heartbeat = Duration::from_millis(20)).await;
        let request = get("/v1/events:watch").header("accept", accept).body(nothing()).unwrap();
        let mut lines = LineReader::new(app.open(request).await);
        assert_eq!(lines.line().await.unwrap(), beat);
        drop(events);
    }
}

#[tokio::test]
async fn a_watch_is_refused_with_a_problem() {
    let app = HttpApp::start().await;
    *app.service.refuse.lock().unwrap() = Some(Status::out_of_range("archived"));
    let response = app.get("/v1/events:watch?after=1").await;
    assert_eq!((response.status.as_u16(), response.reason().as_str()), (410, "CURSOR_EXPIRED"));
    let request = get("/v1/events:watch").header("last-event-id", "x").body(nothing()).unwrap();
    assert_eq!(app.send(request).await.json()["metadata"]["field"], "Last-Event-ID");
    let both = post("/v1/events:watch").body(nothing()).unwrap();
    assert_eq!(app.send(both).await.header("allow"), "GET, HEAD, OPTIONS");
}

#[tokio::test]
async fn a_client_that_disconnects_ends_its_stream() {
    let (app, events) = watched(|_| {}).await;
    let response = app.open(get("/v1/events:watch").body(nothing()).unwrap()).await;
    drop(response);
    let left = futures::stream::repeat(())
        .then(|()| events.send(Ok(event(1))))
        .any(|sent| async move { sent.is_err() });
    assert!(tokio::time::timeout(Duration::from_secs(10), left).await.expect("the stream is dropped"));
}

#[tokio::test]
async fn a_client_that_stops_reading_is_disconnected() {
    let (app, events) =
        watched(|options| options.connections.write_timeout = Duration::from_millis(200)).await;
    let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let request = b"GET /v1/events:watch HTTP/1.1\r\nhost: pvz\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    let large = v1::Event { event_id: "x".repeat(100_000), ..event(1) };
    let cut = futures::stream::repeat(())
        .then(|()| events.send(Ok(large.clone())))
        .any(|sent| async move { sent.is_err() });
    assert!(tokio::time::timeout(Duration::from_secs(20), cut).await.expect("the stream is dropped"));
}
