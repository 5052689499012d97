//! Clients that hold a connection: they are silent, do not read, or leave a request
//! incomplete.

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use prost::Message as _;
use pvz::proto::v1;
use pvz::proto::v1::order_service_client::OrderServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;

use super::raw_connection::frame;
use super::requests::{CommandRequest, DecodedRefusal, parcel};
use super::shutdown::assert_quick_shutdown;
use super::test_service::{TestService, wait_until};
use crate::process::TIMEOUT;

/// The client preface of HTTP/2 with empty settings. The client acknowledges nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const WATCH: &str = "/pvz.v1.OrderService/WatchEvents";

/// A request over HTTP/2 that stays open.
struct HeldRequest {
    response: ResponseFuture,
    /// Keeps the request incomplete.
    body: SendStream<Bytes>,
}

impl HeldRequest {
    /// Sends a request on a new connection, with this window for the response. The
    /// server has received it when this returns.
    async fn send(addr: &str, request: Request<()>, body: Bytes, complete: bool, window: u32) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut builder = h2::client::Builder::new();
        let (sender, mut connection) =
            builder.initial_window_size(window).handshake::<_, Bytes>(stream).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let (response, mut rest) = sender.send_request(request, false).unwrap();
        rest.send_data(body, complete).unwrap();
        // The first ping may overtake the request, the second follows it.
        for _ in 0..2 {
            pings.ping(h2::Ping::opaque()).await.unwrap();
        }
        Self { response, body: rest }
    }

    /// Sends a gRPC call whose message stays incomplete.
    async fn half_call(service: &TestService, method: &str) -> Self {
        let message = frame(&parcel("half", "7").encode_to_vec());
        let half = message.slice(..message.len() / 2);
        Self::send(&service.grpc, grpc(&format!("/pvz.v1.OrderService/{method}")), half, false, 65_535).await
    }

    /// Watches the events without a window for them. Returns the start of the response.
    async fn watch_without_window(addr: &str, request: Request<()>) -> (Self, Response<RecvStream>) {
        let from_start = v1::WatchEventsRequest { after: Some("0".to_owned()) };
        let is_grpc = request.uri().path() == WATCH;
        let body = if is_grpc { frame(&from_start.encode_to_vec()) } else { Bytes::new() };
        let mut held = Self::send(addr, request, body, true, 0).await;
        let response = (&mut held.response).await.unwrap();
        (held, response)
    }
}

