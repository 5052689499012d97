//! Propagation of `traceparent` from gRPC, HTTP and CLI commands to records.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::json;
use tonic::Request;

use super::broker::Broker;
use super::topic;
use crate::faults::requests::parcel;
use crate::faults::test_service::{TestService, wait_until};
use crate::process::pvz;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Accepts an order over REST, with `traceparent` headers.
fn over_rest(address: &str, order_id: &str, traces: &[&str]) {
    let order =
        json!({"orderId": order_id, "customerId": "7", "storageUntil": "2027-06-01T00:00:00Z"}).to_string();
    let traces: Vec<String> = traces.iter().map(|trace| format!("traceparent: {trace}\r\n")).collect();
    let traces = traces.concat();
    let head = "POST /v1/orders HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\ncontent-type: application/json";
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}\r\n{traces}content-length: {}\r\n\r\n{order}", order.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn over_cli(address: &str, order_id: &str, trace: &str) {
    let mut accept = pvz();
    accept.args([
        "accept",
        "--order-id",
        order_id,
        "--customer-id=7",
        "--storage-until=2027-06-01T00:00:00Z",
    ]);
    accept.env("PVZ_SERVER", address).env("TRACEPARENT", trace).stdout(Stdio::null());
    assert!(accept.status().unwrap().success(), "{order_id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_traceparent_is_propagated_and_malformed_one_is_dropped() {
    let broker = Broker::shared().address();
    let dir = tempfile::tempdir().unwrap();
    let config = format!("[events]\nurl = 'kafka://{broker}/traced'\n[log]\nformat = 'json'\n");
    let service = TestService::start(dir.path(), &config);
    let mut client = service.client().await;
    let request = |order_id: &str, trace: &str| {
        let mut request = Request::new(parcel(order_id, "7"));
        request.get_mut().request_id = Some(format!("key-{order_id}"));
        request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        request
    };
    let first = client.accept_order(request("grpc", TRACE)).await.unwrap();
    // The trace is not part of the request, so this is a replay.
    let again = client.accept_order(request("grpc", OTHER)).await.unwrap();
    assert_eq!(again.metadata().get("idempotent-replayed").unwrap(), "true");
    assert_eq!(again.into_inner(), first.into_inner());
    client.accept_order(request("grpc-malformed", "00-not-a-trace-01")).await.unwrap();
    client.accept_order(parcel("grpc-none", "7")).await.unwrap();
    over_rest(&service.http, "rest", &[TRACE]);
    over_rest(&service.http, "rest-malformed", &[&TRACE.to_uppercase()]);
    over_rest(&service.http, "rest-twice", &[TRACE, OTHER]);
    tokio::task::block_in_place(|| {
        over_cli(&service.grpc, "cli", TRACE);
        over_cli(&service.grpc, "cli-malformed", "\u{7}");
    });

    let mut records = Vec::new();
    wait_until("eight records", async || {
        records = topic::read(&broker, "traced").await.into_iter().flatten().collect();
        records.len() >= 8
    })
    .await;
    for record in &records {
        let (key, trace) = (topic::key(record), record.headers.get("traceparent"));
        let expected = (!key.contains('-')).then(|| TRACE.as_bytes().to_vec());
        assert_eq!(trace, expected.as_ref(), "{key}");
    }
    service.stop();
}
