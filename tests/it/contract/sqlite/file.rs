//! Tests of the file: opening, closing, locking, a full disk.

use std::error::Error as _;

use diesel::connection::SimpleConnection as _;
use pvz::adapters::sqlite::{OpenError, SqliteOptions, SqliteStore};
use pvz::domain::{Order, Timestamp};
use pvz::ports::{
    AuditedOrder, Batch, ErrorKind, EventLog as _, OrderFilter, OrderStore as _, PortError, Position, Writes,
};

use super::{all, folder, open, options, shell};
use crate::contract::fixtures::{
    self, accepted, accepting, answer, at, event, id, issued, key, load, moving, record, write,
};

fn text_of(error: &PortError) -> String {
    format!("{error}: {:?}", error.source().map(ToString::to_string))
}

#[tokio::test]
async fn keeps_all_data_across_a_restart() {
    let (_folder, path) = folder();
    let order = accepted("1", 0);
    let kept = (key("key"), record(answer(&order), 0));
    let store = open(&path);
    let writes = Writes { records: vec![kept.clone()], ..accepting(std::slice::from_ref(&order)) };
    write(&store, writes).await.unwrap();
    let (secret, feed) = (store.secret().await.unwrap(), store.feed(Position(0), 10).await.unwrap());
    drop(store);

    let store = open(&path);
    assert_eq!(store.order(&id("1")).await.unwrap(), Some(order.clone()));
    assert_eq!(store.feed(Position(0), 10).await.unwrap(), feed);
    assert_eq!(store.secret().await.unwrap(), secret);
    let named = Batch { idempotency_keys: [kept.0.clone()].into(), ..Batch::default() };
    assert_eq!(load(&store, named).await.records, [kept].into());
    write(&store, moving(&order, &[issued(&order, 1)])).await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position(2));
}

/// The previous release has no column `later_hashes`. It requires one hash for each field of the first
/// release, and inserts rows without the column.
#[tokio::test]
async fn shares_idempotency_records_with_the_previous_release() {
    let (_folder, path) = folder();
    let store = open(&path);
    let mut newer = record(answer(&accepted("1", 0)), 0);
    newer.later_hashes.insert("note".to_owned(), [7; 16]);
    let writes = Writes { records: vec![(key("newer"), newer.clone())], ..Writes::default() };
    write(&store, writes).await.unwrap();
    let mut shell = shell(&path);
    let as_read = format!("length(hashes) = {}", 16 * newer.method.fields().len());
    let copied = diesel::sql_query(format!(
        "INSERT INTO idempotency (scope, request_id, method, hashes, answer, created_at) \
         SELECT scope, 'older', method, hashes, answer, created_at FROM idempotency WHERE {as_read}"
    ));
    assert_eq!(diesel::RunQueryDsl::execute(copied, &mut shell).unwrap(), 1);
    let named = Batch { idempotency_keys: [key("newer"), key("older")].into(), ..Batch::default() };
    let older = pvz::ports::IdempotencyRecord { later_hashes: [].into(), ..newer.clone() };
    assert_eq!(load(&store, named).await.records, [(key("newer"), newer), (key("older"), older)].into());
}

#[tokio::test]
async fn two_stores_have_two_secrets() {
    let (one, other) = (folder(), folder());
    assert_ne!(open(&one.1).secret().await.unwrap(), open(&other.1).secret().await.unwrap());
}

#[tokio::test]
async fn opens_a_path_with_uri_syntax() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b%3f#заказы?mode=ro&x.db");
    write(&open(&path), accepting(&[accepted("1", 0)])).await.unwrap();
    assert!(path.exists());
    assert!(open(&path).order(&id("1")).await.unwrap().is_some());
}

