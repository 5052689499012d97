//! The PostgreSQL schema: concurrent migrations, version checks, constraints,
//! partitions and maintenance.

use std::sync::Arc;

use pvz::adapters::postgres::{OpenError, PostgresStore, migrate, status};
use pvz::app::verify;
use pvz::domain::{BatchMode, Timestamp};
use pvz::ports::{Batch, EventLog as _, IdempotencyRecord, OrderStore as _, Outbox as _, Position, Writes};
use tokio_postgres::Client;

use super::cluster::{cluster, store};
use super::{run, verified_counts};
use crate::contract::fixtures::{accepted, answer, key, load, record, write};
use crate::support::commands::{accept, issue, order, parcel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_migrations_apply_each_step_once() {
    let database = cluster().database(false).await;
    let options = database.options();
    let missing = PostgresStore::open(&options).await.unwrap_err();
    assert!(matches!(missing, OpenError::Missing), "{missing:?}");
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
async fn older_and_newer_schemas_are_refused() {
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
async fn events_cannot_be_changed_or_removed() {
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
    assert_eq!(verified_counts(&*store).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_orders_are_refused() {
    let (store, database) = store().await;
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    let shell = database.shell().await;
    for change in [
        "state = 'LOST'",
        "state = 'ISSUED'",
        "issued_at = accepted_at",
        "state = 'ISSUED', issued_at = accepted_at - 1",
        "state = 'RETURNED', returned_at = accepted_at",
        "state = 'RETURNED', issued_at = accepted_at + 1, returned_at = accepted_at",
        "state = 'HANDED_TO_COURIER'",
        "state = 'HANDED_TO_COURIER', handed_to_courier_at = accepted_at - 1",
        "state = 'HANDED_TO_COURIER', handed_to_courier_at = accepted_at, issued_at = accepted_at",
        "state = 'HANDED_TO_COURIER', handed_to_courier_at = accepted_at, returned_at = accepted_at",
        "weight_grams = 0",
        "price_minor = -1",
        "currency = 'rub'",
        "customer_id = ''",
        "customer_id = '-a'",
        "customer_id = '/a'",
        "customer_id = ':a'",
        "customer_id = '@a'",
        "customer_id = '[a'",
        "customer_id = '`a'",
        "customer_id = '{a'",
        "customer_id = 'é'",
        "customer_id = repeat('a', 65)",
        "currency = 'RU'",
        "currency = 'RUBL'",
        "currency = 'R1B'",
        "state = 'RETURNED', issued_at = accepted_at, returned_at = accepted_at - 1",
        "state = 'HANDED_TO_COURIER', issued_at = accepted_at, returned_at = accepted_at + 1, handed_to_courier_at = accepted_at",
        "state = 'ISSUED', issued_at = accepted_at, returned_at = accepted_at",
        "state = 'STORED', issued_at = accepted_at",
        "storage_until = 253402300800000000",
        "version = 0",
    ] {
        let error = shell.batch_execute(&format!("UPDATE orders SET {change}")).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "23514", "{change}");
    }
    for valid in [
        "customer_id = '0', pickup_point_id = 'A', currency = 'AZQ'",
        "customer_id = '9', pickup_point_id = 'Z'",
        "customer_id = 'a', pickup_point_id = repeat('z', 64)",
        "state = 'ISSUED', issued_at = accepted_at",
        "state = 'RETURNED', returned_at = accepted_at",
        "state = 'HANDED_TO_COURIER', handed_to_courier_at = accepted_at",
        "issued_at = NULL, returned_at = NULL",
    ] {
        let changed = shell.execute(&format!("UPDATE orders SET {valid}"), &[]).await;
        assert_eq!(changed.unwrap_or_else(|error| panic!("{valid}: {error:?}")), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_events_are_refused() {
    let (store, database) = store().await;
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    let shell = database.shell().await;
    for (column, value) in [
        ("sequence", "0"),
        ("type", "'ORDER_LOST'"),
        ("actor_kind", "'nobody'"),
        ("actor_id", "''"),
        ("actor_id", "repeat('a', 65)"),
        ("request_id", "''"),
        ("request_id", "repeat('a', 129)"),
        ("traceparent", "repeat('0', 54)"),
    ] {
        // A copy of the existing event with one value replaced.
        let values = ["sequence", "type", "actor_kind", "actor_id", "request_id", "traceparent"]
            .map(|name| if name == column { value } else { name });
        let insert = format!(
            "INSERT INTO order_events (event_id, order_id, occurred_at, body,
                sequence, type, actor_kind, actor_id, request_id, traceparent)
             SELECT event_id, order_id, occurred_at, body, {} FROM order_events LIMIT 1",
            values.join(", ")
        );
        let error = shell.batch_execute(&insert).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "23514", "{column} = {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_added_ahead_and_old_ones_can_be_detached() {
    let (store, database) = store().await;
    let shell = database.shell().await;
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    shell.batch_execute("SELECT setval('order_events_position_seq', 39999999)").await.unwrap();
    // The migration created partitions up to position 30,000,000.
    assert!(run(&*store, &[accept(parcel("two"))]).await.unwrap_err().retryable());
    store.maintenance().await.unwrap();
    store.maintenance().await.unwrap();
    for id in ["two", "three", "four"] {
        run(&*store, &[accept(parcel(id))]).await.unwrap();
    }
    let feed = store.feed(Position(0), 10).await.unwrap();
    assert_eq!(feed[0].position, Position(1));
    assert!(feed.last().unwrap().position > Position(40_000_000));
    assert_eq!(store.oldest().await.unwrap(), Position(0));
    assert_eq!(verified_counts(&*store).await, (4, 4));

    // Outside a transaction and concurrently with writers, as in docs/postgres.md.
    shell
        .batch_execute("ALTER TABLE order_events DETACH PARTITION order_events_1 CONCURRENTLY")
        .await
        .unwrap();
    // Maintenance has already removed the partitions without events.
    assert_eq!(store.oldest().await.unwrap(), Position(30_000_000));
    assert_eq!(store.feed(Position(30_000_000), 10).await.unwrap(), feed[1..]);
    assert_eq!(store.head().await.unwrap(), feed.last().unwrap().position);
    assert!(store.history(&order("one"), 0, 10).await.unwrap().is_empty());
    // `verify` checks the remaining events: one order has lost all of its events, and
    // another all but the last.
    run(&*store, &[issue(&["one"], BatchMode::Atomic)]).await.unwrap();
    let report = verify(&*store, |_| {}).await.unwrap();
    assert_eq!((report.orders, report.events, report.archived, report.differing), (4, 4, 1, 0));
    shell.batch_execute("UPDATE orders SET weight_grams = 7 WHERE order_id = 'one'").await.unwrap();
    assert_eq!(verify(&*store, |_| {}).await.unwrap().differing, 1);
}

/// The previous release does not know `later_hashes`: it requires one hash for each
/// field of the first release, and inserts rows without the column.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_records_are_shared_with_the_previous_release() {
    let (store, database) = store().await;
    let mut newer = record(answer(&accepted("1", 0)), 0);
    newer.later_hashes.insert("note".to_owned(), [7; 16]);
    let writes = Writes { records: vec![(key("newer"), newer.clone())], ..Writes::default() };
    write(&*store, writes).await.unwrap();
    let is_readable = format!("length(hashes) = {}", 16 * newer.method.fields().len());
    let copy = format!(
        "INSERT INTO idempotency (scope, request_id, method, hashes, answer, created_at)
         SELECT scope, 'older', method, hashes, answer, created_at FROM idempotency WHERE {is_readable}"
    );
    assert_eq!(database.shell().await.execute(&copy, &[]).await.unwrap(), 1);
    let batch = Batch { idempotency_keys: [key("newer"), key("older")].into(), ..Batch::default() };
    let older = IdempotencyRecord { later_hashes: [].into(), ..newer.clone() };
    assert_eq!(load(&*store, batch).await.records, [(key("newer"), newer), (key("older"), older)].into());
}

/// Returns the names of the partitions of `order_events`, sorted.
pub async fn partitions(shell: &Client) -> Vec<String> {
    let query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'order_events'::regclass";
    let mut names: Vec<String> =
        shell.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_past_partitions_are_dropped() {
    let (store, database) = store().await;
    let (shell, mut other) = (database.shell().await, database.shell().await);
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    // An open transaction that has taken a position still needs its partition.
    shell.batch_execute("SELECT setval('order_events_position_seq', 10000001)").await.unwrap();
    let transaction = other.transaction().await.unwrap();
    let insert = "INSERT INTO order_events (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body) \
                  SELECT gen_random_uuid(), 'open', 1, type, actor_kind, actor_id, occurred_at, body FROM order_events";
    transaction.batch_execute(insert).await.unwrap();
    shell.batch_execute("SELECT setval('order_events_position_seq', 39999999)").await.unwrap();
    let all = ["order_events_1", "order_events_10000001", "order_events_20000001", "order_events_30000001"];
    store.maintenance().await.unwrap();
    assert_eq!(partitions(&shell).await[..4], all);
    // Maintenance does not wait for transactions that read or write the log.
    transaction.rollback().await.unwrap();
    let reader = other.transaction().await.unwrap();
    reader.batch_execute("SELECT FROM order_events").await.unwrap();
    store.maintenance().await.unwrap();
    assert_eq!(partitions(&shell).await[..4], all);
    reader.commit().await.unwrap();
    // One per step; partitions with events and future ones are kept.
    for left in [6, 5, 4, 4] {
        assert_eq!(partitions(&shell).await.len(), left);
        store.maintenance().await.unwrap();
    }
    assert_eq!(partitions(&shell).await[..2], [all[0], all[3]]);
    assert_eq!(verified_counts(&*store).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_partition_is_dropped_while_a_relay_leads() {
    let (store, database) = store().await;
    let shell = database.shell().await;
    shell.batch_execute("SELECT setval('order_events_position_seq', 10000001)").await.unwrap();
    let lease = store.acquire_lease("sink").await.unwrap().expect("nobody else leads");
    let before = partitions(&shell).await;
    assert_eq!(before[0], "order_events_1");
    store.maintenance().await.unwrap();
    assert!(!partitions(&shell).await.contains(&before[0]));
    // Another replica that drops one at the same time has its own lock.
    shell.batch_execute("SELECT setval('order_events_position_seq', 20000001)").await.unwrap();
    let mut other = database.shell().await;
    let busy = other.transaction().await.unwrap();
    busy.batch_execute("SELECT pg_advisory_xact_lock(7370362, 5)").await.unwrap();
    store.maintenance().await.unwrap();
    assert!(partitions(&shell).await.contains(&"order_events_10000001".to_owned()));
    busy.rollback().await.unwrap();
    store.maintenance().await.unwrap();
    assert!(!partitions(&shell).await.contains(&"order_events_10000001".to_owned()));
    assert!(!lease.is_lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_maintenance_steps_do_not_wait_for_each_other() {
    const RECORDS: usize = 60;
    let (one, database) = store().await;
    let two = database.open().await;
    let commands: Vec<_> =
        (0..RECORDS).map(|n| accept(parcel(&format!("order-{n}"))).key(&format!("key-{n}"))).collect();
    run(&*one, &commands).await.unwrap();
    let never = Timestamp::from_micros(253_402_300_799_999_999).unwrap();
    // Another session holds the maintenance locks until its transaction ends.
    let mut shell = database.shell().await;
    let busy = shell.transaction().await.unwrap();
    let lock = "SELECT pg_try_advisory_xact_lock(7370362, number) FROM unnest('{2,3,5}'::int[]) AS number";
    busy.execute(lock, &[]).await.unwrap();
    assert_eq!(one.expire_idempotency_records(never, 10).await.unwrap(), 0);
    one.maintenance().await.unwrap();
    busy.commit().await.unwrap();
    // Both run concurrently: each record is removed once, in steps within the limit.
    let removed = |store: Arc<PostgresStore>| async move {
        let mut removed = 0;
        for _ in 0..RECORDS {
            let step = store.expire_idempotency_records(never, 7).await.unwrap();
            assert!(step <= 7);
            removed += step;
            store.maintenance().await.unwrap();
        }
        removed
    };
    let (first, second) = tokio::join!(removed(one.clone()), removed(Arc::new(two)));
    assert_eq!(first + second, RECORDS);
    assert_eq!(verified_counts(&*one).await, (RECORDS as u64, RECORDS as u64));
}
