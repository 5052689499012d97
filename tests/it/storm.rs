//! Many identical requests at once (`docs/reliability.md`, T5).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use pvz::proto::v1;

use crate::faults::asks::{Ask, Heard, events, get, parcel};
use crate::faults::service::{Client, Service, assert_verified};
use crate::postgres::cluster::cluster;
use crate::process::pvz;

/// Sends the same request `times` times at once, spread over connections.
async fn send_concurrently(clients: &[Client], ask: &Ask, times: usize) -> Vec<Heard> {
    let requests = (0..times).map(|n| ask.send(&clients[n % clients.len()]));
    join_all(requests).await.into_iter().map(Result::unwrap).collect()
}

async fn connections(service: &Service, count: usize) -> Vec<Client> {
    join_all((0..count).map(|_| service.client())).await
}

/// Opens connections to the services in turn.
async fn spread(services: &[Service], count: usize) -> Vec<Client> {
    join_all((0..count).map(|n| services[n % services.len()].client())).await
}

fn keyed(order_id: &str, request_id: &str) -> v1::AcceptOrderRequest {
    v1::AcceptOrderRequest { request_id: Some(request_id.to_owned()), ..parcel(order_id, "7") }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_accepts_of_one_order_have_one_effect() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let clients = connections(&service, 10).await;
    let ask = Ask::Accept(parcel("1", "7"));
    let replies = send_concurrently(&clients, &ask, 50).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.answer.is_ok());
    assert_eq!(done.len(), 1);
    let is_identical = |reply: &&Heard| {
        let refused = reply.answer.as_ref().unwrap_err();
        refused.reason == "ORDER_ALREADY_EXISTS" && refused.metadata["identical"] == "true"
    };
    assert!(refused.iter().all(is_identical), "{refused:?}");
    let other = Ask::Accept(v1::AcceptOrderRequest { weight_grams: Some(5), ..parcel("1", "7") });
    let replies = send_concurrently(&clients, &other, 50).await;
    assert!(
        replies.iter().all(|reply| reply.answer.as_ref().unwrap_err().metadata["field"] == "weight_grams")
    );
    assert_eq!(get(&clients[0], "1").await.as_ref(), Some(done[0].order()), "the order is unchanged");
    assert_eq!(events(&clients[0]).await.len(), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_issues_of_one_order_have_one_effect() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let clients = connections(&service, 10).await;
    Ask::Accept(parcel("1", "7")).send(&clients[0]).await.unwrap();
    let issue = v1::IssueOrdersRequest { order_ids: vec!["1".to_owned()], ..Default::default() };
    let replies = send_concurrently(&clients, &Ask::Issue(issue), 50).await;
    assert_eq!(replies.iter().filter(|reply| reply.answer.is_ok()).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.reason() == "ORDER_ALREADY_ISSUED").count(), 49);
    let types: Vec<_> = events(&clients[0]).await.iter().map(v1::Event::r#type).collect();
    assert_eq!(types, [v1::EventType::OrderAccepted, v1::EventType::OrderIssued]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_answer_across_connections_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let clients = connections(&service, 16).await;
    let ask = Ask::Accept(keyed("1", "key"));
    let replies = send_concurrently(&clients, &ask, 64).await;
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1, "one is not a replay");
    assert!(replies.iter().all(|other| other.answer == replies[0].answer), "{replies:?}");
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
    let others = changed.into_iter().map(|(field, message)| (field, Ask::Accept(message)));
    for (field, other) in others.chain([("method", Ask::Issue(issue))]) {
        for reply in send_concurrently(&clients, &other, 8).await {
            let refused = reply.answer.unwrap_err();
            assert_eq!(
                (refused.reason.as_str(), refused.metadata["field"].as_str()),
                ("IDEMPOTENCY_KEY_REUSED", field)
            );
        }
    }
    service.kill();
    assert_verified(dir.path());
    let service = Service::start(dir.path(), "");
    let clients = connections(&service, 16).await;
    let again = send_concurrently(&clients, &ask, 64).await;
    assert!(again.iter().all(|other| other.replayed && other.answer == replies[0].answer), "{again:?}");
    assert_eq!(events(&clients[0]).await.len(), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_refusal_outlives_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let clients = connections(&service, 8).await;
    let issue = |request_id: &str| {
        Ask::Issue(v1::IssueOrdersRequest {
            order_ids: vec!["1".to_owned()],
            request_id: Some(request_id.to_owned()),
            ..Default::default()
        })
    };
    let replies = send_concurrently(&clients, &issue("early"), 64).await;
    assert!(replies.iter().all(|h| h.reason() == "ORDER_NOT_FOUND" && h.answer == replies[0].answer));
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
    Ask::Accept(parcel("1", "7")).send(&clients[0]).await.unwrap();
    let again = send_concurrently(&clients, &issue("early"), 64).await;
    assert!(again.iter().all(|h| h.replayed && h.answer == replies[0].answer));
    assert!(issue("late").send(&clients[0]).await.unwrap().answer.is_ok());
    service.stop();
}

/// T5: 2,000 keys, each sent 2, 8 or 64 times at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_keys_at_two_eight_and_sixty_four() {
    let dir = tempfile::tempdir().unwrap();
    storm(2_000, || vec![Service::start(dir.path(), "")]).await;
}

