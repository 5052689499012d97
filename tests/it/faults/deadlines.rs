//! Who stops waiting before the work begins gets no work done.

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

use super::asks::{Ask, Refused, get, parcel};
use super::raw::{Raw, frame};
use super::service::{Service, until};

const PATIENT: &str = "[store]\nbusy_timeout = \"60s\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_in_the_queue_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), PATIENT);
    let client = service.client().await;
    let raw = Raw::connect(&service.grpc).await;
    let lock = service.foreign_lock();
    let first = Ask::Accept(parcel("first", "7"));
    let asking = client.clone();
    let mut first = Box::pin(async move { first.send(&asking).await.unwrap() });
    // Begun here, and given round trips to get to the writers, so that what
    // comes later is not in its batch.
    assert!(futures::poll!(&mut first).is_pending());
    let first = tokio::spawn(first);
    for _ in 0..10 {
        assert_eq!(get(&client, "none").await, None);
    }
    // The raw client does not count down itself, so each answer is the
    // service's own. The first batch is stuck, so these wait in the queue.
    for timeout in ["50m", "200000u", "1n", "0S"] {
        let answer = raw.ask("AcceptOrder", &parcel("late", "7"), &[("grpc-timeout", timeout)]).await;
        assert_eq!(answer.status.code(), Code::DeadlineExceeded, "{timeout}: {:?}", answer.status);
        let refused =
            Refused::read(&answer.status).unwrap_or_else(|| panic!("{timeout}: {:?}", answer.status));
        assert_eq!(refused.reason, "DEADLINE_EXCEEDED");
    }
    drop(lock);
    assert!(first.await.unwrap().answer.is_ok());
    // Arrived later and done, so whatever was still to be done before it is.
    assert!(Ask::Accept(parcel("last", "7")).send(&client).await.unwrap().answer.is_ok());
    assert_eq!(get(&client, "late").await, None);
    service.stop();
}

/// A call without a deadline gets the server's.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_deadline_does_not_wait_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{PATIENT}[server]\nrequest_timeout = \"200ms\"\n");
    let service = Service::start(dir.path(), &config);
    let client = service.client().await;
    let lock = service.foreign_lock();
    let heard = Ask::Accept(parcel("1", "7")).send(&client).await.unwrap();
    assert_eq!(heard.reason(), "DEADLINE_EXCEEDED");
    drop(lock);
    let again = v1::AcceptOrderRequest { request_id: Some("again".to_owned()), ..parcel("1", "7") };
    until("the order can be accepted, or has been", async || {
        let heard = Ask::Accept(again.clone()).send(&client).await.unwrap();
        heard.answer.is_ok() || heard.reason() == "ORDER_ALREADY_EXISTS"
    })
    .await;
    service.stop();
}

/// A request of which only a part arrives is not waited for either, and holds
/// up nobody's stop.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_is_answered_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "[server]\nrequest_timeout = \"200ms\"\n");
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
    let answer = sender.send_request(request).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(Refused::read(&status).unwrap().reason, "DEADLINE_EXCEEDED");
    service.stop();
}
