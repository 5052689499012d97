//! Data directories whose paths have characters with a meaning in URLs.

use std::path::{Path, PathBuf};

use crate::process::{Server, eventually, pvz};

/// Starts a server with that data directory, accepts an order and waits until its event is published.
fn accept(dir: &Path, order_id: &str) {
    let server = Server::start(dir);
    let deadline = "--storage-until=2027-06-01T00:00:00Z";
    server.json(&["accept", "--order-id", order_id, "--customer-id=7", deadline]);
    eventually("the event is published", || server.json(&["outbox", "status"])["lagEvents"] == "0");
    server.stop();
}

/// Returns the names of the files in a folder that belong to a store, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains(".lock"))
        .collect();
    names.sort();
    names
}

fn verified(dir: &Path) -> String {
    let data_dir = format!("--data-dir={}", dir.display());
    let output = pvz().args(["verify", &data_dir]).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn doubled(dir: &Path) -> PathBuf {
    PathBuf::from(dir.display().to_string().replace('/', "//"))
}

#[test]
fn doubled_slashes_lead_to_the_same_store_and_journal() {
    let dir = tempfile::tempdir().unwrap();
    accept(dir.path(), "one");
    accept(&doubled(dir.path()), "two");
    assert_eq!(files(dir.path()), ["events", "pvz.db"]);
    assert_eq!(verified(dir.path()), "verified 2 orders, 2 events: 0 differ\n");
    let data_dir = format!("--data-dir={}", doubled(dir.path()).display());
    let consume =
        || pvz().args(["consume", "--once", "--admin-addr=127.0.0.1:0", &data_dir]).output().unwrap();
    let printed = String::from_utf8(consume().stdout).unwrap();
    assert!(printed.starts_with("read 2 records: 2 new events"), "{printed}");
    let data_dir = format!("--data-dir={}", dir.path().display());
    let again = pvz().args(["consume", "--once", "--admin-addr=127.0.0.1:0", &data_dir]).output().unwrap();
    let printed = String::from_utf8(again.stdout).unwrap();
    assert!(printed.starts_with("read 0 records"), "{printed}");
}

#[test]
fn characters_of_urls_are_part_of_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("what?mode=ro#1 100%25");
    accept(&odd, "one");
    assert_eq!(files(dir.path()), ["what?mode=ro#1 100%25"]);
    assert_eq!(files(&odd), ["events", "pvz.db"]);
    assert_eq!(verified(&odd), "verified 1 orders, 1 events: 0 differ\n");
}
