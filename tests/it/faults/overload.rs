//! More calls at once than there are places to wait.

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use pvz::proto::v1;
use tonic::Code;

use super::asks::{Ask, Heard, events, get, parcel};
use super::service::{Service, until};

const QUEUE: usize = 16;
const BATCH: usize = 4;
const SMALL: &str = "[writer]\nqueue = 16\nbatch = 4\n[store]\nbusy_timeout = \"60s\"\n";

fn ask(key: usize) -> Ask {
    let request_id = Some(format!("key-{key}"));
    Ask::Accept(v1::AcceptOrderRequest { request_id, ..parcel(&format!("order-{key}"), "7") })
}

fn assert_overloaded(heard: &Heard) {
    let refused = heard.answer.as_ref().unwrap_err();
    assert_eq!((refused.reason.as_str(), refused.code), ("OVERLOADED", Code::ResourceExhausted));
    assert!(refused.retry && !heard.replayed, "{refused:?}");
}

/// Nothing gets through the writers, so it is known how many calls find a
/// place: the others are refused at once, and for them nothing happened.
#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_refused_at_once_and_nothing_happened() {
    const CALLS: usize = 500;
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), SMALL);
    let clients = join_all((0..8).map(|_| service.client())).await;
    let lock = service.foreign_lock();
    let mut calls: FuturesUnordered<_> = (0..CALLS)
        .map(|key| {
            let client = clients[key % clients.len()].clone();
            async move { (key, ask(key).send(&client).await.unwrap()) }
        })
        .collect();
    // All but those in the queue and in the batch that waits for the lock.
    let mut refused = Vec::new();
    while refused.len() < CALLS - QUEUE - BATCH {
        let (key, heard) = calls.next().await.unwrap();
        assert_overloaded(&heard);
        refused.push(key);
    }
    // Reads need no place.
    assert_eq!(get(&clients[0], "order-0").await, None);
    drop(lock);
    let mut accepted = Vec::new();
    while let Some((key, heard)) = calls.next().await {
        if heard.answer.is_ok() {
            accepted.push(key);
        } else {
            assert_overloaded(&heard);
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
    // The refused may use their keys again, and are first then.
    for key in refused {
        let heard = ask(key).send(&clients[0]).await.unwrap();
        assert!(heard.answer.is_ok() && !heard.replayed, "{heard:?}");
    }
    service.stop();
}

/// Thousands at once, again and again: each is answered, and the memory of the
/// server does not grow with them.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_at_once_are_all_answered_in_bounded_memory() {
    const CALLS: usize = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), SMALL);
    let clients = join_all((0..16).map(|_| service.client())).await;
    let mut accepted = 0;
    let mut peaks = Vec::new();
    for round in 0..3 {
        let calls = (0..CALLS).map(|call| {
            let client = clients[call % clients.len()].clone();
            async move { ask(round * CALLS + call).send(&client).await.unwrap() }
        });
        for heard in join_all(calls).await {
            if heard.answer.is_ok() {
                accepted += 1;
            } else {
                assert_overloaded(&heard);
            }
        }
        peaks.push(service.peak_memory());
    }
    assert_eq!(events(&clients[0]).await.len(), accepted);
    assert!(accepted >= QUEUE, "{accepted}");
    // The first round makes all the buffers that the others need.
    assert!(peaks[2] < peaks[0] + 32 * 1024, "KiB: {peaks:?}");
    service.stop();
}

/// An import waits for places in the place of being refused, and leaves half of
/// them to the counter.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_never_overloaded_and_never_crowds_out_the_counter() {
    const ROWS: usize = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), SMALL);
    let (importer, counter) = (service.client().await, service.client().await);
    let rows = (0..ROWS).map(|n| v1::ImportOrdersRequest { order: Some(parcel(&format!("row-{n}"), "7")) });
    let rows = futures::stream::iter(rows.collect::<Vec<_>>());
    let import = async {
        let results = importer.clone().import_orders(rows).await.unwrap().into_inner();
        results.map(|result| result.unwrap().index).collect::<Vec<_>>().await
    };
    let meanwhile = async {
        let mut served = 0;
        until("the import is done", async || {
            let heard = ask(served).send(&counter).await.unwrap();
            assert!(heard.answer.is_ok(), "{heard:?}");
            served += 1;
            get(&counter, &format!("row-{}", ROWS - 1)).await.is_some()
        })
        .await;
    };
    let (mut indexes, ()) = tokio::join!(import, meanwhile);
    indexes.sort_unstable();
    assert!(indexes.into_iter().eq(0..i64::try_from(ROWS).unwrap()));
    service.stop();
}
