//! A disk that is full, and a file that another program has locked.

use std::time::{Duration, Instant};

use pvz::proto::v1;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::asks::{Ask, Heard, events, get, parcel};
use super::service::{Service, assert_verified, until};

/// Retry budget of the writer in these tests.
const BUDGET: Duration = Duration::from_millis(500);
const HASTY: &str = "[writer]\nretry_budget = \"500ms\"\n[store]\nbusy_timeout = \"100ms\"\n";
/// What a slow machine may add to the budget.
const SLACK: Duration = Duration::from_secs(10);

fn ask(order_id: &str) -> Ask {
    let request_id = Some(format!("key-{order_id}"));
    Ask::Accept(v1::AcceptOrderRequest { request_id, ..parcel(order_id, "7") })
}

fn assert_unavailable(heard: &Heard) {
    let refused = heard.answer.as_ref().unwrap_err();
    assert_eq!((refused.reason.as_str(), refused.code), ("UNAVAILABLE", Code::Unavailable));
    assert!(refused.retry, "it says when to come back: {refused:?}");
    assert!(!refused.message.to_lowercase().contains("sql"), "nothing inner leaks: {}", refused.message);
}

async fn health(service: &Service) -> ServingStatus {
    let mut client = HealthClient::new(service.channel().await);
    let ask = HealthCheckRequest { service: "pvz.v1.OrderService".to_owned() };
    client.check(ask).await.unwrap().into_inner().status()
}

/// Readiness on every face is that.
async fn until_ready(service: &Service, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    until(&format!("ready is {ready}"), async || {
        service.ready() == Some(ready) && health(service).await == status
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_unavailable_until_there_is_space_again() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), HASTY);
    let client = service.client().await;
    assert!(ask("before").send(&client).await.unwrap().answer.is_ok());
    until_ready(&service, true).await;

    // Half of a page fits: what a full disk leaves behind is half-written.
    service.limit_files(Some(2_000));
    let began = Instant::now();
    assert_unavailable(&ask("during").send(&client).await.unwrap());
    assert!(began.elapsed() < BUDGET + SLACK);
    // The store is still there to be read.
    assert!(get(&client, "before").await.is_some());
    assert_eq!(get(&client, "during").await, None);
    assert_verified(dir.path());
    until_ready(&service, false).await;

    service.limit_files(None);
    let heard = ask("during").send(&client).await.unwrap();
    assert!(heard.answer.is_ok() && !heard.replayed, "nothing was stored before: {heard:?}");
    until_ready(&service, true).await;
    assert_eq!(events(&client).await.len(), 2);
    service.stop();
}

/// A disk that fills up in the middle of a load, again and again: whatever was
/// answered is there, whatever was not is there whole or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_under_load_loses_nothing_and_halves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), HASTY);
    let client = service.client().await;
    let mut accepted = Vec::new();
    for round in 0..5 {
        let wal = std::fs::metadata(dir.path().join("pvz.db-wal")).map_or(0, |file| file.len());
        service.limit_files(Some(wal + 300_000 + round * 1_357));
        let mut full = false;
        let mut batch = 0;
        while !full {
            let asks = (0..40).map(|n| ask(&format!("r{round}-{batch}-{n}"))).collect::<Vec<_>>();
            let heard = futures::future::join_all(asks.iter().map(|ask| ask.send(&client))).await;
            for (ask, heard) in asks.into_iter().zip(heard) {
                let heard = heard.unwrap();
                if heard.answer.is_ok() {
                    accepted.push((ask, heard));
                } else {
                    assert_unavailable(&heard);
                    full = true;
                }
            }
            batch += 1;
        }
        assert_verified(dir.path());
        service.limit_files(None);
        until("it takes orders again", async || {
            ask(&format!("again-{round}")).send(&client).await.unwrap().answer.is_ok()
        })
        .await;
    }
    service.kill();
    assert_verified(dir.path());
    let service = Service::start(dir.path(), HASTY);
    let client = service.client().await;
    for (ask, heard) in &accepted {
        let again = ask.send(&client).await.unwrap();
        assert!(again.replayed && again.answer == heard.answer, "{ask:?}: {again:?}");
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_lock_is_unavailable_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), HASTY);
    let client = service.client().await;
    assert!(ask("before").send(&client).await.unwrap().answer.is_ok());
    let lock = service.foreign_lock();
    let began = Instant::now();
    assert_unavailable(&ask("during").send(&client).await.unwrap());
    assert!(began.elapsed() < BUDGET + SLACK);
    assert!(get(&client, "before").await.is_some());
    until_ready(&service, false).await;
    drop(lock);
    until_ready(&service, true).await;
    let heard = ask("during").send(&client).await.unwrap();
    assert!(heard.answer.is_ok() && !heard.replayed, "{heard:?}");
    service.stop();
}

/// A lock that is gone before the budget is delays the command, no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_lock_only_delays() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[writer]\nretry_budget = \"60s\"\n[store]\nbusy_timeout = \"10ms\"\n";
    let service = Service::start(dir.path(), config);
    let client = service.client().await;
    let lock = service.foreign_lock();
    let call = tokio::spawn(async move { ask("1").send(&client).await.unwrap() });
    until("the batch is tried again", async || {
        service.log().iter().any(|line| line.contains("batch failed, retrying"))
    })
    .await;
    drop(lock);
    assert!(call.await.unwrap().answer.is_ok());
    service.stop();
}