fn grpc(path: &str) -> Request<()> {
    let request = Request::post(format!("http://pvz{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

fn rest_watch() -> Request<()> {
    Request::get("http://pvz/v1/events:watch?after=0").body(()).unwrap()
}

/// Starts a server with one event.
async fn service_with_an_event(dir: &std::path::Path, config: &str) -> TestService {
    let service = TestService::start(dir, config);
    let reply = CommandRequest::Accept(parcel("1", "7")).send(&service.client().await).await.unwrap();
    assert!(reply.result.is_ok(), "{reply:?}");
    service
}

/// Opens a connection and sends these bytes. Reads nothing.
async fn silent(addr: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_answer_do_not_delay_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    for listener in ["gRPC", "REST"] {
        let service = TestService::start(dir.path(), "");
        let addr = if listener == "gRPC" { &service.grpc } else { &service.http };
        let held = silent(addr, PREFACE).await;
        // Connections are accepted in order, so the silent one has been accepted.
        drop(service.client().await);
        assert_quick_shutdown(service, listener).await;
        drop(held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_without_a_window_do_not_delay_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let service = service_with_an_event(dir.path(), "").await;
    let held = HeldRequest::watch_without_window(&service.grpc, grpc(WATCH)).await;
    assert_quick_shutdown(service, "gRPC").await;
    drop(held);
    let service = TestService::start(dir.path(), "");
    let held = HeldRequest::watch_without_window(&service.http, rest_watch()).await;
    assert_quick_shutdown(service, "REST").await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_calls_do_not_delay_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let call = HeldRequest::half_call(&service, "AcceptOrder").await;
    let import = HeldRequest::half_call(&service, "ImportOrders").await;
    let start = "POST /v1/orders HTTP/1.1\r\nhost: pvz\r\ncontent-type: application/json\r\n";
    let rest = silent(&service.http, format!("{start}content-length: 10\r\n\r\n{{").as_bytes()).await;
    drop(service.client().await);
    assert_quick_shutdown(service, "half-sent calls").await;
    let response = call.response.await.unwrap();
    let status = Status::from_header_map(response.headers()).expect("a status");
    let refused = DecodedRefusal::from_status(&status).unwrap_or_else(|| panic!("{status:?}"));
    assert!(refused.reason == "UNAVAILABLE" && refused.retry, "{refused:?}");
    drop((call.body, import, rest));
}

/// Both endpoints have room for one connection, and one client has it. Further clients are
/// told so, and the admin endpoint serves as before.
#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_limit_are_refused_and_admin_stays_reachable() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "[server]\nmax_connections = 1\n");
    let only = service.client().await;
    assert!(CommandRequest::Accept(parcel("1", "7")).send(&only).await.unwrap().result.is_ok());
    let reply = CommandRequest::Accept(parcel("2", "7")).send(&service.client().await).await.unwrap();
    let refused = reply.result.as_ref().unwrap_err();
    assert!(refused.reason == "UNAVAILABLE" && refused.retry, "{refused:?}");

    let only_rest = silent(&service.http, b"").await;
    let mut flood = Vec::new();
    for addr in [&service.grpc, &service.http] {
        for _ in 0..100 {
            flood.push(silent(addr, b"").await);
        }
    }
    assert_eq!(service.ready(), Some(true));
    assert!(CommandRequest::Accept(parcel("3", "7")).send(&only).await.unwrap().result.is_ok());
    drop((only, only_rest, flood));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", service.grpc)).unwrap();
    let later = OrderServiceClient::new(endpoint.connect_lazy());
    wait_until("there is room again", async || {
        let reply = CommandRequest::Accept(parcel("4", "7")).send(&later).await;
        reply.is_ok_and(|reply| reply.result.is_ok())
    })
    .await;
    service.stop();
}

const SHORT_TIMEOUTS: &str =
    "[server]\nheader_timeout = \"200ms\"\nidle_timeout = \"400ms\"\nwrite_timeout = \"300ms\"\n";

/// Waits until the server closes a connection.
async fn assert_closed(mut stream: TcpStream, what: &str) {
    let mut response = Vec::new();
    let closed = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut response)).await;
    // A reset is an end too.
    assert!(closed.is_ok(), "{what}: the connection is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed_on_every_face() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SHORT_TIMEOUTS);
    let half_head = b"GET /livez HTTP/1.1\r\nho";
    let kept_alive = b"GET /livez HTTP/1.1\r\nhost: pvz\r\n\r\n";
    for (endpoint, addr, protocols) in [
        ("gRPC", &service.grpc, &[PREFACE][..]),
        ("REST", &service.http, &[PREFACE, half_head, kept_alive]),
        ("admin", &service.admin, &[half_head, kept_alive]),
    ] {
        assert_closed(silent(addr, b"").await, endpoint).await;
        assert_closed(silent(addr, &PREFACE[..10]).await, endpoint).await;
        for bytes in protocols {
            let what = format!("{endpoint}: {}", String::from_utf8_lossy(bytes));
            assert_closed(silent(addr, bytes).await, &what).await;
        }
    }
    service.stop();
}

/// Only the stream ends: other calls on the connection go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_client_takes_nothing_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let service = service_with_an_event(dir.path(), SHORT_TIMEOUTS).await;
    for (addr, request) in [(&service.grpc, grpc(WATCH)), (&service.http, rest_watch())] {
        let (mut held, response) = HeldRequest::watch_without_window(addr, request).await;
        let reset = futures::future::poll_fn(|context| held.body.poll_reset(context));
        let reset = tokio::time::timeout(TIMEOUT, reset).await.expect("the stream ends").unwrap();
        assert_eq!(reset, h2::Reason::CANCEL);
        drop(response);
    }
    service.stop();
}
