//! The journal adapter: the format of lines, files, and recovery after a crash.

pub mod crash;
mod replaced;
mod tail;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pvz::adapters::journal::{Journal, JournalError};
use pvz::ports::{EventSink as _, LoggedEvent, Position, Receipt, chain};
use serde_json::Value;

use crate::contract::fixtures::{accepted, event};

/// Returns the files of a journal, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_str().unwrap().starts_with("events-")))
        .collect();
    files.sort();
    files
}

/// Returns every event of a journal, in order. Fails if a line is not an event.
pub fn read(folder: &Path) -> Vec<Value> {
    let text: String = files(folder).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn logged(number: i64) -> LoggedEvent {
    LoggedEvent { position: Position(number), event: event(&accepted(&format!("order-{number}"), number)) }
}

async fn publish(journal: &Journal, numbers: std::ops::Range<i64>) {
    let events: Vec<LoggedEvent> = numbers.map(logged).collect();
    let delivery = journal.publish(&events).await;
    assert!(delivery.failure.is_none(), "{:?}", delivery.failure);
}

fn numbers(folder: &Path) -> Vec<String> {
    read(folder).iter().map(|event| event["order"]["orderId"].as_str().unwrap().to_owned()).collect()
}

fn expected(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|number| format!("order-{number}")).collect()
}

#[tokio::test]
async fn a_line_is_the_contracts_event_without_a_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), 1 << 20).unwrap();
    publish(&journal, 1..2).await;
    insta::assert_json_snapshot!(read(folder.path())[0]);
}

#[tokio::test]
async fn full_file_is_followed_by_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), 2_000).unwrap();
    for number in 0..20 {
        publish(&journal, number..number + 1).await;
    }
    let files = files(folder.path());
    assert!(files.len() > 3, "{files:?}");
    assert!(files[0].ends_with("events-00000001.jsonl"));
    // A file is full when it has reached the size; a batch is never split.
    for path in &files[..files.len() - 1] {
        assert!((2_000..4_000).contains(&fs::metadata(path).unwrap().len()), "{path:?}");
    }
    drop(journal);
    let journal = Journal::open(folder.path(), 2_000).unwrap();
    publish(&journal, 20..25).await;
    assert_eq!(numbers(folder.path()), expected(0..25));
}

#[tokio::test]
async fn incomplete_end_is_cut_off_at_the_next_start() {
    let whole = br#"{"eventId":"whole"}"#;
    let torn: [&[u8]; 6] =
        [b"{\"eventId\":", whole, b"\0\0\0\0\0\0\0\0", b"\0\0\n\0\0\n", b"{\"eventId\":\n{\"e\n", b"\n"];
    for tail in torn {
        let folder = tempfile::tempdir().unwrap();
        publish(&Journal::open(folder.path(), 1 << 20).unwrap(), 0..3).await;
        let path = &files(folder.path())[0];
        let before = fs::read(path).unwrap();
        fs::File::options().append(true).open(path).unwrap().write_all(tail).unwrap();
        let journal = Journal::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(fs::read(path).unwrap(), before, "{:?}", String::from_utf8_lossy(tail));
        publish(&journal, 3..5).await;
        assert_eq!(numbers(folder.path()), expected(0..5));
    }
}

#[tokio::test]
async fn broken_line_before_valid_ones_is_not_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    publish(&Journal::open(folder.path(), 1 << 20).unwrap(), 0..3).await;
    let path = &files(folder.path())[0];
    let mut text = fs::read(path).unwrap();
    text[1] = b'\0';
    fs::write(path, &text).unwrap();
    drop(Journal::open(folder.path(), 1 << 20).unwrap());
    assert_eq!(fs::read(path).unwrap(), text, "acknowledged bytes are never cut off");
}

#[tokio::test]
async fn journal_is_opened_by_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(folder.path(), 1 << 20).unwrap();
    let second = Journal::open(folder.path(), 1 << 20).unwrap_err();
    assert!(matches!(second, JournalError::InUse(_)), "{second}");
    drop(first);
    Journal::open(folder.path(), 1 << 20).unwrap();
}

#[tokio::test]
async fn failed_writes_are_pending_and_succeed_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let journal = Journal::open(&path, 100).unwrap();
    publish(&journal, 0..1).await;
    // The next batch needs a new file, and the folder does not exist.
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    let delivery = journal.publish(&[logged(1), logged(2)]).await;
    assert_eq!(delivery.receipts, [Receipt::Pending, Receipt::Pending]);
    assert!(delivery.failure.unwrap().retryable());
    fs::rename(&elsewhere, &path).unwrap();
    publish(&journal, 1..3).await;
    assert_eq!(numbers(&path), expected(0..3));
}

async fn assert_gone(journal: &Journal, change: &str) {
    let error = journal.ping().await.unwrap_err();
    assert!(chain(&error).contains(change), "{}", chain(&error));
    let delivery = journal.publish(&[logged(8)]).await;
    assert_eq!(delivery.receipts, [Receipt::Pending]);
    assert!(chain(&delivery.failure.unwrap()).contains(change));
}

#[tokio::test]
async fn nothing_is_published_into_a_file_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("events");
    let journal = Journal::open(&place, 1 << 20).unwrap();
    publish(&journal, 0..2).await;
    let (file, away) = (files(&place)[0].clone(), folder.path().join("away"));
    fs::rename(&file, &away).unwrap();
    assert_gone(&journal, "was moved or deleted").await;
    assert!(!file.exists(), "nothing was created in its place");
    fs::copy(&away, &file).unwrap();
    assert_gone(&journal, "was replaced").await;
    fs::rename(&away, &file).unwrap();
    journal.ping().await.unwrap();
    publish(&journal, 2..3).await;
    fs::rename(&place, &away).unwrap();
    assert_gone(&journal, "was moved or deleted").await;
    fs::rename(&away, &place).unwrap();
    publish(&journal, 3..4).await;
    assert_eq!(numbers(&place), expected(0..4));
}

/// `logrotate` with `copytruncate` copies a file and truncates it.
#[tokio::test]
async fn nothing_published_after_a_truncation_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), 1 << 20).unwrap();
    publish(&journal, 0..2).await;
    let file = fs::File::options().write(true).open(&files(folder.path())[0]).unwrap();
    file.set_len(0).unwrap();
    assert_gone(&journal, "was truncated").await;
    drop(journal);
    let journal = Journal::open(folder.path(), 1 << 20).unwrap();
    publish(&journal, 2..4).await;
    drop(journal);
    drop(Journal::open(folder.path(), 1 << 20).unwrap());
    assert_eq!(numbers(folder.path()), expected(2..4));
}

#[tokio::test]
async fn lines_of_another_program_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), 1 << 20).unwrap();
    publish(&journal, 0..1).await;
    let path = files(folder.path())[0].clone();
    let mut other = fs::File::options().append(true).open(&path).unwrap();
    other.write_all(b"{\"order\":{\"orderId\":\"other\"}}\n{\"incomplete").unwrap();
    publish(&journal, 1..2).await;
    assert_eq!(numbers(folder.path()), ["order-0", "other", "order-1"]);
}

#[tokio::test]
async fn next_file_is_appended_to_if_it_exists() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), 100).unwrap();
    publish(&journal, 0..1).await;
    let first = files(folder.path())[0].clone();
    // A copy of the last file with the name of the next one.
    fs::copy(&first, folder.path().join("events-00000002.jsonl")).unwrap();
    publish(&journal, 1..2).await;
    assert_eq!(numbers(folder.path()), ["order-0", "order-0", "order-1"]);
}
