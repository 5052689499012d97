//! CPU-heavy requests. With two cores the server runs on one thread, so a long computation for one
//! request delays all others.
//!
//! The service runs in this process on one worker thread, next to a task that wakes up each
//! millisecond. The stall is the CPU time of the thread between two wake-ups, so other programs on
//! the machine do not count. `--nocapture` prints a table.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use pvz::compose::{self, Environment};
use pvz::config::{Config, Sources};
use pvz::lifecycle::Lifecycle;
use pvz::proto::{self, v1};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::raw_connection::frame;
use crate::support::time::{SECOND, START, SequentialIds, TestClock};

/// The target for the longest stall, in the release profile.
const TARGET: Duration = Duration::from_millis(10);
/// The test allows five times the target, and ten times in the unoptimised development profile.
const ALLOWED: Duration = TARGET.saturating_mul(if cfg!(debug_assertions) { 10 } else { 5 });
/// The number of runs of each request. The run with the lowest maximum stall counts.
const ROUNDS: usize = 3;
const MAX_BODY: usize = 256 * 1024;
const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];
/// A deadline that the clock of the tests allows.
const STORAGE_UNTIL: &str = "2027-02-09T00:00:00Z";

/// The service on one worker thread, which measures its stalls.
struct SingleThread {
    runtime: Option<Runtime>,
    life: Lifecycle,
    grpc: SocketAddr,
    http: SocketAddr,
    /// The longest stall so far, in nanoseconds.
    longest: Arc<AtomicU64>,
    wake_ups: watch::Receiver<u64>,
}

/// Returns the CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

async fn measure(longest: Arc<AtomicU64>, wake_ups: watch::Sender<u64>) {
    let mut before = cpu_time();
    loop {
        // Not a wait for a condition: a task that is due each millisecond shows the stalls.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = cpu_time();
        longest.fetch_max(now.saturating_sub(before).as_nanos().try_into().unwrap(), Ordering::Relaxed);
        before = now;
        wake_ups.send_modify(|count| *count += 1);
    }
}

impl SingleThread {
    fn start(folder: &std::path::Path) -> Self {
        let mut sources = Sources { data_dir: Some(folder.to_owned()), ..Sources::default() };
        for flag in ["--grpc-addr", "--http-addr", "--admin-addr"] {
            sources.flags.push((flag, "127.0.0.1:0".to_owned()));
        }
        let (config, _) = Config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let life = Lifecycle::new();
        let clock = Arc::new(TestClock::default());
        let environment = Environment { clock, ids: Arc::new(SequentialIds::default()) };
        let addresses = runtime.block_on(compose::start(&config, environment, &life)).unwrap();
        let longest = Arc::new(AtomicU64::new(0));
        let (sender, wake_ups) = watch::channel(0);
        runtime.spawn(measure(Arc::clone(&longest), sender));
        Self { runtime: Some(runtime), life, grpc: addresses.grpc, http: addresses.http, longest, wake_ups }
    }

    /// Waits until the present computation has been measured.
    async fn measured(&self) {
        let mut wake_ups = self.wake_ups.clone();
        for _ in 0..2 {
            wake_ups.changed().await.unwrap();
        }
    }

    /// Runs requests a few times. Returns the longest stall of the best run, and the last status.
    async fn stall<S: std::fmt::Display>(&self, mut requests: impl AsyncFnMut(usize) -> S) -> (Duration, S) {
        let mut best: Option<(u64, S)> = None;
        for round in 0..ROUNDS {
            self.measured().await;
            self.longest.store(0, Ordering::Relaxed);
            let status = requests(round).await;
            self.measured().await;
            let longest = self.longest.load(Ordering::Relaxed);
            if best.as_ref().is_none_or(|(least, _)| longest < *least) {
                best = Some((longest, status));
            }
        }
        let (longest, status) = best.unwrap();
        (Duration::from_nanos(longest), status)
    }

    /// Sends a REST request on a new connection. Returns the status and the size of the answer.
    async fn rest(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> String {
        let stream = TcpStream::connect(self.http).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "pvz");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let size = response.into_body().collect().await.unwrap().to_bytes().len();
        format!("{status}, {size} bytes")
    }

    async fn post(&self, path: &str, body: impl Into<Bytes>) -> String {
        self.rest("POST", path, &[("content-type", "application/json")], body.into()).await
    }

    /// Calls a gRPC method on a new connection. Returns the status and the size of the answer.
    async fn grpc(&self, method: &str, message: &[u8], headers: &[(&str, &str)]) -> String {
        self.grpc_stream(method, frame(message), headers).await
    }

    /// Calls a gRPC method, and reads all messages of its stream.
    async fn grpc_stream(&self, method: &str, frames: Bytes, headers: &[(&str, &str)]) -> String {
        let stream = TcpStream::connect(self.grpc).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://pvz/pvz.v1.OrderService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(frames)).unwrap()).await.unwrap();
        let head = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await.unwrap();
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()).or(head);
        let status = status.map(|status| status.to_str().unwrap().to_owned()).unwrap_or_default();
        format!("{status}, {} bytes", body.to_bytes().len())
    }
}

