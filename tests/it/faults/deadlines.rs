//! Deadlines: a command whose deadline passes before the work begins has no effect.

use std::convert::Infallible;

use futures::{StreamExt as _, stream};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use pvz::proto::v1;
use tokio::net::TcpStream;
use tonic::{Code, Status};

use super::raw_connection::{RawConnection, frame};
use super::requests::{CommandRequest, DecodedRefusal, get, parcel};
use super::test_service::{TestService, wait_until};

const LONG_BUSY_TIMEOUT: &str = "[store]\nbusy_timeout = \"60s\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_deadline_passes_in_the_queue_has_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), LONG_BUSY_TIMEOUT);
    let client = service.client().await;
    let raw = RawConnection::connect(&service.grpc).await;
    let lock = service.foreign_lock();
    let first = CommandRequest::Accept(parcel("first", "7"));
    let first_client = client.clone();
    let mut first = Box::pin(async move { first.send(&first_client).await.unwrap() });
    // The call starts here, and round trips give it time to reach the writers, so
    // that later calls are not in its batch.
    assert!(futures::poll!(&mut first).is_pending());
    let first = tokio::spawn(first);
    for _ in 0..10 {
        assert_eq!(get(&client, "none").await, None);
    }
    // The raw connection has no timeout of its own, so each response is from the
    // service. The first batch is blocked, so these calls wait in the queue.
    for timeout in ["50m", "200000u", "1n", "0S"] {
        let response = raw.call("AcceptOrder", &parcel("late", "7"), &[("grpc-timeout", timeout)]).await;
        assert_eq!(response.status.code(), Code::DeadlineExceeded, "{timeout}: {:?}", response.status);
        let refused = DecodedRefusal::from_status(&response.status)
            .unwrap_or_else(|| panic!("{timeout}: {:?}", response.status));
        assert_eq!(refused.reason, "DEADLINE_EXCEEDED");
    }
    drop(lock);
    assert!(first.await.unwrap().result.is_ok());
    // The queue is in order: once a later command is done, the earlier ones are too.
    assert!(CommandRequest::Accept(parcel("last", "7")).send(&client).await.unwrap().result.is_ok());
    assert_eq!(get(&client, "late").await, None);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_deadline_gets_the_default_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{LONG_BUSY_TIMEOUT}[server]\nrequest_timeout = \"200ms\"\n");
    let service = TestService::start(dir.path(), &config);
    let client = service.client().await;
    let lock = service.foreign_lock();
    let reply = CommandRequest::Accept(parcel("1", "7")).send(&client).await.unwrap();
    assert_eq!(reply.reason(), "DEADLINE_EXCEEDED");
    drop(lock);
    let again = v1::AcceptOrderRequest { request_id: Some("again".to_owned()), ..parcel("1", "7") };
    wait_until("the order is accepted", async || {
        let reply = CommandRequest::Accept(again.clone()).send(&client).await.unwrap();
        reply.result.is_ok() || reply.reason() == "ORDER_ALREADY_EXISTS"
    })
    .await;
    service.stop();
}

/// An incomplete request times out and does not delay the shutdown.
#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_request_gets_the_default_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "[server]\nrequest_timeout = \"200ms\"\n");
    let stream = TcpStream::connect(&service.grpc).await.unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let half = frame(&parcel("1", "7").encode_to_vec()).split_to(9);
    let body = stream::iter([Ok::<_, Infallible>(Frame::data(half))]).chain(stream::pending());
    let request = Request::post("http://pvz/pvz.v1.OrderService/AcceptOrder")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(body))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(DecodedRefusal::from_status(&status).unwrap().reason, "DEADLINE_EXCEEDED");
    service.stop();
}
