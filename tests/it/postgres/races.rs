//! Concurrent batches on several replicas.

use std::num::NonZeroUsize;
use std::sync::Arc;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::{BatchMode, Reason};
use pvz::ports::{OrderStore as _, Outcome};
use tokio::task::JoinSet;

use super::cluster::cluster;
use super::{reason, run, run_at, verified_counts};
use crate::support::commands::{TestCommand, accept, accept_return, issue, order, parcel};
use crate::support::time::DAY;

/// Opens stores on one new database.
async fn replicas(count: usize) -> (Vec<Arc<PostgresStore>>, super::cluster::Database) {
    let database = cluster().database(true).await;
    let mut stores = Vec::new();
    for _ in 0..count {
        stores.push(Arc::new(database.open().await));
    }
    (stores, database)
}

/// Runs batches concurrently, spread over the replicas. Returns the outcomes in the
/// order of the batches.
async fn run_concurrently(
    stores: &[Arc<PostgresStore>],
    batches: Vec<Vec<TestCommand>>,
) -> Vec<Vec<Outcome>> {
    let mut running = JoinSet::new();
    for (index, commands) in batches.into_iter().enumerate() {
        let store = Arc::clone(&stores[index % stores.len()]);
        running.spawn(async move { (index, run(&*store, &commands).await.unwrap()) });
    }
    let mut outcomes = running.join_all().await;
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcomes)| outcomes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_fifty_accepts_succeeds_and_other_commands_are_unaffected() {
    let (stores, _database) = replicas(2).await;
    let batch = |n| vec![accept(parcel("one")), accept(parcel(&format!("other-{n}")))];
    let outcomes = run_concurrently(&stores, (0..50).map(batch).collect()).await;
    let accepted = outcomes.iter().filter(|batch| batch[0].answer.is_ok()).count();
    let refused = outcomes.iter().filter(|batch| reason(&batch[0]) == Some(Reason::OrderAlreadyExists));
    assert_eq!((accepted, refused.count()), (1, 49));
    assert!(outcomes.iter().all(|batch| batch[1].answer.is_ok()));
    assert_eq!(verified_counts(&*stores[0]).await, (51, 51));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_repeats_of_a_request_id_have_one_effect_and_one_answer() {
    let (stores, _database) = replicas(3).await;
    let outcomes = run_concurrently(&stores, vec![vec![accept(parcel("one")).key("key")]; 64]).await;
    assert_eq!(outcomes.iter().filter(|batch| !batch[0].replayed).count(), 1);
    assert!(outcomes.iter().all(|batch| batch[0].answer == outcomes[0][0].answer));
    assert_eq!(verified_counts(&*stores[0]).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_reuse_of_a_request_id_is_refused_for_all_but_one() {
    let (stores, _database) = replicas(2).await;
    let batch = |n| vec![accept(parcel(&format!("order-{n}"))).key("key")];
    let outcomes = run_concurrently(&stores, (0..32).map(batch).collect()).await;
    let reused = outcomes.iter().filter(|batch| reason(&batch[0]) == Some(Reason::IdempotencyKeyReused));
    assert_eq!(reused.count(), 31);
    assert_eq!(verified_counts(&*stores[0]).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_in_opposite_order_do_not_deadlock_or_lose_commands() {
    let (stores, _database) = replicas(2).await;
    for round in 0..60 {
        let ids: Vec<String> = (0..8).map(|n| format!("order-{round}-{n}")).collect();
        let with_key = |id: &String| accept(parcel(id)).key(&format!("key-{id}"));
        let mut forward: Vec<TestCommand> = ids.iter().map(with_key).collect();
        // Two more commands change each order in the batch that accepts it.
        forward.extend(ids.iter().map(|id| issue(&[id], BatchMode::Atomic).key(&format!("issue-{id}"))));
        forward.extend(ids.iter().map(|id| accept_return(id, "c1", None).key(&format!("return-{id}"))));
        let mut backward = forward.clone();
        for third in backward.chunks_mut(ids.len()) {
            third.reverse();
        }
        let outcomes =
            run_concurrently(&stores, vec![forward.clone(), backward, forward[4..8].to_vec()]).await;
        for outcome in outcomes.iter().flatten() {
            assert!(outcome.answer.is_ok(), "{outcome:?}");
        }
        let done = outcomes.iter().flatten().filter(|outcome| !outcome.replayed).count();
        assert_eq!(done, 24, "each command has one effect");
    }
    assert_eq!(verified_counts(&*stores[0]).await, (480, 1_440));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_concurrent_commands_replaces_an_expired_record() {
    let (stores, _database) = replicas(2).await;
    for round in 0..40 {
        let key = format!("key-{round}");
        run(&*stores[0], &[accept(parcel(&format!("old-{round}"))).key(&key)]).await.unwrap();
        let command = |n: usize| {
            let late = pvz::domain::Accept {
                storage_until: crate::support::time::at(crate::support::time::START + 20 * DAY),
                ..parcel(&format!("new-{round}-{n}"))
            };
            [accept(late).key(&key)]
        };
        let (one, other) = (command(1), command(2));
        let outcomes = tokio::join!(run_at(&*stores[0], &one, 8 * DAY), run_at(&*stores[1], &other, 8 * DAY));
        let (one, other) = (outcomes.0.unwrap(), outcomes.1.unwrap());
        let reasons = [reason(&one[0]), reason(&other[0])];
        assert!(
            reasons.contains(&None) && reasons.contains(&Some(Reason::IdempotencyKeyReused)),
            "{reasons:?}"
        );
    }
    assert_eq!(verified_counts(&*stores[0]).await, (80, 80));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_acknowledged_change_is_one_event() {
    let (stores, _database) = replicas(3).await;
    let ids: Vec<String> = (0..12).map(|n| format!("order-{n}")).collect();
    let mut batches = Vec::new();
    for n in 0..90_usize {
        let id = |step: usize| ids[(n * 7 + step * 5) % ids.len()].as_str();
        let mut commands = vec![
            accept(parcel(id(0))),
            issue(&[id(1), id(2)], BatchMode::Partial),
            accept_return(id(3), "c1", None),
            issue(&[id(4), id(1)], BatchMode::Atomic).key(&format!("key-{}", n % 40)),
        ];
        commands.rotate_left(n % 4);
        batches.push(commands);
    }
    let outcomes = run_concurrently(&stores, batches).await;
    let (orders, events) = verified_counts(&*stores[1]).await;
    let took_effect = |outcome: &&Outcome| !outcome.replayed && outcome.answer.is_ok();
    let changes: usize = outcomes
        .iter()
        .flatten()
        .filter(took_effect)
        .map(|outcome| match outcome.answer.as_ref().unwrap() {
            pvz::domain::Answer::Results(results) => {
                results.iter().filter(|result| result.outcome.is_ok()).count()
            }
            _ => 1,
        })
        .sum();
    assert_eq!(orders, ids.len() as u64);
    assert_eq!(events, changes as u64, "each acknowledged change is one event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_calls_complete_on_two_connections() {
    let database = cluster().database(true).await;
    let two = NonZeroUsize::MIN.saturating_add(1);
    let mut options = database.options();
    (options.readers, options.writers) = (two, two);
    let store = Arc::new(PostgresStore::open(&options).await.unwrap());
    let mut running = JoinSet::new();
    for n in 0..64 {
        let store = Arc::clone(&store);
        running.spawn(async move {
            let id = format!("order-{}", n % 16);
            run(&*store, &[accept(parcel(&id))]).await.unwrap();
            assert!(store.order(&order(&id)).await.unwrap().is_some());
            store.ping().await.unwrap();
        });
    }
    running.join_all().await;
    assert_eq!(verified_counts(&*store).await, (16, 16));
}
