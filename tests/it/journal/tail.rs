//! The last event of a journal.

use std::fs::{self, File};
use std::io::Write as _;

use pvz::adapters::journal::Journal;
use pvz::ports::{EventSink as _, PublishedEvent};

use super::{files, logged, publish};

#[tokio::test]
async fn lines_that_are_not_events_are_passed_over() {
    for end in [&b"{\"eventId\":\"1\"}\n"[..], b"\n", b"{\"eventId\":\"", b"\0\0\0", b""] {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), 1 << 20).unwrap();
        publish(&journal, 1..4).await;
        File::options().append(true).open(&files(folder.path())[0]).unwrap().write_all(end).unwrap();
        let tail = journal.tail().await.unwrap();
        assert_eq!(tail.events, [PublishedEvent::from(&logged(3).event)], "{}", String::from_utf8_lossy(end));
    }
}

#[tokio::test]
async fn event_before_an_empty_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    publish(&Journal::open(folder.path(), 1 << 20).unwrap(), 1..4).await;
    fs::write(folder.path().join("events-00000002.jsonl"), "").unwrap();
    let journal = Journal::open(folder.path(), 1 << 20).unwrap();
    assert_eq!(journal.tail().await.unwrap().events, [PublishedEvent::from(&logged(3).event)]);
}