impl Drop for SingleThread {
    fn drop(&mut self) {
        self.life.drain();
        // These tests do not check how the service ends.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns a text as large as the largest body: `head`, copies of `item`, `tail`.
fn filled(head: &str, item: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let item = item(number);
        if text.len() + item.len() + tail.len() >= MAX_BODY {
            break;
        }
        text.push_str(&item);
    }
    text + tail
}

/// Returns rows of an import with the longest usual fields.
fn rows(prefix: &str, count: usize) -> String {
    (0..count).fold(String::new(), |mut rows, n| {
        let order_id = format!("{prefix}-{n:0>50}");
        writeln!(
            rows,
            r#"{{"orderId":"{order_id}","customerId":"customer-{prefix:0>50}","pickupPointId":"main","storageUntil":"{STORAGE_UNTIL}","weightGrams":"1234","priceMinor":"12345678","packaging":["box","film"]}}"#
        )
        .unwrap();
        rows
    })
}

/// The table of stalls.
struct Table<'s> {
    service: &'s SingleThread,
    /// Each attack with its longest stall and its last status.
    rows: Vec<(String, Duration, String)>,
}

impl Table<'_> {
    async fn add(&mut self, attack: &str, requests: impl AsyncFnMut(usize) -> String) {
        let (stall, status) = self.service.stall(requests).await;
        println!("{:>9.2} ms  {attack} ({status})", stall.as_secs_f64() * 1e3);
        self.rows.push((attack.to_owned(), stall, status));
    }

    /// Sends a body of the largest size.
    async fn body(&mut self, attack: &str, path: &str, body: &str) {
        assert!(body.len() > MAX_BODY - 1024 && body.len() <= MAX_BODY, "{attack}: {} bytes", body.len());
        let service = self.service;
        self.add(attack, async |_| service.post(path, body.to_owned()).await).await;
    }
}

async fn lists(table: &mut Table<'_>) {
    let service = table.service;
    for path in ["/v1/orders?pageSize=1000", "/v1/orders?lastN=1000", "/v1/events?pageSize=1000"] {
        for (format, headers) in [("", &[] as &[_]), (" as gzip", GZIP)] {
            let attack = format!("REST {path}{format}");
            table.add(&attack, async |_| service.rest("GET", path, headers, Bytes::new()).await).await;
        }
    }
    let list = v1::ListOrdersRequest { page_size: 1_000, ..Default::default() }.encode_to_vec();
    let events = v1::ListEventsRequest { page_size: 1_000, ..Default::default() }.encode_to_vec();
    for (method, message) in [("ListOrders", &list), ("ListEvents", &events)] {
        for (format, headers) in
            [("", &[] as &[_]), (" as gzip", &[("grpc-accept-encoding", "gzip")] as &[_])]
        {
            let attack = format!("gRPC {method} of 1,000{format}");
            table.add(&attack, async |_| service.grpc(method, message, headers).await).await;
        }
    }
    let together = async |_| {
        let lists = (0..32).map(|_| service.rest("GET", "/v1/orders?pageSize=1000", GZIP, Bytes::new()));
        join_all(lists).await.pop().unwrap()
    };
    table.add("32 lists of 1,000 as gzip at once", together).await;
}

