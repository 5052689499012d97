//! Tests of data that was damaged by SQL.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use pvz::adapters::sqlite::SqliteStore;
use pvz::domain::Order;
use pvz::ports::{Batch, ErrorKind, EventLog as _, OrderFilter, OrderStore as _, Position, Writes};
use tempfile::TempDir;

use super::{all, folder, open, shell};
use crate::contract::fixtures::{
    self, accepted, accepting, answer, event, id, issued, key, load, moving, record, write,
};

/// Runs SQL without the checks of the schema.
fn damage(path: &Path, sql: &str) {
    let mut shell = shell(path);
    shell.batch_execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;").unwrap();
    shell.batch_execute(sql).unwrap();
}

#[test]
fn events_cannot_be_changed_or_deleted() {
    let (_folder, path) = folder();
    let store = open(&path);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(write(&store, accepting(&[accepted("1", 0)]))).unwrap();
    let mut shell = shell(&path);
    for (sql, why) in [
        ("UPDATE order_events SET actor_id = 'somebody'", "events are never changed"),
        ("DELETE FROM order_events", "events are never deleted"),
    ] {
        let error = shell.batch_execute(sql).unwrap_err();
        assert_eq!(error.to_string(), why);
    }
    let feed = runtime.block_on(store.feed(Position(0), 10)).unwrap();
    assert_eq!(feed[0].event, event(&accepted("1", 0)));
}

#[test]
fn schema_refuses_values_that_the_domain_does_not_allow() {
    let (_folder, path) = folder();
    let store = open(&path);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(write(&store, accepting(&[accepted("1", 0)]))).unwrap();
    let mut shell = shell(&path);
    for sql in [
        "UPDATE orders SET customer_id = ''",
        "UPDATE orders SET customer_id = '-a'",
        "UPDATE orders SET pickup_point_id = ' b'",
        "UPDATE orders SET order_id = 'й'",
        "UPDATE orders SET state = 'LOST'",
        "UPDATE orders SET state = 'ISSUED'",
        "UPDATE orders SET issued_at = accepted_at",
        "UPDATE orders SET state = 'ISSUED', issued_at = accepted_at - 1",
        "UPDATE orders SET state = 'RETURNED', returned_at = accepted_at",
        "UPDATE orders SET weight_grams = 0",
        "UPDATE orders SET weight_grams = 100001",
        "UPDATE orders SET price_minor = -1",
        "UPDATE orders SET price_minor = 1.5",
        "UPDATE orders SET storage_until = 9223372036854775807",
        "UPDATE orders SET currency = 'rub'",
        "UPDATE orders SET version = 0",
        "DELETE FROM orders",
    ] {
        let error = shell.batch_execute(sql).expect_err(sql);
        assert!(matches!(error, diesel::result::Error::DatabaseError(..)), "{sql}: {error}");
    }
}

async fn damaged(sql: &str) -> (TempDir, SqliteStore) {
    let (folder, path) = folder();
    let store = open(&path);
    let orders: Vec<Order> = ["1", "2", "3"].map(|order_id| accepted(order_id, 0)).into();
    write(&store, accepting(&orders)).await.unwrap();
    damage(&path, sql);
    (folder, store)
}

#[tokio::test]
async fn read_error_names_table_column_and_key() {
    for (sql, expected) in [
        (
            "UPDATE orders SET state = 'LOST' WHERE order_id = '2'",
            "orders \"2\": state has the unknown value \"LOST\"",
        ),
        ("UPDATE orders SET issued_at = 7 WHERE order_id = '2'", "orders \"2\": state STORED contradicts"),
        ("UPDATE orders SET weight_grams = 0 WHERE order_id = '2'", "orders \"2\": weight_grams must be"),
        ("UPDATE orders SET version = 0 WHERE order_id = '2'", "orders \"2\": version must be"),
        (
            "UPDATE orders SET accepted_at = 9223372036854775807 WHERE order_id = '2'",
            "orders \"2\": accepted_at is not within",
        ),
    ] {
        let (_folder, store) = damaged(sql).await;
        let mut errors = vec![
            store.order(&id("2")).await.unwrap_err(),
            write(&store, moving(&accepted("2", 0), &[issued(&accepted("2", 0), 1)])).await.unwrap_err(),
        ];
        match store.orders(&OrderFilter::default(), &all()).await {
            Err(error) => errors.push(error),
            // Lists read the orders of each known state.
            Ok(listed) => assert!(sql.contains("LOST") && listed.len() == 2, "{sql}: {listed:?}"),
        }
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Inconsistent, "{sql}");
            assert!(error.to_string().starts_with(expected), "{sql}: {error}");
        }
        // Other orders are not affected.
        assert!(store.order(&id("1")).await.unwrap().is_some());
        let third = accepted("3", 0);
        write(&store, moving(&third, &[issued(&third, 1)])).await.unwrap();
        let audited = store.audit(None, 10).await.unwrap();
        assert!(audited[1].row.as_ref().unwrap_err().starts_with(expected), "{sql}: {:?}", audited[1].row);
        assert!(audited[0].row.is_ok() && audited[2].row.is_ok());
    }
}

