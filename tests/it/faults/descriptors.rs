//! Exhaustion of file descriptors.
//!
//! Test T29 of `docs/reliability.md`.

use rustix::process::{Resource, Rlimit, getrlimit};
use tokio::net::TcpStream;

use super::requests::{CommandRequest, parcel};
use super::test_service::{TestService, wait_until};

/// Connected clients are served while no new connection can be accepted. New
/// connections are accepted again once descriptors are free.
#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_descriptor_limit_wait_without_affecting_others() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let client = service.client().await;
    // All connections of the store are open at this point.
    wait_until("the service is ready", async || service.ready() == Some(true)).await;
    assert!(CommandRequest::Accept(parcel("before", "7")).send(&client).await.unwrap().result.is_ok());
    // The server inherited the limit of the test.
    let before = getrlimit(Resource::Nofile);
    service.limit(Resource::Nofile, Rlimit { current: Some(64), ..before });
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(&service.grpc).await.unwrap());
    }
    for n in 0..20 {
        let reply = CommandRequest::Accept(parcel(&format!("during-{n}"), "7")).send(&client).await.unwrap();
        assert!(reply.result.is_ok(), "{reply:?}");
    }
    drop(idle);
    let later = service.client().await;
    assert!(CommandRequest::Accept(parcel("after", "7")).send(&later).await.unwrap().result.is_ok());
    service.limit(Resource::Nofile, before);
    service.stop();
}