#[test]
fn refuses_a_file_that_another_server_has_open() {
    let (_folder, path) = folder();
    let first = open(&path);
    let error = SqliteStore::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    let lock = format!("{}.lock", path.display());
    let sentence = format!(
        "the store {} is in use: another server has locked {lock}; stop it, or use another store",
        path.display()
    );
    assert_eq!(error.to_string(), sentence);
    drop(first);
    open(&path);
}

#[tokio::test]
async fn lock_is_held_until_a_running_operation_ends() {
    let (_folder, path) = folder();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let (finish, may_finish) = std::sync::mpsc::channel::<()>();
    let signals = std::sync::Mutex::new(Some((started, may_finish)));
    let store = open(&path);
    let blocking = fixtures::decide(move |_| {
        let (started, may_finish) = signals.lock().unwrap().take().unwrap();
        started.send(()).unwrap();
        may_finish.recv().unwrap();
        pvz::ports::BatchDecision { writes: accepting(&[accepted("1", 0)]), ..Default::default() }
    });
    let running = tokio::spawn(async move { store.transact(Batch::default(), blocking).await });
    has_started.await.unwrap();
    // Cancels the caller, which drops the store.
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(matches!(SqliteStore::open(&path, &options()), Err(OpenError::InUse { .. })));
    finish.send(()).unwrap();
    let reopened = loop {
        match SqliteStore::open(&path, &options()) {
            Ok(store) => break store,
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert!(reopened.order(&id("1")).await.unwrap().is_some(), "the running operation was completed");
}

#[test]
fn refuses_a_file_of_a_newer_release() {
    let (_folder, path) = folder();
    drop(open(&path));
    shell(&path)
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000001')")
        .unwrap();
    for error in [
        SqliteStore::open(&path, &options()).unwrap_err(),
        SqliteStore::open_read_only(&path, &options()).unwrap_err(),
    ] {
        assert!(matches!(&error, OpenError::Newer { .. }), "{error:?}");
        assert!(error.to_string().contains("29990101000001"), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn refuses_a_file_that_is_not_a_store() {
    let (folder, path) = folder();
    std::fs::write(&path, "a shopping list, long enough not to look like an empty file".repeat(100)).unwrap();
    let error = SqliteStore::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    let error = SqliteStore::open(&folder.path().join("no/such/folder.db"), &options()).unwrap_err();
    assert!(matches!(error, OpenError::NoFolder { .. }), "{error:?}");
    let missing = folder.path().join("missing.db");
    let error = SqliteStore::open_read_only(&missing, &options()).unwrap_err();
    assert!(matches!(error, OpenError::Missing(_)), "{error:?}");
    assert!(!missing.exists());
}

#[test]
fn database_of_another_program_is_not_changed() {
    let (_folder, path) = folder();
    shell(&path).batch_execute("CREATE TABLE recipes (name TEXT)").unwrap();
    let before = std::fs::read(&path).unwrap();
    for error in [
        SqliteStore::open(&path, &options()).unwrap_err(),
        SqliteStore::open_read_only(&path, &options()).unwrap_err(),
    ] {
        assert!(matches!(error, OpenError::Foreign(_)), "{error:?}");
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn empty_file_is_initialized_only_by_a_writer() {
    let (_folder, path) = folder();
    std::fs::write(&path, "").unwrap();
    let error = SqliteStore::open_read_only(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::Missing(_)), "{error:?}");
    open(&path);
    SqliteStore::open_read_only(&path, &options()).unwrap();
}

#[tokio::test]
async fn read_only_store_reads_while_a_server_writes() {
    let (_folder, path) = folder();
    let server = open(&path);
    let order = accepted("1", 0);
    write(&server, accepting(std::slice::from_ref(&order))).await.unwrap();
    let reader = SqliteStore::open_read_only(&path, &options()).unwrap();
    assert_eq!(reader.order(&id("1")).await.unwrap(), Some(order.clone()));
    assert_eq!(reader.secret().await.unwrap(), server.secret().await.unwrap());
    // The reader sees later writes.
    write(&server, moving(&order, &[issued(&order, 1)])).await.unwrap();
    assert_eq!(reader.audit(None, 10).await.unwrap()[0].events.as_ref().unwrap().len(), 2);
    let error = write(&reader, accepting(&[accepted("2", 0)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", text_of(&error));
    assert_eq!(reader.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(server.order(&id("2")).await.unwrap(), None);
}

#[tokio::test]
async fn works_again_after_another_program_releases_its_lock() {
    let (_folder, path) = folder();
    let store = open(&path);
    let mut shell = shell(&path);
    shell.batch_execute("BEGIN IMMEDIATE").unwrap();
    let error = write(&store, accepting(&[accepted("1", 0)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", text_of(&error));
    assert!(text_of(&error).contains("locked"), "{}", text_of(&error));
    assert_eq!(store.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(store.orders(&OrderFilter::default(), &all()).await.unwrap().is_empty(), "reads still work");
    shell.batch_execute("ROLLBACK").unwrap();
    store.ping().await.unwrap();
    write(&store, accepting(&[accepted("1", 0)])).await.unwrap();
}

/// Writes orders and idempotency records until the file is full. Returns the number of batches written,
/// and the error of the next one.
async fn fill(store: &SqliteStore) -> (i64, PortError) {
    for n in 0..10_000 {
        let order = accepted(&format!("filler-{n}"), n);
        let records =
            (0..20).map(|m| (key(&format!("key-{n:05}-{m:02}")), record(answer(&order), n))).collect();
        let writes = Writes { records, ..accepting(std::slice::from_ref(&order)) };
        if let Err(error) = write(store, writes).await {
            return (n, error);
        }
    }
    panic!("the file is not limited")
}

async fn assert_consistent(store: &SqliteStore, orders: i64) {
    let audited = store.audit(None, usize::MAX).await.unwrap();
    assert_eq!(i64::try_from(audited.len()).unwrap(), orders);
    for AuditedOrder { order_id, row, events, .. } in audited {
        assert_eq!(events.unwrap(), [event(&row.unwrap().unwrap())], "{order_id}");
    }
    assert_eq!(store.head().await.unwrap(), Position(orders));
}

#[tokio::test]
async fn full_disk_refuses_writes_until_space_is_free() {
    let (_folder, path) = folder();
    let store = SqliteStore::open(&path, &SqliteOptions { max_pages: Some(200), ..options() }).unwrap();
    let (batches, error) = fill(&store).await;
    assert!(batches > 10);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", text_of(&error));
    assert!(text_of(&error).contains("full"), "{}", text_of(&error));
    assert_consistent(&store, batches).await;
    let refused =
        Batch { idempotency_keys: [key(&format!("key-{batches:05}-00"))].into(), ..Batch::default() };
    assert!(load(&store, refused).await.records.is_empty(), "the refused batch left no record");

    // After space is freed, the same store accepts the same batch.
    assert!(store.expire_idempotency_records(at(batches), 1_000_000).await.unwrap() > 0);
    write(&store, accepting(&[accepted(&format!("filler-{batches}"), batches)])).await.unwrap();
    assert_consistent(&store, batches + 1).await;
    drop(store);
    let larger = open(&path);
    write(&larger, accepting(&[accepted("later", 0)])).await.unwrap();
}

#[tokio::test]
async fn keeps_the_first_and_the_last_instant() {
    let (_folder, path) = folder();
    let store = open(&path);
    let first = Timestamp::from_parts(-62_135_596_800, 0).unwrap();
    let order = Order { accepted_at: first, storage_until: Timestamp::MAX, ..accepted("1", 0) };
    write(&store, accepting(std::slice::from_ref(&order))).await.unwrap();
    let found = store.orders(&OrderFilter::default(), &all()).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&order));
    assert_eq!(store.history(&id("1"), 0, 1).await.unwrap()[0].event, event(&order));
}
