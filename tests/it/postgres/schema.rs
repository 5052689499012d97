//! The schema: made once by any number of replicas, checked at every start, and
//! guarding what it holds.

use pvz::adapters::postgres::{OpenError, PostgresStore, migrate, status};
use pvz::ports::{EventLog as _, OrderStore as _, Position};

use super::cluster::{cluster, store};
use super::{check, run};
use crate::support::commands::{accept, order, parcel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_replicas_that_start_at_once_make_it_once() {
    let database = cluster().database(false).await;
    let options = database.options();
    let missing = PostgresStore::open(&options).await.unwrap_err();
    assert!(matches!(missing, OpenError::Missing), "{missing:?}");
    assert!(missing.to_string().contains("pvz migrate"));
    let all = tokio::join!(migrate(&options), migrate(&options), migrate(&options), migrate(&options));
    let mut applied = [all.0, all.1, all.2, all.3].map(|steps| steps.unwrap().len());
    applied.sort_unstable();
    let steps = status(&options).await.unwrap().steps;
    assert_eq!(applied, [0, 0, 0, steps.len()]);
    assert!(steps.iter().all(|step| step.applied));
    let one = database.open().await;
    let secret = one.secret().await.unwrap();
    assert_eq!(database.open().await.secret().await.unwrap(), secret);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_or_a_newer_one_is_refused() {
    let database = cluster().database(true).await;
    let shell = database.shell().await;
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000001')";
    shell.batch_execute(newer).await.unwrap();
    let error = PostgresStore::open(&database.options()).await.unwrap_err();
    assert!(matches!(&error, OpenError::Newer(version) if version == "99990101000001"), "{error:?}");
    let error = migrate(&database.options()).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer(_)), "{error:?}");
    assert_eq!(status(&database.options()).await.unwrap().unknown, ["99990101000001"]);
    shell.batch_execute("DELETE FROM __diesel_schema_migrations").await.unwrap();
    let error = PostgresStore::open(&database.options()).await.unwrap_err();
    assert!(matches!(error, OpenError::Missing), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_can_be_neither_changed_nor_removed() {
    let (store, database) = store().await;
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    let shell = database.shell().await;
    for statement in [
        "UPDATE order_events SET actor_id = 'nobody'",
        "DELETE FROM order_events",
        "TRUNCATE order_events",
        "UPDATE order_events_1 SET actor_id = 'nobody'",
        "DELETE FROM order_events_1",
    ] {
        let error = shell.batch_execute(statement).await.unwrap_err();
        let message = error.as_db_error().unwrap().message().to_owned();
        assert_eq!(message, "events are never changed and never deleted", "{statement}");
    }
    assert_eq!(check(&*store).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_rows_are_refused() {
    let (store, database) = store().await;
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    let shell = database.shell().await;
    for change in [
        "state = 'LOST'",
        "state = 'ISSUED'",
        "issued_at = accepted_at",
        "state = 'ISSUED', issued_at = accepted_at - 1",
        "weight_grams = 0",
        "price_minor = -1",
        "currency = 'rub'",
        "customer_id = ''",
        "customer_id = '-a'",
        "storage_until = 253402300800000000",
        "version = 0",
    ] {
        let error = shell.batch_execute(&format!("UPDATE orders SET {change}")).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "23514", "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_made_ahead_and_old_events_can_be_detached() {
    let (store, database) = store().await;
    let shell = database.shell().await;
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    shell.batch_execute("SELECT setval('order_events_position_seq', 39999999)").await.unwrap();
    // The migration made room up to thirty million: the next position has none.
    assert!(run(&*store, &[accept(parcel("two"))]).await.unwrap_err().retryable());
    store.upkeep().await.unwrap();
    store.upkeep().await.unwrap();
    for id in ["two", "three", "four"] {
        run(&*store, &[accept(parcel(id))]).await.unwrap();
    }
    let feed = store.feed(Position(0), 10).await.unwrap();
    assert_eq!(feed[0].position, Position(1));
    assert!(feed.last().unwrap().position > Position(40_000_000));
    assert_eq!(store.oldest().await.unwrap(), Position(0));
    assert_eq!(check(&*store).await, (4, 4));

    shell.batch_execute("ALTER TABLE order_events DETACH PARTITION order_events_1").await.unwrap();
    assert_eq!(store.oldest().await.unwrap(), Position(10_000_000));
    assert_eq!(store.feed(Position(10_000_000), 10).await.unwrap(), feed[1..]);
    assert_eq!(store.head().await.unwrap(), feed.last().unwrap().position);
    assert!(store.history(&order("one"), 0, 10).await.unwrap().is_empty());
}
