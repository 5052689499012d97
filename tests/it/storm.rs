//! Many identical requests at once (`docs/reliability.md`, T5).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use pvz::proto::v1;

use crate::faults::requests::{CommandReply, CommandRequest, events, get, parcel};
use crate::faults::test_service::{Client, TestService, assert_verified};
use crate::postgres::cluster::cluster;
use crate::process::pvz;

/// Sends the same request `times` times at once, spread over connections.
async fn send_concurrently(clients: &[Client], request: &CommandRequest, times: usize) -> Vec<CommandReply> {
    let requests = (0..times).map(|n| request.send(&clients[n % clients.len()]));
    join_all(requests).await.into_iter().map(Result::unwrap).collect()
}

async fn connections(service: &TestService, count: usize) -> Vec<Client> {
    join_all((0..count).map(|_| service.client())).await
}

/// Opens connections to the services in turn.
async fn spread(services: &[TestService], count: usize) -> Vec<Client> {
    join_all((0..count).map(|n| services[n % services.len()].client())).await
}

fn keyed(order_id: &str, request_id: &str) -> v1::AcceptOrderRequest {
    v1::AcceptOrderRequest { request_id: Some(request_id.to_owned()), ..parcel(order_id, "7") }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_accepts_of_one_order_have_one_effect() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let clients = connections(&service, 10).await;
    let request = CommandRequest::Accept(parcel("1", "7"));
    let replies = send_concurrently(&clients, &request, 50).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.result.is_ok());
    assert_eq!(done.len(), 1);
    let is_identical = |reply: &&CommandReply| {
        let refused = reply.result.as_ref().unwrap_err();
        refused.reason == "ORDER_ALREADY_EXISTS" && refused.metadata["identical"] == "true"
    };
    assert!(refused.iter().all(is_identical), "{refused:?}");
    let other = CommandRequest::Accept(v1::AcceptOrderRequest { weight_grams: Some(5), ..parcel("1", "7") });
    let replies = send_concurrently(&clients, &other, 50).await;
    assert!(
        replies.iter().all(|reply| reply.result.as_ref().unwrap_err().metadata["field"] == "weight_grams")
    );
    assert_eq!(get(&clients[0], "1").await.as_ref(), Some(done[0].order()), "the order is unchanged");
    assert_eq!(events(&clients[0]).await.len(), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_issues_of_one_order_have_one_effect() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let clients = connections(&service, 10).await;
    CommandRequest::Accept(parcel("1", "7")).send(&clients[0]).await.unwrap();
    let issue = v1::IssueOrdersRequest { order_ids: vec!["1".to_owned()], ..Default::default() };
    let replies = send_concurrently(&clients, &CommandRequest::Issue(issue), 50).await;
    assert_eq!(replies.iter().filter(|reply| reply.result.is_ok()).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.reason() == "ORDER_ALREADY_ISSUED").count(), 49);
    let types: Vec<_> = events(&clients[0]).await.iter().map(v1::Event::r#type).collect();
    assert_eq!(types, [v1::EventType::OrderAccepted, v1::EventType::OrderIssued]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_reply_across_connections_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let clients = connections(&service, 16).await;
    let request = CommandRequest::Accept(keyed("1", "key"));
    let replies = send_concurrently(&clients, &request, 64).await;
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1, "one is not a replay");
    assert!(replies.iter().all(|other| other.result == replies[0].result), "{replies:?}");
    assert_eq!(events(&clients[0]).await.len(), 1);

    // The same key with a change in each field.
    let first = || keyed("1", "key");
    let changed = [
        ("order_id", v1::AcceptOrderRequest { order_id: "2".to_owned(), ..first() }),
        ("customer_id", v1::AcceptOrderRequest { customer_id: "8".to_owned(), ..first() }),
        ("weight_grams", v1::AcceptOrderRequest { weight_grams: Some(1), ..first() }),
        ("price_minor", v1::AcceptOrderRequest { price_minor: Some(1), ..first() }),
        ("packaging", v1::AcceptOrderRequest { packaging: vec!["film".to_owned()], ..first() }),
        ("pickup_point_id", v1::AcceptOrderRequest { pickup_point_id: Some("main".to_owned()), ..first() }),
    ];
    let issue = v1::IssueOrdersRequest {
        order_ids: vec!["1".to_owned()],
        request_id: Some("key".to_owned()),
        ..Default::default()
    };
    let others = changed.into_iter().map(|(field, message)| (field, CommandRequest::Accept(message)));
    for (field, other) in others.chain([("method", CommandRequest::Issue(issue))]) {
        for reply in send_concurrently(&clients, &other, 8).await {
            let refused = reply.result.unwrap_err();
            assert_eq!(
                (refused.reason.as_str(), refused.metadata["field"].as_str()),
                ("IDEMPOTENCY_KEY_REUSED", field)
            );
        }
    }
    service.kill();
    assert_verified(dir.path());
    let service = TestService::start(dir.path(), "");
    let clients = connections(&service, 16).await;
    let again = send_concurrently(&clients, &request, 64).await;
    assert!(again.iter().all(|other| other.replayed && other.result == replies[0].result), "{again:?}");
    assert_eq!(events(&clients[0]).await.len(), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_refusal_outlives_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let clients = connections(&service, 8).await;
    let issue = |request_id: &str| {
        CommandRequest::Issue(v1::IssueOrdersRequest {
            order_ids: vec!["1".to_owned()],
            request_id: Some(request_id.to_owned()),
            ..Default::default()
        })
    };
    let replies = send_concurrently(&clients, &issue("early"), 64).await;
    assert!(replies.iter().all(|h| h.reason() == "ORDER_NOT_FOUND" && h.result == replies[0].result));
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
    CommandRequest::Accept(parcel("1", "7")).send(&clients[0]).await.unwrap();
    let again = send_concurrently(&clients, &issue("early"), 64).await;
    assert!(again.iter().all(|h| h.replayed && h.result == replies[0].result));
    assert!(issue("late").send(&clients[0]).await.unwrap().result.is_ok());
    service.stop();
}

/// T5: 2,000 keys, each sent 2, 8 or 64 times at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_concurrent_keys_have_one_effect_each() {
    let dir = tempfile::tempdir().unwrap();
    storm(2_000, || vec![TestService::start(dir.path(), "")]).await;
}

