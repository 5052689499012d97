//! Tests of a store in a folder where SQLite can create no files, such as one on read-only media.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use pvz::adapters::sqlite::{OpenError, SqliteStore};
use pvz::ports::OrderStore as _;

use super::{folder, open, options};
use crate::contract::fixtures::{accepted, accepting, write};

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes it impossible to create a file, also for root.
fn prevent_file(path: &Path) {
    symlink(path.join("missing/folder"), path).unwrap();
}

#[tokio::test]
async fn closed_store_is_audited() {
    let (_folder, path) = folder();
    let store = open(&path);
    write(&store, accepting(&[accepted("1", 0)])).await.unwrap();
    drop(store);
    let files = ["-wal", "-shm"].map(|suffix| with_suffix(&path, suffix));
    for file in &files {
        prevent_file(file);
    }
    let error = SqliteStore::open_read_only(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");

    let store = SqliteStore::open_for_audit(&path, &options()).unwrap();
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 1);
    let second = SqliteStore::open_for_audit(&path, &options()).unwrap();
    assert_eq!(second.audit(None, 10).await.unwrap().len(), 1);
    assert!(SqliteStore::schema(&path).unwrap().iter().all(|(_, applied)| *applied));
    // The file may be reachable through another folder, where a server could open it.
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    let error = SqliteStore::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    drop((store, second));
    open(&path);
}

#[tokio::test]
async fn commits_in_the_log_are_never_ignored() {
    let (folder, path) = folder();
    let store = open(&path);
    write(&store, accepting(&[accepted("1", 0)])).await.unwrap();
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        fs::copy(with_suffix(&path, suffix), with_suffix(&copy, suffix)).unwrap();
    }
    prevent_file(&with_suffix(&copy, "-shm"));
    let error = SqliteStore::open_for_audit(&copy, &options()).unwrap_err();
    assert!(matches!(error, OpenError::UnreadLog { .. }), "{error:?}");
    assert!(error.to_string().contains("copy.db-wal is not empty"), "{error}");
    fs::remove_file(with_suffix(&copy, "-shm")).unwrap();
    let copied = SqliteStore::open_for_audit(&copy, &options()).unwrap();
    assert_eq!(copied.audit(None, 10).await.unwrap().len(), 1);
}
