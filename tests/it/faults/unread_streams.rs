//! Streams whose client stops reading. They hold no connection of the store and no
//! place in the queue of the writers, so other clients do not notice them.

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use prost::Message as _;
use pvz::proto::v1;

use super::raw_connection::frame;
use super::requests::{CommandRequest, get, parcel};
use super::test_service::{TestService, wait_until};
use super::unread_connection::UnreadConnection;
use crate::postgres::cluster::{Database, cluster};

/// Few connections and places, so that few streams can hold all of them.
const SMALL: &str = "[writer]\nqueue = 16\nbatch = 4\n[store]\nread_connections = 2\npool_size = 2\n";

async fn on_sqlite(test: impl AsyncFnOnce(&TestService)) {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SMALL);
    test(&service).await;
    service.stop();
}

async fn on_postgres(test: impl AsyncFnOnce(&TestService)) {
    let dir = tempfile::tempdir().unwrap();
    let database: Database = cluster().database(true).await;
    let url = format!("postgres://pvz:secret@127.0.0.1:{}/{}", database.port, database.name);
    let service = TestService::start(dir.path(), &format!("{SMALL}url = \"{url}\"\n"));
    test(&service).await;
    service.stop();
}

/// Accepts orders until the window of the watchers is long used up, then calls every
/// kind of read.
async fn watchers_that_read_nothing_hold_no_connection(service: &TestService) {
    const ACCEPTS: usize = 3_000;
    let mut watchers = UnreadConnection::connect(&service.grpc).await;
    for _ in 0..32 {
        let message = frame(&v1::WatchEventsRequest::default().encode_to_vec());
        watchers.call("WatchEvents", stream::iter([message]).boxed()).await;
    }
    let client = service.client().await;
    join_all((0..8).map(async |worker| {
        for n in (worker..ACCEPTS).step_by(8) {
            let accept = CommandRequest::Accept(parcel(&format!("order-{n}"), "7"));
            assert!(accept.send(&client).await.unwrap().result.is_ok());
        }
    }))
    .await;
    for _ in 0..4 {
        assert!(get(&client, "order-0").await.is_some());
        let page = client.clone().list_orders(v1::ListOrdersRequest::default()).await.unwrap();
        assert!(!page.into_inner().orders.is_empty());
        client.clone().list_returns(v1::ListReturnsRequest::default()).await.unwrap();
        client.clone().list_events(v1::ListEventsRequest::default()).await.unwrap();
    }
    wait_until("the relay has published every event", async || {
        let outbox = client.clone().get_outbox(v1::GetOutboxRequest::default()).await.unwrap().into_inner();
        outbox.lag_events == 0
    })
    .await;
}

/// Keeps imports open whose results are not read, then runs another import.
async fn imports_whose_results_are_not_read_hold_no_place(service: &TestService) {
    const ROWS: usize = 2_000;
    let client = service.client().await;
    let mut imports = Vec::new();
    for import in 0..8 {
        let row = move |n| {
            let order = Some(parcel(&format!("unread-{import}-{n}"), "7"));
            frame(&v1::ImportOrdersRequest { order }.encode_to_vec())
        };
        let mut connection = UnreadConnection::connect(&service.grpc).await;
        // Many rows per frame, because h2 closes a connection with many small unread ones.
        // Yields before each: the client would otherwise write for as long as the server
        // reads, before it waits for the head of the response.
        let rows = stream::iter((0_usize..).step_by(100)).then(move |first| async move {
            tokio::task::yield_now().await;
            Bytes::from((first..first + 100).map(row).collect::<Vec<_>>().concat())
        });
        connection.call("ImportOrders", rows.boxed()).await;
        imports.push(connection);
    }
    for import in 0..imports.len() {
        let row = format!("unread-{import}-100");
        wait_until("every import is in progress", async || get(&client, &row).await.is_some()).await;
    }
    // Far more than the window of the others holds: they stop before it ends.
    let rows = (0..ROWS).map(|n| v1::ImportOrdersRequest { order: Some(parcel(&format!("row-{n}"), "7")) });
    let rows = stream::iter(rows.collect::<Vec<_>>());
    let results = client.clone().import_orders(rows).await.unwrap().into_inner();
    assert_eq!(results.map(Result::unwrap).count().await, ROWS);
}

mod sqlite {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn watchers_that_read_nothing_hold_no_connection() {
        super::on_sqlite(super::watchers_that_read_nothing_hold_no_connection).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn imports_whose_results_are_not_read_hold_no_place() {
        super::on_sqlite(super::imports_whose_results_are_not_read_hold_no_place).await;
    }
}

mod postgres {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn watchers_that_read_nothing_hold_no_connection() {
        super::on_postgres(super::watchers_that_read_nothing_hold_no_connection).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn imports_whose_results_are_not_read_hold_no_place() {
        super::on_postgres(super::imports_whose_results_are_not_read_hold_no_place).await;
    }
}