/// The same against two replicas on one database.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_keys_on_two_replicas() {
    let database = cluster().database(true).await;
    let url = format!("postgres://pvz@127.0.0.1:{}/{}", database.port, database.name);
    let config = format!("[store]\nurl = \"{url}\"\n");
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    storm(500, || dirs.iter().map(|dir| Service::start(dir.path(), &config)).collect()).await;
}

/// Sends each key 2, 8 or 64 times at once, spread over the services, and again
/// after they were killed and restarted on the same store.
async fn storm(keys: usize, start: impl Fn() -> Vec<Service>) {
    let services = start();
    let clients = spread(&services, 32).await;
    let times = |key: usize| match key % 8 {
        0 => 64,
        1..4 => 8,
        _ => 2,
    };
    let ask = |key: usize| Ask::Accept(keyed(&format!("order-{key}"), &format!("key-{key}")));
    let storm = stream::iter(0..keys).map(|key| {
        let (clients, ask) = (clients.clone(), ask(key));
        async move { (key, send_concurrently(&clients, &ask, times(key)).await) }
    });
    let answers: BTreeMap<usize, Heard> = storm
        .buffer_unordered(16)
        .map(|(key, replies)| {
            assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1, "key {key}");
            assert!(replies.iter().all(|other| other.answer == replies[0].answer), "key {key}: {replies:?}");
            (key, replies[0].clone())
        })
        .collect()
        .await;
    assert_eq!(events(&clients[0]).await.len(), keys);
    services.into_iter().for_each(Service::kill);
    let services = start();
    let clients = spread(&services, 8).await;
    let again = stream::iter(0..keys).map(|key| {
        let (clients, ask) = (clients.clone(), ask(key));
        async move { (key, send_concurrently(&clients, &ask, 2).await) }
    });
    let mut again = again.buffer_unordered(16);
    while let Some((key, replies)) = again.next().await {
        assert!(replies.iter().all(|h| h.replayed && h.answer == answers[&key].answer), "key {key}");
    }
    assert_eq!(events(&clients[0]).await.len(), keys);
    services.into_iter().for_each(Service::stop);
}

/// Accepts over REST. Returns the body, and whether it is a stored answer.
fn over_rest(addr: &str, ask: &v1::AcceptOrderRequest) -> (serde_json::Value, bool) {
    let body = serde_json::to_string(ask).unwrap();
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1/orders HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    (serde_json::from_str(body).unwrap(), head.to_lowercase().contains("idempotent-replayed: true"))
}

/// Accepts over the CLI, which does not show whether the answer is stored.
fn over_cli(addr: &str, ask: &v1::AcceptOrderRequest) -> serde_json::Value {
    let until = chrono::DateTime::from_timestamp(ask.storage_until.unwrap().seconds, 0).unwrap();
    let output = pvz()
        .args(["accept", "--output=json", "--order-id", &ask.order_id, "--customer-id", &ask.customer_id])
        .args(["--storage-until", &until.to_rfc3339(), "--request-id", ask.request_id()])
        .env("PVZ_SERVER", addr)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_answer_across_interfaces() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let clients = connections(&service, 4).await;
    for round in 0..20 {
        let ask = keyed(&format!("order-{round}"), &format!("key-{round}"));
        let rest = (0..3).map(|_| {
            let (addr, ask) = (service.http.clone(), ask.clone());
            tokio::task::spawn_blocking(move || over_rest(&addr, &ask))
        });
        let cli = {
            let (addr, ask) = (service.grpc.clone(), ask.clone());
            tokio::task::spawn_blocking(move || over_cli(&addr, &ask))
        };
        let grpc = Ask::Accept(ask.clone());
        let (replies, rest, cli) = tokio::join!(send_concurrently(&clients, &grpc, 4), join_all(rest), cli);
        let order = Some(replies[0].order().clone());
        let expected = serde_json::to_value(v1::AcceptOrderResponse { order }).unwrap();
        assert!(replies.iter().all(|other| other.answer == replies[0].answer));
        assert_eq!(cli.unwrap(), expected);
        let mut first = replies.iter().filter(|reply| !reply.replayed).count();
        for (body, replayed) in rest.into_iter().map(Result::unwrap) {
            assert_eq!(body, expected);
            first += usize::from(!replayed);
        }
        assert!(first <= 1, "the first answer may have been that of the CLI");
    }
    assert_eq!(events(&clients[0]).await.len(), 20);
    service.stop();
}