async fn bodies(table: &mut Table<'_>) {
    let list = |item: fn(usize) -> String| filled(r#"{"orderIds":["#, item, "null]}");
    let members = |item: fn(usize) -> String| filled("{", item, r#""orderIds":[]}"#);
    let issue = "/v1/orders:issue";
    table.body("ids", issue, &list(|n| format!("\"order-{n}\","))).await;
    table.body("long ids", issue, &list(|n| format!("\"{n:0>64}\","))).await;
    table.body("empty ids", issue, &list(|_| "\"\",".to_owned())).await;
    table.body("numbers for ids", issue, &list(|n| format!("{},", n % 10))).await;
    table.body("objects for ids", issue, &list(|_| "{},".to_owned())).await;
    table.body("escapes", issue, &list(|_| r#""\u0041\n","#.to_owned())).await;
    table.body("unknown members", issue, &members(|n| format!("\"f{n}\":0,"))).await;
    table.body("repeated members", issue, &members(|_| r#""mode":0,"#.to_owned())).await;
    table.body("wrong types", issue, &members(|_| r#""mode":[],"#.to_owned())).await;
    table.body("objects in objects", issue, &filled("", |_| r#"{"a":"#.to_owned(), "")).await;
    table.body("lists in lists", issue, &filled(r#"{"orderIds":"#, |_| "[".to_owned(), "")).await;
    let accept = |head: &str, item: &str, tail: &str| {
        filled(&format!(r#"{{"orderId":"1","customerId":"1",{head}"#), |_| item.to_owned(), tail)
    };
    for (attack, body) in [
        ("a long number", accept(r#""priceMinor":"#, "1", "}")),
        ("a long quoted number", accept(r#""priceMinor":""#, "1", r#""}"#)),
        ("a long fraction", accept(r#""priceMinor":0."#, "0", "}")),
        ("a long exponent", accept(r#""priceMinor":1e-"#, "9", "}")),
        ("a long text", accept(r#""requestId":""#, "é", r#""}"#)),
        ("a long instant", accept(r#""storageUntil":"2026-11-01T00:00:00."#, "1", r#"Z"}"#)),
        ("packaging", accept(r#""packaging":["#, r#""box","#, r#""film"]}"#)),
    ] {
        table.body(attack, "/v1/orders", &body).await;
    }
}

async fn messages(table: &mut Table<'_>) {
    let service = table.service;
    let ids = |id: &str| {
        let ids = vec![id.to_owned(); (MAX_BODY - 1_024) / (id.len() + 2)];
        v1::IssueOrdersRequest { order_ids: ids, ..Default::default() }.encode_to_vec()
    };
    for (attack, message) in [("ids", ids("order-1")), ("empty ids", ids("")), ("strange ids", ids("é"))] {
        let attack = format!("gRPC IssueOrders with {attack}");
        table.add(&attack, async |_| service.grpc("IssueOrders", &message, &[]).await).await;
    }
    let token = "A".repeat(60 * 1024);
    let path = format!("/v1/orders?pageToken={token}");
    table
        .add("REST page token of 60 KiB", async |_| service.rest("GET", &path, &[], Bytes::new()).await)
        .await;
    let message = v1::ListOrdersRequest { page_token: "A".repeat(MAX_BODY - 64), ..Default::default() };
    let message = message.encode_to_vec();
    table.add("gRPC page token of 256 KiB", async |_| service.grpc("ListOrders", &message, &[]).await).await;
    let parameters: Vec<String> = (0..200).map(|n| format!("{n:x<300}={n}")).collect();
    let path = format!("/v1/orders?{}", parameters.join("&"));
    table.add("200 long parameters", async |_| service.rest("GET", &path, &[], Bytes::new()).await).await;
    let path = format!("/v1/orders?{}", "states=STORED&".repeat(199));
    table.add("200 states", async |_| service.rest("GET", &path, &[], Bytes::new()).await).await;
}

async fn commands(table: &mut Table<'_>) {
    let service = table.service;
    let batch = async |round: usize| {
        let ids: Vec<String> =
            (round * 100..round * 100 + 100).map(|n| format!("\"order-{n:0>50}\"")).collect();
        service.post("/v1/orders:issue", format!(r#"{{"orderIds":[{}]}}"#, ids.join(","))).await
    };
    table.add("a full batch", batch).await;
    let ndjson: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];
    let import = async |round: usize| {
        let rows = rows(&format!("import-{round}"), 1_000);
        service.rest("POST", "/v1/orders:import", ndjson, rows.into()).await
    };
    table.add("an import of 1,000 rows", import).await;
    let import = async |round: usize| {
        let row = |n| {
            let order = v1::AcceptOrderRequest {
                order_id: format!("grpc-{round}-{n}"),
                customer_id: "1".to_owned(),
                storage_until: Some(proto::Timestamp { seconds: START / SECOND + 86_400, nanos: 0 }),
                ..Default::default()
            };
            frame(&v1::ImportOrdersRequest { order: Some(order) }.encode_to_vec())
        };
        let frames: Vec<Bytes> = (0..1_000).map(row).collect();
        service.grpc_stream("ImportOrders", frames.concat().into(), &[]).await
    };
    table.add("a gRPC import of 1,000 rows", import).await;
    let line = format!("{{\"orderId\":\"1\",\"packaging\":[{}1]}}\n", "1,".repeat(32_000));
    let lines = line.repeat(8);
    let import = async |_| service.rest("POST", "/v1/orders:import", ndjson, lines.clone().into()).await;
    table.add("an import of long lines with faults", import).await;
}

/// Reads the log as streams, up to an amount of data.
async fn watchers(table: &mut Table<'_>) {
    let service = table.service;
    let watch = async |_: usize| {
        let stream = TcpStream::connect(service.http).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/v1/events:watch?after=0").header("host", "pvz");
        let response = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        let status = response.status();
        let (mut body, mut size) = (response.into_body(), 0);
        while size < 500_000 {
            size += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        status.to_string()
    };
    table.add("a watcher from the oldest event", watch).await;
}

#[test]
fn no_request_holds_the_thread() {
    let folder = tempfile::tempdir().unwrap();
    let service = SingleThread::start(folder.path());
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    let mut table = Table { service: &service, rows: Vec::new() };
    client.block_on(async {
        let ndjson: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];
        let filled = service.rest("POST", "/v1/orders:import", ndjson, rows("order", 1_200).into()).await;
        assert!(filled.starts_with("200"), "{filled}");
        lists(&mut table).await;
        bodies(&mut table).await;
        messages(&mut table).await;
        commands(&mut table).await;
        watchers(&mut table).await;
    });
    let long: Vec<_> = table.rows.iter().filter(|(_, stall, _)| *stall > ALLOWED).collect();
    assert!(long.is_empty(), "the thread computed for longer than {ALLOWED:?}: {long:#?}");
}
