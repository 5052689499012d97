//! No file descriptors left.
//!
//! Test T29 of `docs/reliability.md`.

use rustix::process::{Resource, Rlimit, getrlimit};
use tokio::net::TcpStream;

use super::asks::{Ask, parcel};
use super::service::{Service, until};

/// Whoever is connected is served while nobody else can connect, and others are
/// again when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_descriptors_wait_and_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let client = service.client().await;
    // All connections of the store are open then.
    until("it is ready", async || service.ready() == Some(true)).await;
    assert!(Ask::Accept(parcel("before", "7")).send(&client).await.unwrap().answer.is_ok());
    // The server has inherited ours.
    let before = getrlimit(Resource::Nofile);
    service.limit(Resource::Nofile, Rlimit { current: Some(64), ..before });
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(&service.grpc).await.unwrap());
    }
    for n in 0..20 {
        let heard = Ask::Accept(parcel(&format!("during-{n}"), "7")).send(&client).await.unwrap();
        assert!(heard.answer.is_ok(), "{heard:?}");
    }
    drop(idle);
    let later = service.client().await;
    assert!(Ask::Accept(parcel("after", "7")).send(&later).await.unwrap().answer.is_ok());
    service.limit(Resource::Nofile, before);
    service.stop();
}