#[tokio::test]
async fn read_error_names_the_column_with_invalid_utf_8() {
    let sql = "UPDATE orders SET customer_id = CAST(x'ff00' AS TEXT) WHERE order_id = '2'";
    let (_folder, store) = damaged(sql).await;
    let expected = "orders: Error deserializing field 'customer_id'";
    for error in [
        store.order(&id("2")).await.unwrap_err(),
        store.orders(&OrderFilter::default(), &all()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Inconsistent);
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let audited = store.audit(None, 10).await.unwrap();
    assert!(audited[1].row.as_ref().unwrap_err().starts_with(expected), "{:?}", audited[1].row);
    assert!(audited[0].row.is_ok() && audited[2].row.is_ok());
}

const UNGUARDED: &str =
    "DROP TRIGGER order_events_are_never_changed; DROP TRIGGER order_events_are_never_deleted;";

#[tokio::test]
async fn audit_finds_damaged_events() {
    for (sql, expected) in [
        ("UPDATE order_events SET body = x'ffff' WHERE order_id = '2'", "body cannot be decoded"),
        ("UPDATE order_events SET body = x'' WHERE order_id = '2'", "body.state has the unknown value 0"),
        ("UPDATE order_events SET type = 'LOST' WHERE order_id = '2'", "type has the unknown value \"LOST\""),
        ("UPDATE order_events SET event_id = x'00' WHERE order_id = '2'", "event_id must be 16 bytes"),
        (
            "UPDATE order_events SET actor_kind = 'ghost' WHERE order_id = '2'",
            "actor_kind has the unknown value",
        ),
        (
            "UPDATE order_events SET body = (SELECT body FROM order_events WHERE order_id = '1') \
             WHERE order_id = '2'",
            "body.order_id differs from the column order_id",
        ),
    ] {
        let (_folder, store) = damaged(&format!("{UNGUARDED}{sql}")).await;
        let expected = format!("order_events \"position 2\": {expected}");
        let audited = store.audit(None, 10).await.unwrap();
        let found = audited[1].events.as_ref().unwrap_err();
        assert!(found.starts_with(&expected), "{sql}: {found}");
        assert!(audited[0].events.is_ok() && audited[2].events.is_ok() && audited[1].row.is_ok());
        let error = store.feed(Position(0), 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Inconsistent);
        assert!(error.to_string().starts_with(&expected), "{sql}: {error}");
    }
}

#[tokio::test]
async fn audit_finds_ids_with_only_a_row_or_only_events() {
    let (_folder, store) = damaged("DELETE FROM orders WHERE order_id = '2'").await;
    let audited = store.audit(Some(&id("1")), 1).await.unwrap();
    assert_eq!(audited[0].order_id, id("2"));
    assert_eq!(audited[0].row, Ok(None));
    assert_eq!(audited[0].events, Ok(vec![event(&accepted("2", 0))]));

    let (_folder, store) =
        damaged(&format!("{UNGUARDED}DELETE FROM order_events WHERE order_id = '2'")).await;
    let audited = store.audit(None, 10).await.unwrap();
    assert_eq!(audited[1].row, Ok(Some(accepted("2", 0))));
    assert_eq!(audited[1].events, Ok(Vec::new()));
    assert_eq!(audited.len(), 3);
}

#[tokio::test]
async fn oldest_position_follows_the_archive() {
    let (_folder, store) = damaged(&format!("{UNGUARDED}DELETE FROM order_events WHERE position < 3")).await;
    assert_eq!(store.oldest().await.unwrap(), Position(2));
    let (_folder, store) = damaged(&format!("{UNGUARDED}DELETE FROM order_events")).await;
    assert_eq!(store.oldest().await.unwrap(), Position(3));
    assert_eq!(store.head().await.unwrap(), Position(3));
    write(&store, accepting(&[accepted("4", 0)])).await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position(4), "a position is never reused");
}

#[tokio::test]
async fn damaged_record_affects_only_its_key() {
    let (_folder, path) = folder();
    let store = open(&path);
    let records = ["1", "2"].map(|name| (key(name), record(answer(&accepted(name, 0)), 0))).into();
    write(&store, Writes { records, ..Writes::default() }).await.unwrap();
    damage(&path, "UPDATE idempotency SET answer = x'08' WHERE request_id = '2'");
    let batch = |name| Batch { idempotency_keys: [key(name)].into(), ..Batch::default() };
    assert_eq!(load(&store, batch("1")).await.records.len(), 1);
    let nothing = fixtures::decide(|_| pvz::ports::BatchDecision::default());
    let error = store.transact(batch("2"), nothing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Inconsistent);
    assert!(error.to_string().starts_with("idempotency \"/2\": answer cannot be decoded"), "{error}");
}
