//! Requests that never arrive completely. Their memory is limited in all, and
//! complete requests are served meanwhile.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{self, FuturesUnordered};
use futures::{Stream, StreamExt as _};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pvz::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use super::requests::{CommandRequest, DecodedRefusal, parcel};
use super::test_service::{TestService, wait_until};

/// Room for five of the incomplete requests.
const SMALL: &str = "[server]\nrequest_memory = \"1MiB\"\n";
const INCOMPLETE: usize = 200_000;
const CLIENTS: usize = 6;

/// Returns a frame that announces one byte more than it has.
fn incomplete_frame() -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(INCOMPLETE + 1).unwrap());
    frame.put_bytes(0, INCOMPLETE);
    frame.freeze()
}

fn open_ended(data: Bytes) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    stream::once(async { Ok(Frame::data(data)) }).chain(stream::pending())
}

/// Begins a call over a connection of its own, and returns its status if the server
/// ends it.
pub async fn begin_grpc(address: String, method: &'static str) -> Status {
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://pvz/pvz.v1.OrderService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let body = StreamBody::new(Box::pin(open_ended(incomplete_frame())));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    Status::from_header_map(response.headers()).expect("refused before any answer")
}

/// Begins a request over a connection of its own, and returns the answer if there
/// is one.
pub async fn begin_rest(address: String, path: &'static str) -> String {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: pvz\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        INCOMPLETE + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Fails if the answer comes first.
    let _ = stream.write_all(&vec![b' '; INCOMPLETE]).await;
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_messages_share_a_limit_over_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SMALL);
    let client = service.client().await;
    let mut begun: FuturesUnordered<_> =
        (0..CLIENTS).map(|_| begin_grpc(service.grpc.clone(), "AcceptOrder")).collect();
    let status = begun.next().await.unwrap();
    let refused = DecodedRefusal::from_status(&status).unwrap();
    assert_eq!((refused.reason.as_str(), refused.code), ("OVERLOADED", Code::ResourceExhausted));
    assert!(refused.retry);
    let reply = CommandRequest::Accept(parcel("1", "7")).send(&client).await.unwrap();
    assert!(reply.result.is_ok(), "{reply:?}");
    assert_slow_request_succeeds(&service.http).await;
    drop(begun);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_bodies_share_a_limit_over_rest() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SMALL);
    let client = service.client().await;
    let mut begun: FuturesUnordered<_> =
        (0..CLIENTS).map(|_| begin_rest(service.http.clone(), "/v1/orders")).collect();
    let answer = begun.next().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("OVERLOADED") && answer.contains("retry-after: 1"), "{answer}");
    let reply = CommandRequest::Accept(parcel("1", "7")).send(&client).await.unwrap();
    assert!(reply.result.is_ok(), "{reply:?}");
    assert_slow_request_succeeds(&service.http).await;
    drop(begun);
    service.stop();
}

/// Sends a request byte by byte, with pauses: the server must wait for each byte, as for a slow
/// client. The request is younger than those that fill the memory.
async fn assert_slow_request_succeeds(addr: &str) {
    let body = "{\"orderIds\":[\"none\"]}";
    let head = "POST /v1/orders:issue HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\n";
    let head = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in body.as_bytes() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("ORDER_NOT_FOUND"), "{answer}");
}

/// Streams have their own share of the limit: while all of them are open, other calls are served.
#[tokio::test(flavor = "multi_thread")]
async fn open_streams_are_limited_and_other_calls_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SMALL);
    let client = service.client().await;
    let mut watchers = Vec::new();
    let refused = loop {
        match client.clone().watch_events(v1::WatchEventsRequest::default()).await {
            Ok(events) => watchers.push(events),
            Err(status) => break DecodedRefusal::from_status(&status).unwrap(),
        }
        assert!(watchers.len() <= 1_000, "no limit");
    };
    assert_eq!((refused.reason.as_str(), refused.retry), ("OVERLOADED", true));
    assert_eq!(watchers.len(), 32, "half of 1 MiB in streams of 16 KiB");
    let reply = CommandRequest::Accept(parcel("1", "7")).send(&client).await.unwrap();
    assert!(reply.result.is_ok(), "{reply:?}");
    assert_slow_request_succeeds(&service.http).await;
    watchers.pop();
    wait_until("another stream fits", async || {
        client.clone().watch_events(v1::WatchEventsRequest::default()).await.is_ok()
    })
    .await;
    drop(watchers);
    service.stop();
}
