//! Graceful shutdown (`docs/reliability.md`, T20).

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pvz::proto::v1;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::load::{Load, assert_replies_are_durable};
use super::requests::{CommandRequest, DecodedRefusal, get, parcel};
use super::test_service::{Client, TestService, wait_until};

const ROUNDS: u64 = 20;
/// Limit for a shutdown without accepted work: five times the time that it may take, and
/// far below the drain deadline of 30 s.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn twenty_drains_under_load_lose_no_reply_and_cut_no_call() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let service = TestService::start(dir.path(), "");
        let load = Load::start(&service, 1_000 + round).await;
        let calls = 50 + usize::try_from(round).unwrap() * 37;
        wait_until("the load has made its calls", async || load.reply_count() >= calls).await;
        let start = Instant::now();
        service.signal(Signal::TERM);
        let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
        assert_eq!(code, Some(0), "{log:#?}");
        assert!(start.elapsed() < SHUTDOWN_LIMIT, "{:?}", start.elapsed());
        let exchanges = load.finish().await;
        let cut: Vec<_> = exchanges
            .iter()
            .filter_map(|(_, reply)| reply.as_ref().err())
            .filter(|status| !never_started(status))
            .collect();
        assert!(cut.is_empty(), "calls without a reply: {cut:#?}");

        let service = TestService::start(dir.path(), "");
        assert_replies_are_durable(&service.client().await, &exchanges).await;
        service.stop();
    }
}

/// Returns true if the error is from the client, for a call that the server did not
/// receive: the client could not connect, or the connection was closing.
fn never_started(status: &tonic::Status) -> bool {
    let chain = format!("{status:?}");
    chain.contains("ConnectError") || chain.contains("GoAway") || chain.contains("Canceled")
}