/// 500 keys against two replicas on one database.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_concurrent_keys_on_two_replicas_have_one_effect_each() {
    let database = cluster().database(true).await;
    let url = format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name);
    let config = format!("[store]\nurl = \"{url}\"\n");
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    storm(500, || dirs.iter().map(|dir| TestService::start(dir.path(), &config)).collect()).await;
}

/// Sends each key 2, 8 or 64 times at once, spread over the services, and again
/// after they were killed and restarted on the same store.
async fn storm(keys: usize, start: impl Fn() -> Vec<TestService>) {
    let services = start();
    let clients = spread(&services, 32).await;
    let times = |key: usize| match key % 8 {
        0 => 64,
        1..4 => 8,
        _ => 2,
    };
    let accept = |key: usize| CommandRequest::Accept(keyed(&format!("order-{key}"), &format!("key-{key}")));
    let storm = stream::iter(0..keys).map(|key| {
        let (clients, request) = (clients.clone(), accept(key));
        async move { (key, send_concurrently(&clients, &request, times(key)).await) }
    });
    let first_replies: BTreeMap<usize, CommandReply> = storm
        .buffer_unordered(16)
        .map(|(key, replies)| {
            assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1, "key {key}");
            assert!(replies.iter().all(|other| other.result == replies[0].result), "key {key}: {replies:?}");
            (key, replies[0].clone())
        })
        .collect()
        .await;
    assert_eq!(events(&clients[0]).await.len(), keys);
    services.into_iter().for_each(TestService::kill);
    let services = start();
    let clients = spread(&services, 8).await;
    let again = stream::iter(0..keys).map(|key| {
        let (clients, request) = (clients.clone(), accept(key));
        async move { (key, send_concurrently(&clients, &request, 2).await) }
    });
    let mut again = again.buffer_unordered(16);
    while let Some((key, replies)) = again.next().await {
        assert!(replies.iter().all(|h| h.replayed && h.result == first_replies[&key].result), "key {key}");
    }
    assert_eq!(events(&clients[0]).await.len(), keys);
    services.into_iter().for_each(TestService::stop);
}

/// Accepts an order over REST. Returns the body, and whether it is replayed.
fn over_rest(addr: &str, request: &v1::AcceptOrderRequest) -> (serde_json::Value, bool) {
    let body = serde_json::to_string(request).unwrap();
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1/orders HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{response}");
    (serde_json::from_str(body).unwrap(), head.to_lowercase().contains("idempotent-replayed: true"))
}

/// Accepts an order over the CLI, which does not show whether the reply is replayed.
fn over_cli(addr: &str, request: &v1::AcceptOrderRequest) -> serde_json::Value {
    let until = chrono::DateTime::from_timestamp(request.storage_until.unwrap().seconds, 0).unwrap();
    let output = pvz()
        .args([
            "accept",
            "--output=json",
            "--order-id",
            &request.order_id,
            "--customer-id",
            &request.customer_id,
        ])
        .args(["--storage-until", &until.to_rfc3339(), "--request-id", request.request_id()])
        .env("PVZ_SERVER", addr)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_reply_across_interfaces() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let clients = connections(&service, 4).await;
    for round in 0..20 {
        let request = keyed(&format!("order-{round}"), &format!("key-{round}"));
        let rest = (0..3).map(|_| {
            let (addr, request) = (service.http.clone(), request.clone());
            tokio::task::spawn_blocking(move || over_rest(&addr, &request))
        });
        let cli = {
            let (addr, request) = (service.grpc.clone(), request.clone());
            tokio::task::spawn_blocking(move || over_cli(&addr, &request))
        };
        let grpc = CommandRequest::Accept(request.clone());
        let (replies, rest, cli) = tokio::join!(send_concurrently(&clients, &grpc, 4), join_all(rest), cli);
        let order = Some(replies[0].order().clone());
        let expected = serde_json::to_value(v1::AcceptOrderResponse { order }).unwrap();
        assert!(replies.iter().all(|other| other.result == replies[0].result));
        assert_eq!(cli.unwrap(), expected);
        let mut first = replies.iter().filter(|reply| !reply.replayed).count();
        for (body, replayed) in rest.into_iter().map(Result::unwrap) {
            assert_eq!(body, expected);
            first += usize::from(!replayed);
        }
        assert!(first <= 1, "the CLI may have received the first reply");
    }
    assert_eq!(events(&clients[0]).await.len(), 20);
    service.stop();
}
