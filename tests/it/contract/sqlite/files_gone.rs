//! Tests of files that are moved, deleted, replaced or truncated while the store is open.

use std::error::Error as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use pvz::adapters::sqlite::SqliteStore;
use pvz::ports::{ErrorKind, OrderStore as _, PortError};

use super::{folder, open, shell};
use crate::contract::fixtures::{accepted, accepting, id, write};

fn file(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!("orders.db{suffix}"))
}

fn assert_names(error: &PortError, file: &Path, change: &str) {
    let cause = error.source().unwrap().to_string();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}: {cause}");
    assert!(cause.starts_with(&format!("{} {change}", file.display())), "{cause}");
}

/// Checks that nothing is answered, and that the cause names the file and its change.
async fn assert_unavailable(store: &SqliteStore, file: &Path, change: &str) {
    assert_names(&store.ping().await.unwrap_err(), file, change);
    let writes = accepting(&[accepted("refused", 0)]);
    assert_names(&write(store, writes).await.unwrap_err(), file, change);
    assert_names(&store.order(&id("1")).await.unwrap_err(), file, change);
}

async fn assert_available(store: &SqliteStore, order_id: &str) {
    store.ping().await.unwrap();
    write(store, accepting(&[accepted(order_id, 0)])).await.unwrap();
    assert!(store.order(&id(order_id)).await.unwrap().is_some());
}

#[tokio::test]
async fn is_unavailable_while_a_file_is_gone() {
    for suffix in ["", "-wal", "-shm"] {
        let (_folder, path) = folder();
        let store = open(&path);
        assert_available(&store, "1").await;
        let (here, away) = (file(&path, suffix), file(&path, ".away"));
        fs::rename(&here, &away).unwrap();
        assert_unavailable(&store, &here, "was moved or deleted").await;
        assert!(!here.exists(), "nothing was created in its place");
        fs::copy(&away, &here).unwrap();
        assert_unavailable(&store, &here, "was replaced").await;
        fs::rename(&away, &here).unwrap();
        assert_available(&store, "2").await;
        assert!(store.order(&id("refused")).await.unwrap().is_none());
        drop(store);
        assert!(open(&path).order(&id("2")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn is_unavailable_after_a_file_was_truncated() {
    for suffix in ["", "-wal"] {
        let (_folder, path) = folder();
        let store = open(&path);
        assert_available(&store, "1").await;
        store.ping().await.unwrap();
        let truncated = file(&path, suffix);
        File::options().write(true).open(&truncated).unwrap().set_len(0).unwrap();
        assert_unavailable(&store, &truncated, "was truncated").await;
        assert_unavailable(&store, &truncated, "was truncated").await;
    }
}

#[tokio::test]
async fn other_programs_may_compact_the_files() {
    let (_folder, path) = folder();
    let store = open(&path);
    let orders: Vec<_> = (0..500).map(|n| accepted(&format!("order-{n}"), n)).collect();
    write(&store, accepting(&orders)).await.unwrap();
    let mut other = shell(&path);
    other
        .batch_execute("CREATE TABLE notes (note BLOB); INSERT INTO notes VALUES (zeroblob(1000000))")
        .unwrap();
    other.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_available(&store, "1").await;
    let before = (file(&path, "").metadata().unwrap().len(), file(&path, "-wal").metadata().unwrap().len());
    other.batch_execute("DROP TABLE notes; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let after = (file(&path, "").metadata().unwrap().len(), file(&path, "-wal").metadata().unwrap().len());
    assert!(after.0 < before.0 && after.1 < before.1, "{before:?} {after:?}");
    assert_available(&store, "2").await;
    assert_available(&store, "3").await;
}

/// The last connection to be closed removes the log by its name.
#[tokio::test]
async fn the_log_of_a_restored_store_stays_when_the_old_one_is_closed() {
    let (folder, path) = folder();
    let store = open(&path);
    assert_available(&store, "1").await;
    let away = folder.path().join("away");
    fs::create_dir(&away).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let here = file(&path, suffix);
        fs::rename(&here, away.join(here.file_name().unwrap())).unwrap();
    }
    let log = file(&path, "-wal");
    fs::write(&path, "restored").unwrap();
    fs::write(&log, "restored").unwrap();
    assert_unavailable(&store, &file(&path, "-shm"), "was moved or deleted").await;
    drop(store);
    assert_eq!(fs::read_to_string(&log).unwrap(), "restored");
}
