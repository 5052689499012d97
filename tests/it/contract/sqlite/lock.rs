//! Tests of the store's lock: one server has the file open, whatever way leads to it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use pvz::adapters::lock_file::LockFile;
use pvz::adapters::sqlite::{OpenError, SqliteStore};

use super::{folder, open, options};
use crate::contract::fixtures::{accepted, accepting, id, write};
use crate::process::eventually;

fn assert_in_use(path: &Path) {
    let error = SqliteStore::open(path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
}

fn lock_file(path: &Path) -> PathBuf {
    path.with_file_name("orders.db.lock")
}

/// Returns the locks that SQLite holds on a file in this process. One read of the list is not
/// atomic: it may lack a lock while other processes take and release theirs.
fn sqlite_locks(path: &Path) -> BTreeSet<String> {
    let inode = fs::metadata(path).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let of_file = |line: &&str| line.contains("POSIX") && line.contains(&format!(":{inode} "));
    // The number of a line changes when other locks come and go.
    let lock = |line: &str| line.split_once(": ").unwrap().1.to_owned();
    locks.lines().filter(of_file).map(lock).collect()
}

#[test]
fn refuses_a_symbolic_link_to_a_file_that_another_server_has_open() {
    let (folder, path) = folder();
    let link = folder.path().join("link.db");
    symlink(&path, &link).unwrap();
    let first = open(&path);
    assert_in_use(&link);
    drop(first);
    let first = open(&link);
    assert_in_use(&path);
    drop(first);
    open(&path);
}

#[test]
fn refuses_a_linked_folder_of_a_file_that_another_server_has_open() {
    let (folder, path) = folder();
    let link = folder.path().join("link");
    symlink(folder.path(), &link).unwrap();
    let _first = open(&path);
    assert_in_use(&link.join("orders.db"));
}

#[test]
fn refuses_an_open_file_whose_lock_file_was_deleted() {
    let (_folder, path) = folder();
    let first = open(&path);
    fs::remove_file(lock_file(&path)).unwrap();
    assert_in_use(&path);
    drop(first);
    open(&path);
}

#[test]
fn refuses_a_file_that_a_server_of_an_earlier_release_has_open() {
    let (folder, path) = folder();
    let link = folder.path().join("link.db");
    drop(open(&path));
    symlink(&path, &link).unwrap();
    let earlier = LockFile::take(&lock_file(&path)).unwrap().unwrap();
    assert_in_use(&path);
    assert_in_use(&link);
    drop(earlier);
    open(&path);
}

#[tokio::test]
async fn refuses_a_file_with_two_names() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db");
    let server = open(&path);
    write(&server, accepting(&[accepted("1", 0)])).await.unwrap();
    fs::hard_link(&path, &other).unwrap();
    for name in [&path, &other] {
        for error in [
            SqliteStore::open_read_only(name, &options()).unwrap_err(),
            SqliteStore::schema(name).unwrap_err(),
        ] {
            assert!(matches!(error, OpenError::HardLinks { names: 2, .. }), "{error:?}");
            assert!(error.to_string().contains(name.to_str().unwrap()), "{error}");
        }
    }
    let error = SqliteStore::open(&other, &options()).unwrap_err();
    assert!(matches!(error, OpenError::HardLinks { .. }), "{error:?}");
    // The running server is not affected.
    write(&server, accepting(&[accepted("2", 0)])).await.unwrap();
    drop(server);
    let error = SqliteStore::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::HardLinks { .. }), "{error:?}");
    fs::remove_file(&other).unwrap();
    let store = open(&path);
    assert!(pvz::ports::OrderStore::order(&store, &id("2")).await.unwrap().is_some());
}

/// Closing any descriptor of the file would drop them, and another program could then believe that nobody uses
/// the file.
#[tokio::test]
async fn refused_stores_do_not_drop_the_locks_of_the_open_one() {
    let (folder, path) = folder();
    let (link, other) = (folder.path().join("link.db"), folder.path().join("other.db"));
    symlink(&path, &link).unwrap();
    let store = open(&path);
    write(&store, accepting(&[accepted("1", 0)])).await.unwrap();
    let before = sqlite_locks(&path);
    assert!(!before.is_empty());
    assert_in_use(&path);
    assert_in_use(&link);
    fs::hard_link(&path, &other).unwrap();
    SqliteStore::open(&other, &options()).unwrap_err();
    SqliteStore::open_read_only(&other, &options()).unwrap_err();
    fs::remove_file(&other).unwrap();
    drop(SqliteStore::open_read_only(&path, &options()).unwrap());
    pvz::ports::OrderStore::ping(&store).await.unwrap();
    eventually("all locks are held", || sqlite_locks(&path).is_superset(&before));
}
