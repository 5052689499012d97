//! Full disks, and a store that another program has locked.

use std::time::{Duration, Instant};

use pvz::proto::v1;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::requests::{CommandReply, CommandRequest, events, get, parcel};
use super::test_service::{TestService, assert_verified, wait_until};

/// Retry budget of the writer in these tests.
const BUDGET: Duration = Duration::from_millis(500);
const SHORT_TIMEOUTS: &str = "[writer]\nretry_budget = \"500ms\"\n[store]\nbusy_timeout = \"100ms\"\n";
/// Time that a slow machine may take in addition to the budget.
const SLACK: Duration = Duration::from_secs(10);

fn accept(order_id: &str) -> CommandRequest {
    let request_id = Some(format!("key-{order_id}"));
    CommandRequest::Accept(v1::AcceptOrderRequest { request_id, ..parcel(order_id, "7") })
}

fn assert_unavailable(reply: &CommandReply) {
    let refused = reply.result.as_ref().unwrap_err();
    assert_eq!((refused.reason.as_str(), refused.code), ("UNAVAILABLE", Code::Unavailable));
    assert!(refused.retry, "no retry information: {refused:?}");
    assert!(!refused.message.to_lowercase().contains("sql"), "internal details leak: {}", refused.message);
}

async fn health(service: &TestService) -> ServingStatus {
    let mut client = HealthClient::new(service.channel().await);
    let request = HealthCheckRequest { service: "pvz.v1.OrderService".to_owned() };
    client.check(request).await.unwrap().into_inner().status()
}

/// Waits until `/readyz` and the gRPC health service report this readiness.
async fn wait_until_ready(service: &TestService, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    wait_until(&format!("ready is {ready}"), async || {
        service.ready() == Some(ready) && health(service).await == status
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_unavailable_while_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SHORT_TIMEOUTS);
    let client = service.client().await;
    assert!(accept("before").send(&client).await.unwrap().result.is_ok());
    wait_until_ready(&service, true).await;

    // Half of a page fits, so the write is torn.
    service.limit_files(Some(2_000));
    let began = Instant::now();
    assert_unavailable(&accept("during").send(&client).await.unwrap());
    assert!(began.elapsed() < BUDGET + SLACK);
    // Reads still work.
    assert!(get(&client, "before").await.is_some());
    assert_eq!(get(&client, "during").await, None);
    assert_verified(dir.path());
    wait_until_ready(&service, false).await;

    service.limit_files(None);
    let reply = accept("during").send(&client).await.unwrap();
    assert!(reply.result.is_ok() && !reply.replayed, "the refused command was stored: {reply:?}");
    wait_until_ready(&service, true).await;
    assert_eq!(events(&client).await.len(), 2);
    service.stop();
}

/// Nobody sends a command: the service itself finds out that one would fail.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_is_not_ready_while_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SHORT_TIMEOUTS);
    wait_until_ready(&service, true).await;
    service.limit_files(Some(2_000));
    wait_until_ready(&service, false).await;
    let text = service.readyz().unwrap();
    assert!(text.starts_with("not ready\nstore: a SQLite operation failed: "), "{text}");
    service.limit_files(None);
    wait_until_ready(&service, true).await;
    service.stop();
}

/// The disk fills up repeatedly under load. Accepted orders are stored; the others
/// are stored completely or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_under_load_loses_no_accepted_order() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SHORT_TIMEOUTS);
    let client = service.client().await;
    let mut accepted = Vec::new();
    for round in 0..5 {
        let wal = std::fs::metadata(dir.path().join("pvz.db-wal")).map_or(0, |file| file.len());
        service.limit_files(Some(wal + 300_000 + round * 1_357));
        let mut full = false;
        let mut batch = 0;
        while !full {
            let requests = (0..40).map(|n| accept(&format!("r{round}-{batch}-{n}"))).collect::<Vec<_>>();
            let replies =
                futures::future::join_all(requests.iter().map(|request| request.send(&client))).await;
            for (request, reply) in requests.into_iter().zip(replies) {
                let reply = reply.unwrap();
                if reply.result.is_ok() {
                    accepted.push((request, reply));
                } else {
                    assert_unavailable(&reply);
                    full = true;
                }
            }
            batch += 1;
        }
        assert_verified(dir.path());
        service.limit_files(None);
        wait_until("an order is accepted again", async || {
            accept(&format!("again-{round}")).send(&client).await.unwrap().result.is_ok()
        })
        .await;
    }
    service.kill();
    assert_verified(dir.path());
    let service = TestService::start(dir.path(), SHORT_TIMEOUTS);
    let client = service.client().await;
    for (request, reply) in &accepted {
        let again = request.send(&client).await.unwrap();
        assert!(again.replayed && again.result == reply.result, "{request:?}: {again:?}");
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_unavailable_while_a_foreign_lock_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SHORT_TIMEOUTS);
    let client = service.client().await;
    assert!(accept("before").send(&client).await.unwrap().result.is_ok());
    let lock = service.foreign_lock();
    let began = Instant::now();
    assert_unavailable(&accept("during").send(&client).await.unwrap());
    assert!(began.elapsed() < BUDGET + SLACK);
    assert!(get(&client, "before").await.is_some());
    wait_until_ready(&service, false).await;
    drop(lock);
    wait_until_ready(&service, true).await;
    let reply = accept("during").send(&client).await.unwrap();
    assert!(reply.result.is_ok() && !reply.replayed, "{reply:?}");
    service.stop();
}

/// A lock that is released within the retry budget only delays the command.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_lock_only_delays_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[writer]\nretry_budget = \"60s\"\n[store]\nbusy_timeout = \"10ms\"\n[log]\nfilter = \"info,pvz::app=debug\"\n";
    let service = TestService::start(dir.path(), config);
    let client = service.client().await;
    let lock = service.foreign_lock();
    let call = tokio::spawn(async move { accept("1").send(&client).await.unwrap() });
    wait_until("the batch is retried", async || {
        service.log().iter().any(|line| line.contains("batch failed, retrying"))
    })
    .await;
    drop(lock);
    assert!(call.await.unwrap().result.is_ok());
    let lines = || {
        let lines =
            service.log().into_iter().filter(|line| line.contains("batch committed after failed attempts"));
        lines.collect::<Vec<_>>()
    };
    wait_until("the failures are logged", async || !lines().is_empty()).await;
    let lines = lines();
    assert!(lines.len() == 1 && lines[0].contains("\"failures\":"), "{lines:?}");
    assert!(!service.log().iter().any(|line| line.contains("WARN") && line.contains("batch failed")));
    service.stop();
}
