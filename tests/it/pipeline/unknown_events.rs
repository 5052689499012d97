//! An upgrade of the consumer: a release that can read the events that an older one
//! kept as unknown applies them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pvz::adapters::journal::JournalSource;
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use pvz::domain::{EventType, assign_partitions, receive_events};
use pvz::ports::{
    Applied, EventSource as _, Gaps, Inbox as _, InboxBatch, Offset, RecordContent, Start, UndecodedRecord,
};
use serde_json::Value;

use super::consumer::once;
use super::consuming::{assert_day, days, inbox, served_day, total, wait_until_published};
use crate::journal::files;
use crate::process::file;
use crate::support::runtime::block_on;

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(&dir.join("consumer.db"), &SqliteOptions::default()).unwrap()
}

fn kept(offset: Offset, value: &str) -> UndecodedRecord {
    let (cause, value) = ("its type is not known".to_owned(), Some(value.as_bytes().to_vec()));
    UndecodedRecord { offset, cause, key: None, value, headers: BTreeMap::new() }
}

/// Applies a journal as a release does that does not know the type of issues: it
/// keeps them as unknown. Also keeps a record that no release can read.
async fn consume_as_older_release(journal: &Path, inbox: &SqliteStore) {
    let source = JournalSource::new(journal);
    let begin = source.begin(0, Start::Earliest).await.unwrap();
    let fetched = source.fetch(0, begin, 1_000).await.unwrap();
    assert_eq!(fetched.next, fetched.end);
    let text: String = files(journal).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(fetched.records.len(), text.lines().count());
    let mut batch = InboxBatch { next: Some(fetched.next), ..InboxBatch::default() };
    // No line begins at this offset.
    batch.unknown.push(kept(Offset(begin.0 + 1), "not an event"));
    for (record, line) in fetched.records.into_iter().zip(text.lines()) {
        match record.content {
            RecordContent::Event(event) if event.event_type == EventType::Issued => {
                batch.unknown.push(kept(record.offset, line));
            }
            RecordContent::Event(event) => batch.events.push(*event),
            other => panic!("{other:?}"),
        }
    }
    let lease = Duration::from_mins(10);
    let assigned = inbox.assign(source.name(), &[0].into(), "older", lease, assign_partitions).await.unwrap();
    let applied = inbox.apply(&assigned[0], &batch, receive_events).await.unwrap();
    assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
    inbox.release(source.name(), "older").await.unwrap();
}

/// Returns the unknown events of the journal, and the gaps.
async fn unknown_and_gaps(journal: &Path, inbox: &SqliteStore) -> (Vec<UndecodedRecord>, Gaps) {
    let source = JournalSource::new(journal);
    let unknown = inbox.unknown_events(source.name(), 0, None, 1_000).await.unwrap();
    (unknown, inbox.gaps(1).await.unwrap())
}

#[test]
fn newer_release_applies_kept_events_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = served_day(dir.path(), &[], 200);
    wait_until_published(&server);
    let journal = dir.path().join("events");
    block_on(async {
        let inbox = open(dir.path());
        consume_as_older_release(&journal, &inbox).await;
        let (unknown, gaps) = unknown_and_gaps(&journal, &inbox).await;
        // The returned orders lack their second event.
        assert_eq!((unknown.len(), gaps.orders), (101, 20));
    });
    let before = days(&server);
    assert_eq!((total(&before, "accepted"), total(&before, "issued")), (200, 0));

    // Several pages of kept events.
    let config = file(dir.path(), "consumer.toml", "[consumer]\nbatch = 30\n");
    let flags = [format!("--config={config}")];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let url = format!("journal:{}", journal.display());
    let printed = once(dir.path(), &url, &inbox(dir.path()), &flags);
    assert_eq!(printed, "read 0 records: 100 new events, 0 duplicates, 0 of unknown types, 1 undecodable\n");
    assert_day(&server, 200);
    let (unknown, gaps) = block_on(async { unknown_and_gaps(&journal, &open(dir.path())).await });
    assert_eq!((unknown, gaps), (Vec::new(), Gaps::default()));
    let dead_letters = std::fs::read_to_string(journal.join("dead-letters.jsonl")).unwrap();
    let [line] = dead_letters.lines().collect::<Vec<_>>().try_into().unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["value"], "bm90IGFuIGV2ZW50", "base64 of \"not an event\"");
    assert!(line["cause"].as_str().unwrap().contains("not an event in JSON"), "{line}");

    let printed = once(dir.path(), &url, &inbox(dir.path()), &flags);
    assert_eq!(printed, "read 0 records: 0 new events, 0 duplicates, 0 of unknown types, 0 undecodable\n");
    assert_day(&server, 200);
    server.stop();
}
