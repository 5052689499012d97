//! More concurrent calls than the writer queue holds.

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use pvz::proto::v1;
use tonic::Code;

use super::requests::{CommandReply, CommandRequest, events, get, parcel};
use super::test_service::{TestService, wait_until};

const QUEUE: usize = 16;
const BATCH: usize = 4;
const SMALL: &str = "[writer]\nqueue = 16\nbatch = 4\n[store]\nbusy_timeout = \"60s\"\n";

fn accept(key: usize) -> CommandRequest {
    let request_id = Some(format!("key-{key}"));
    CommandRequest::Accept(v1::AcceptOrderRequest { request_id, ..parcel(&format!("order-{key}"), "7") })
}

fn assert_overloaded(reply: &CommandReply) {
    let refused = reply.result.as_ref().unwrap_err();
    assert_eq!((refused.reason.as_str(), refused.code), ("OVERLOADED", Code::ResourceExhausted));
    assert!(refused.retry && !reply.replayed, "{refused:?}");
}

/// A lock blocks the writers, so the number of calls that fit is known. The others
/// are refused at once and have no effect.
#[tokio::test(flavor = "multi_thread")]
async fn calls_above_the_queue_are_refused_at_once_without_effect() {
    const CALLS: usize = 500;
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SMALL);
    let clients = join_all((0..8).map(|_| service.client())).await;
    let lock = service.foreign_lock();
    let mut calls: FuturesUnordered<_> = (0..CALLS)
        .map(|key| {
            let client = clients[key % clients.len()].clone();
            async move { (key, accept(key).send(&client).await.unwrap()) }
        })
        .collect();
    // All calls except those in the queue and in the batch that waits for the lock.
    let mut refused = Vec::new();
    while refused.len() < CALLS - QUEUE - BATCH {
        let (key, reply) = calls.next().await.unwrap();
        assert_overloaded(&reply);
        refused.push(key);
    }
    // Reads do not use the queue.
    assert_eq!(get(&clients[0], "order-0").await, None);
    drop(lock);
    let mut accepted = Vec::new();
    while let Some((key, reply)) = calls.next().await {
        if reply.result.is_ok() {
            accepted.push(key);
        } else {
            assert_overloaded(&reply);
            refused.push(key);
        }
    }
    assert!((QUEUE..=QUEUE + BATCH).contains(&accepted.len()), "{accepted:?}");
    assert_eq!(accepted.len() + refused.len(), CALLS);
    let mut stored: Vec<String> =
        events(&clients[0]).await.into_iter().map(|e| e.order.unwrap().order_id).collect();
    let mut expected: Vec<String> = accepted.iter().map(|key| format!("order-{key}")).collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
    // A refused call stores no idempotency record, so its key is still unused.
    for key in refused {
        let reply = accept(key).send(&clients[0]).await.unwrap();
        assert!(reply.result.is_ok() && !reply.replayed, "{reply:?}");
    }
    service.stop();
}

/// Every call of three rounds of thousands gets a reply, and the memory of the
/// server stays bounded.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_concurrent_calls_get_replies_in_bounded_memory() {
    const CALLS: usize = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SMALL);
    let clients = join_all((0..16).map(|_| service.client())).await;
    let mut accepted = 0;
    let mut peaks = Vec::new();
    for round in 0..3 {
        let calls = (0..CALLS).map(|call| {
            let client = clients[call % clients.len()].clone();
            async move { accept(round * CALLS + call).send(&client).await.unwrap() }
        });
        for reply in join_all(calls).await {
            if reply.result.is_ok() {
                accepted += 1;
            } else {
                assert_overloaded(&reply);
            }
        }
        peaks.push(service.peak_memory());
    }
    assert_eq!(events(&clients[0]).await.len(), accepted);
    assert!(accepted >= QUEUE, "{accepted}");
    // The first round allocates the buffers.
    assert!(peaks[2] < peaks[0] + 32 * 1024, "peak memory in KiB: {peaks:?}");
    service.stop();
}

/// An import waits for space in the queue and uses at most half of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_never_overloaded_and_never_overloads_other_commands() {
    const ROWS: usize = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), SMALL);
    let (importer, other) = (service.client().await, service.client().await);
    let rows = (0..ROWS).map(|n| v1::ImportOrdersRequest { order: Some(parcel(&format!("row-{n}"), "7")) });
    let rows = futures::stream::iter(rows.collect::<Vec<_>>());
    let import = async {
        let results = importer.clone().import_orders(rows).await.unwrap().into_inner();
        results.map(|result| result.unwrap().index).collect::<Vec<_>>().await
    };
    let other_commands = async {
        let mut accepted = 0;
        wait_until("the import is done", async || {
            let reply = accept(accepted).send(&other).await.unwrap();
            assert!(reply.result.is_ok(), "{reply:?}");
            accepted += 1;
            get(&other, &format!("row-{}", ROWS - 1)).await.is_some()
        })
        .await;
    };
    let (mut indexes, ()) = tokio::join!(import, other_commands);
    indexes.sort_unstable();
    assert!(indexes.into_iter().eq(0..i64::try_from(ROWS).unwrap()));
    service.stop();
}