/// Shuts down a server without work, and checks that it exits quickly.
pub async fn assert_quick_shutdown(service: TestService, what: &str) {
    let start = Instant::now();
    service.signal(Signal::TERM);
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{what}: {log:#?}");
    assert!(start.elapsed() < SHUTDOWN_LIMIT, "{what}: {:?}", start.elapsed());
}

/// Checks that a stream ends with UNAVAILABLE and retry information.
async fn assert_ends_with_unavailable<T>(mut stream: tonic::Streaming<T>) {
    let status = stream.next().await.and_then(Result::err).expect("a final status");
    let refused = DecodedRefusal::from_status(&status).unwrap_or_else(|| panic!("{status:?}"));
    assert!(refused.reason == "UNAVAILABLE" && refused.retry, "{refused:?}");
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_do_not_delay_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let request = v1::WatchEventsRequest::default();
    let events = service.client().await.watch_events(request).await.unwrap().into_inner();
    assert_quick_shutdown(service, "WatchEvents").await;
    assert_ends_with_unavailable(events).await;

    let service = TestService::start(dir.path(), "");
    let row = v1::ImportOrdersRequest { order: Some(parcel("imported", "7")) };
    let rows = futures::stream::iter([row]).chain(futures::stream::pending());
    let mut results = service.client().await.import_orders(rows).await.unwrap().into_inner();
    assert!(results.next().await.unwrap().is_ok());
    assert_quick_shutdown(service, "ImportOrders").await;
    assert_ends_with_unavailable(results).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_watchers_see_the_drain_and_do_not_delay_it() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let mut health = HealthClient::new(service.channel().await);
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    while health.next().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    assert_quick_shutdown(service, "health").await;
    assert_eq!(health.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_ends_with_unavailable(health).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_reflection_does_not_delay_the_drain() {
    use tonic_reflection::pb::v1 as reflection;
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let list = reflection::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = reflection::ServerReflectionRequest { message_request: Some(list), ..Default::default() };
    let requests = futures::stream::iter([request]).chain(futures::stream::pending());
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(service.channel().await);
    let mut responses = client.server_reflection_info(requests).await.unwrap().into_inner();
    assert!(responses.next().await.unwrap().is_ok());
    assert_quick_shutdown(service, "reflection").await;
    assert!(responses.next().await.is_none_or(|response| response.is_err()), "the stream is still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_delay_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let idle = (service.client().await, service.client().await);
    assert_quick_shutdown(service, "connections without a call").await;
    drop(idle);
    for listener in ["gRPC", "REST", "admin"] {
        let service = TestService::start(dir.path(), "");
        let addr = match listener {
            "gRPC" => &service.grpc,
            "REST" => &service.http,
            _ => &service.admin,
        };
        let silent = TcpStream::connect(addr).await.unwrap();
        // Connections are accepted in order, so the silent one has been accepted.
        wait_until("the service is ready", async || service.ready() == Some(true)).await;
        drop(service.client().await);
        assert_quick_shutdown(service, listener).await;
        drop(silent);
    }
}

/// While accepted work is in progress, the service is not ready and refuses new
/// work. The accepted work is completed.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_new_work_and_finishes_accepted_work() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "[store]\nbusy_timeout = \"60s\"\n");
    let (client, other) = (service.client().await, service.client().await);
    wait_until("the service is ready", async || service.ready() == Some(true)).await;
    let (lock, stuck) = stuck_call(&service, &client).await;
    service.signal(Signal::TERM);
    wait_until("the service is not ready", async || service.ready() == Some(false)).await;
    // On a connection that was already open, a new call is refused by the service or
    // not sent at all.
    match CommandRequest::Accept(parcel("new", "7")).send(&other).await {
        Ok(reply) => assert_eq!(reply.reason(), "UNAVAILABLE"),
        Err(status) => assert!(never_started(&status), "{status:?}"),
    }
    drop(lock);
    let reply = stuck.await.unwrap().unwrap();
    assert!(reply.result.is_ok(), "{reply:?}");
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log:#?}");
    let service = TestService::start(dir.path(), "");
    let client = service.client().await;
    assert_eq!(get(&client, "stuck").await.as_ref(), Some(reply.order()));
    assert_eq!(get(&client, "new").await, None);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_exits_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "[store]\nbusy_timeout = \"60s\"\n");
    let client = service.client().await;
    let (lock, stuck) = stuck_call(&service, &client).await;
    service.signal(Signal::TERM);
    wait_until("the service drains", async || service.log().iter().any(|line| line.contains("draining")))
        .await;
    service.signal(Signal::TERM);
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(143), "{log:#?}");
    drop(lock);
    assert!(stuck.await.unwrap().is_err(), "the stuck call succeeded");
    let service = TestService::start(dir.path(), "");
    assert_eq!(get(&service.client().await, "stuck").await, None);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn work_stuck_past_the_drain_deadline_sets_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[store]\nbusy_timeout = \"60s\"\n[server]\ndrain_deadline = \"1s\"\n";
    let service = TestService::start(dir.path(), config);
    let client = service.client().await;
    let (lock, stuck) = stuck_call(&service, &client).await;
    let start = Instant::now();
    service.signal(Signal::TERM);
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(1), "{log:#?}");
    assert!(
        start.elapsed() >= Duration::from_secs(1) && start.elapsed() < SHUTDOWN_LIMIT,
        "{:?}",
        start.elapsed()
    );
    assert!(log.iter().any(|line| line.contains("drain deadline exceeded")), "{log:#?}");
    drop(lock);
    let reply = stuck.await.unwrap();
    assert!(reply.map_or(true, |reply| reply.result.is_err()));
}

type StuckCall = tokio::task::JoinHandle<Result<super::requests::CommandReply, tonic::Status>>;

/// Starts a call that the writers cannot finish while the returned lock is held.
async fn stuck_call(service: &TestService, client: &Client) -> (diesel::SqliteConnection, StuckCall) {
    let lock = service.foreign_lock();
    let stuck_client = client.clone();
    let mut stuck =
        Box::pin(async move { CommandRequest::Accept(parcel("stuck", "7")).send(&stuck_client).await });
    // The call is sent here, before the reads on the same connection; the server
    // starts calls in order. The round trips give it time to reach the writers.
    assert!(futures::poll!(&mut stuck).is_pending());
    let stuck = tokio::spawn(stuck);
    for _ in 0..10 {
        assert_eq!(get(client, "none").await, None);
    }
    assert!(!stuck.is_finished());
    (lock, stuck)
}
