//! The end of a server under load (`docs/reliability.md`, T20).

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pvz::proto::v1;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::asks::{Ask, Refused, get, parcel};
use super::load::{Load, assert_remembered};
use super::service::{Client, Service, until};

const ROUNDS: u64 = 20;
/// Far below the drain deadline of 30 s: nothing idle may hold the end up.
const PROMPT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_twenty_drains_is_stored_and_nobody_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let service = Service::start(dir.path(), "");
        let load = Load::start(&service, 1_000 + round).await;
        let moment = 50 + usize::try_from(round).unwrap() * 37;
        until("the load runs", async || load.answered() >= moment).await;
        let began = Instant::now();
        service.signal(Signal::TERM);
        let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
        assert_eq!(code, Some(0), "{log:#?}");
        assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
        let told = load.end().await;
        let cut: Vec<_> = told
            .iter()
            .filter_map(|(_, heard)| heard.as_ref().err())
            .filter(|status| !never_begun(status))
            .collect();
        assert!(cut.is_empty(), "without an answer: {cut:#?}");

        let service = Service::start(dir.path(), "");
        assert_remembered(&service.client().await, &told).await;
        service.stop();
    }
}

/// The client's own words for a call that the server has not seen: it found no
/// connection, or was told that the connection takes no more calls.
fn never_begun(status: &tonic::Status) -> bool {
    let chain = format!("{status:?}");
    chain.contains("ConnectError") || chain.contains("GoAway") || chain.contains("Canceled")
}

/// Ends a server on which nothing happens, and expects that nobody holds it up.
async fn assert_prompt(service: Service, what: &str) {
    let began = Instant::now();
    service.signal(Signal::TERM);
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{what}: {log:#?}");
    assert!(began.elapsed() < PROMPT, "{what}: {:?}", began.elapsed());
}

/// Whoever was streaming is told to come back.
async fn assert_told<T>(mut stream: tonic::Streaming<T>) {
    let status = stream.next().await.and_then(Result::err).expect("the stream ends with a refusal");
    let refused = Refused::read(&status).unwrap_or_else(|| panic!("{status:?}"));
    assert!(refused.reason == "UNAVAILABLE" && refused.retry, "{refused:?}");
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_do_not_hold_up_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let ask = v1::WatchEventsRequest::default();
    let events = service.client().await.watch_events(ask).await.unwrap().into_inner();
    assert_prompt(service, "WatchEvents").await;
    assert_told(events).await;

    let service = Service::start(dir.path(), "");
    let row = v1::ImportOrdersRequest { order: Some(parcel("imported", "7")) };
    let rows = futures::stream::iter([row]).chain(futures::stream::pending());
    let mut results = service.client().await.import_orders(rows).await.unwrap().into_inner();
    assert!(results.next().await.unwrap().is_ok());
    assert_prompt(service, "ImportOrders").await;
    assert_told(results).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_health_hears_of_the_drain_and_does_not_hold_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let mut health = HealthClient::new(service.channel().await);
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    while health.next().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    assert_prompt(service, "health").await;
    assert_eq!(health.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_told(health).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_reflection_does_not_hold_up_the_drain() {
    use tonic_reflection::pb::v1 as reflection;
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let list = reflection::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = reflection::ServerReflectionRequest { message_request: Some(list), ..Default::default() };
    let asks = futures::stream::iter([ask]).chain(futures::stream::pending());
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(service.channel().await);
    let mut answers = client.server_reflection_info(asks).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().is_ok());
    assert_prompt(service, "reflection").await;
    assert!(answers.next().await.is_none_or(|answer| answer.is_err()), "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let idle = (service.client().await, service.client().await);
    assert_prompt(service, "connections without a call").await;
    drop(idle);
    for face in ["gRPC", "REST", "admin"] {
        let service = Service::start(dir.path(), "");
        let addr = match face {
            "gRPC" => &service.grpc,
            "REST" => &service.http,
            _ => &service.admin,
        };
        let silent = TcpStream::connect(addr).await.unwrap();
        // Accepted in the order of connecting.
        until("it is ready", async || service.ready() == Some(true)).await;
        drop(service.client().await);
        assert_prompt(service, face).await;
        drop(silent);
    }
}

/// While accepted work is still under way, readiness has fallen and new work is
/// refused; the accepted work is done, and answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_new_work_and_finishes_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "[store]\nbusy_timeout = \"60s\"\n");
    let (client, other) = (service.client().await, service.client().await);
    until("it is ready", async || service.ready() == Some(true)).await;
    let (lock, stuck) = stuck_call(&service, &client).await;
    service.signal(Signal::TERM);
    until("readiness falls", async || service.ready() == Some(false)).await;
    // On a connection that was open before, a new call is refused, or not
    // taken any more.
    match Ask::Accept(parcel("new", "7")).send(&other).await {
        Ok(heard) => assert_eq!(heard.reason(), "UNAVAILABLE"),
        Err(status) => assert!(never_begun(&status), "{status:?}"),
    }
    drop(lock);
    let heard = stuck.await.unwrap().unwrap();
    assert!(heard.answer.is_ok(), "{heard:?}");
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log:#?}");
    let service = Service::start(dir.path(), "");
    let client = service.client().await;
    assert_eq!(get(&client, "stuck").await.as_ref(), Some(heard.order()));
    assert_eq!(get(&client, "new").await, None);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "[store]\nbusy_timeout = \"60s\"\n");
    let client = service.client().await;
    let (lock, stuck) = stuck_call(&service, &client).await;
    service.signal(Signal::TERM);
    until("it drains", async || service.log().iter().any(|line| line.contains("draining"))).await;
    service.signal(Signal::TERM);
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(143), "{log:#?}");
    drop(lock);
    assert!(stuck.await.unwrap().is_err(), "nobody was waited for");
    let service = Service::start(dir.path(), "");
    assert_eq!(get(&service.client().await, "stuck").await, None);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_stuck_past_the_deadline_shows_in_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[store]\nbusy_timeout = \"60s\"\n[server]\ndrain_deadline = \"1s\"\n";
    let service = Service::start(dir.path(), config);
    let client = service.client().await;
    let (lock, stuck) = stuck_call(&service, &client).await;
    let began = Instant::now();
    service.signal(Signal::TERM);
    let (code, log) = tokio::task::spawn_blocking(|| service.wait()).await.unwrap();
    assert_eq!(code, Some(1), "{log:#?}");
    assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < PROMPT, "{:?}", began.elapsed());
    assert!(log.iter().any(|line| line.contains("drain deadline exceeded")), "{log:#?}");
    drop(lock);
    let told = stuck.await.unwrap();
    assert!(told.map_or(true, |heard| heard.answer.is_err()));
}

type Stuck = tokio::task::JoinHandle<Result<super::asks::Heard, tonic::Status>>;

/// A call that the writers have taken and cannot finish while the lock lives.
async fn stuck_call(service: &Service, client: &Client) -> (diesel::SqliteConnection, Stuck) {
    let lock = service.foreign_lock();
    let call = client.clone();
    let mut asking = Box::pin(async move { Ask::Accept(parcel("stuck", "7")).send(&call).await });
    // Begun here, so that it goes out before what follows on its connection;
    // the server begins calls in the order in which they come. Each of these
    // is a round trip more for it to get to the writers.
    assert!(futures::poll!(&mut asking).is_pending());
    let stuck = tokio::spawn(asking);
    for _ in 0..10 {
        assert_eq!(get(client, "none").await, None);
    }
    assert!(!stuck.is_finished());
    (lock, stuck)
}
