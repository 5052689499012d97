//! Tests of concurrent consumers, with terminated sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pvz::adapters::kafka::partition;
use pvz::adapters::postgres::PostgresStore;
use pvz::domain::{Event, assign_partitions, receive_events};
use pvz::ports::{Applied, Inbox as _, Offset};

use super::{
    SOURCE, applied_events, assign, event_keys, expected_statistics, inbox, inbox_batch, lifecycles,
    statistics,
};
use crate::contract::fixtures::point;

const PARTITIONS: u32 = 4;

/// Returns events, and the partitions of a topic that contain all of them and some
/// duplicates.
fn topic(orders: usize) -> (Vec<Event>, Vec<Vec<Event>>) {
    let mut events = Vec::new();
    for place in ["main", "second"] {
        events.extend(lifecycles((0..orders).map(|number| format!("{place}-{number}")), &point(place)));
    }
    let mut partitions = vec![Vec::new(); PARTITIONS as usize];
    for event in &events {
        let number = partition(event.order.order_id.as_str().as_bytes(), PARTITIONS as usize);
        partitions[number].push(event.clone());
    }
    for partition in &mut partitions {
        let duplicates = partition[..partition.len() / 3].to_vec();
        partition.extend(duplicates);
    }
    (events, partitions)
}

/// Applies the assigned partitions until the inbox has read the whole topic. Continues
/// at the position in the inbox after every error, as a consumer does.
async fn consume(inbox: &PostgresStore, name: &str, topic: &[Vec<Event>], fenced: &AtomicUsize) {
    let mut attempts = 0;
    loop {
        let all = (0..PARTITIONS).collect();
        let Ok(assignments) =
            inbox.assign(SOURCE, &all, name, Duration::from_millis(300), assign_partitions).await
        else {
            continue;
        };
        for assignment in &assignments {
            let partition = &topic[assignment.partition as usize];
            let from = usize::try_from(assignment.position.map_or(0, |position| position.0)).unwrap();
            let to = partition.len().min(from + 37);
            attempts += 1;
            // A delay now and then, so that leases expire.
            if attempts % 7 == 0 {
                tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>())
                    .await
                    .unwrap_err();
            }
            let batch = inbox_batch(&partition[from..to], i64::try_from(to).unwrap());
            if let Ok(Applied::Fenced) = inbox.apply(assignment, &batch, receive_events).await {
                fenced.fetch_add(1, Ordering::Relaxed);
            }
        }
        let Ok(progress) = inbox.progress(SOURCE).await else { continue };
        let read: HashMap<u32, i64> = progress
            .iter()
            .map(|progress| (progress.partition, progress.position.unwrap_or(Offset(0)).0))
            .collect();
        let is_read = |(number, partition): (u32, &Vec<Event>)| {
            read.get(&number).is_some_and(|position| *position == i64::try_from(partition.len()).unwrap())
        };
        if (0..).zip(topic).all(is_read) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_consumers_with_cut_connections_apply_each_event_once() {
    let (inbox, database) = inbox().await;
    let (events, topic) = topic(400);
    let (topic, fenced) = (Arc::new(topic), Arc::new(AtomicUsize::new(0)));
    let done = Arc::new(AtomicBool::new(false));
    let killer = {
        let (done, shell) = (done.clone(), database.shell().await);
        tokio::spawn(async move {
            let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
            let mut killed = 0;
            while !done.load(Ordering::Relaxed) {
                killed += shell.query_one(kill, &[]).await.unwrap().get::<_, i64>(0);
                let _ = tokio::time::timeout(Duration::from_millis(40), std::future::pending::<()>()).await;
            }
            killed
        })
    };
    let consumers: Vec<_> = ["one", "two", "three"]
        .into_iter()
        .map(|name| {
            let (inbox, topic, fenced) = (inbox.clone(), topic.clone(), fenced.clone());
            tokio::spawn(async move { consume(&inbox, name, &topic, &fenced).await })
        })
        .collect();
    for consumer in consumers {
        consumer.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let cuts = killer.await.unwrap();
    assert!(cuts > 0, "no connection was cut");
    let inbox = database.open().await;
    assert_eq!(applied_events(&database).await, event_keys(&events));
    assert_eq!(statistics(&inbox).await, expected_statistics(&events));
    assert_eq!(inbox.gaps(1).await.unwrap().orders, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_is_not_reassigned_during_a_batch() {
    let (inbox, database) = inbox().await;
    let old = assign(&*inbox, 1, "slow", Duration::from_micros(1)).await.remove(0);
    // An open transaction, as of a batch that is paused after its first statement.
    let mut shell = database.shell().await;
    let batch = shell.transaction().await.unwrap();
    let moved = "UPDATE inbox_partitions SET position = 5 WHERE fence = $1";
    assert_eq!(batch.execute(moved, &[&old.fencing_token]).await.unwrap(), 1);
    // Other consumers neither wait for the lease nor get it.
    assert_eq!(assign(&*inbox, 1, "next", super::LONG_LEASE).await, []);
    batch.commit().await.unwrap();
    let new = assign(&*inbox, 1, "next", super::LONG_LEASE).await.remove(0);
    assert!(new.fencing_token > old.fencing_token && new.position == Some(Offset(5)), "{new:?}");
    assert_eq!(inbox.apply(&old, &inbox_batch(&[], 9), receive_events).await.unwrap(), Applied::Fenced);
}
