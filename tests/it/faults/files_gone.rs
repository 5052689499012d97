//! Files that are moved away under a running server.

use std::fs;

use pvz::proto::v1;

use super::requests::{CommandRequest, get, parcel};
use super::test_service::{TestService, wait_until};

const SHORT_BUDGET: &str = "[writer]\nretry_budget = \"500ms\"\n";

fn accept(order_id: &str) -> CommandRequest {
    let request_id = Some(format!("key-{order_id}"));
    CommandRequest::Accept(v1::AcceptOrderRequest { request_id, ..parcel(order_id, "7") })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_the_store_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SHORT_BUDGET);
    let client = service.client().await;
    assert!(accept("before").send(&client).await.unwrap().result.is_ok());
    wait_until("the service is ready", async || service.ready() == Some(true)).await;
    let files = ["pvz.db", "pvz.db-wal", "pvz.db-shm"];
    let away = dir.path().join("away");
    fs::create_dir(&away).unwrap();
    for file in files {
        fs::rename(dir.path().join(file), away.join(file)).unwrap();
    }
    let refused = accept("during").send(&client).await.unwrap().result.unwrap_err();
    assert_eq!(refused.reason, "UNAVAILABLE");
    wait_until("the service is not ready", async || service.ready() == Some(false)).await;
    let told = |line: &String| line.contains("not ready") && line.contains("was moved or deleted");
    assert!(service.log().iter().any(told), "{:#?}", service.log());
    for file in files {
        fs::rename(away.join(file), dir.path().join(file)).unwrap();
    }
    wait_until("the service is ready again", async || service.ready() == Some(true)).await;
    let reply = accept("during").send(&client).await.unwrap();
    assert!(reply.result.is_ok() && !reply.replayed, "{reply:?}");
    assert!(get(&client, "before").await.is_some());
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_while_the_journal_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let client = service.client().await;
    wait_until("the service is ready", async || service.ready() == Some(true)).await;
    let (here, away) = (dir.path().join("events"), dir.path().join("away"));
    fs::rename(&here, &away).unwrap();
    wait_until("the service is not ready", async || service.ready() == Some(false)).await;
    let text = service.readyz().unwrap();
    assert!(text.starts_with("not ready\nevents: ") && text.contains("was moved or deleted"), "{text}");
    // Commands succeed, and their events wait in the store.
    assert!(accept("waits").send(&client).await.unwrap().result.is_ok());
    let logged = |line: &String| line.contains("publish failed") && line.contains("was moved or deleted");
    wait_until("the log names the cause", async || service.log().iter().any(logged)).await;
    fs::rename(&away, &here).unwrap();
    wait_until("the event is published", async || crate::journal::read(&here).len() == 1).await;
    wait_until("the service is ready again", async || service.ready() == Some(true)).await;
    service.stop();
}
