//! A journal that is replaced while a consumer has a position in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::journal::{Journal, JournalSource};
use pvz::adapters::memory::MemoryStore;
use pvz::app::{IngestError, IngestEvents, IngestOptions, Ingested};
use tokio_util::sync::CancellationToken;

use super::{files, publish};

/// Reads a journal to its end.
async fn consume(folder: &Path, inbox: &Arc<MemoryStore>, rewind: bool) -> Result<Ingested, IngestError> {
    let options = IngestOptions::new("only".to_owned());
    let options = IngestOptions { once: true, rewind, missing_grace: Duration::ZERO, ..options };
    let source = Arc::new(JournalSource::new(folder));
    IngestEvents::new(source, inbox.clone(), options).run(CancellationToken::new()).await
}

/// Publishes events to a new journal in place of the one in the folder.
async fn replace(folder: &Path, numbers: std::ops::Range<i64>) {
    for file in files(folder) {
        std::fs::remove_file(file).unwrap();
    }
    publish(&Journal::open(folder, 1 << 20).unwrap(), numbers).await;
}

#[tokio::test]
async fn a_replaced_journal_is_not_read_from_the_offset_of_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = Arc::new(MemoryStore::new([7; 32]));
    publish(&Journal::open(folder.path(), 1 << 20).unwrap(), 1..6).await;
    assert_eq!(consume(folder.path(), &inbox, false).await.unwrap().applied, 5);
    assert_eq!(consume(folder.path(), &inbox, false).await.unwrap(), Ingested::default());
    for (numbers, found) in [
        (100..102, "now there is no record"),
        (11..20, "now there is a record that is not an event"),
        (2..9, "now there is event "),
    ] {
        replace(folder.path(), numbers).await;
        let other = consume(folder.path(), &inbox, false).await.unwrap_err().to_string();
        let name = format!("journal:{} is not the log", folder.path().display());
        assert!(other.starts_with(&name) && other.contains(found), "{other}");
    }
    let read = consume(folder.path(), &inbox, true).await.unwrap();
    assert_eq!((read.applied, read.duplicates), (3, 4));
    assert_eq!(consume(folder.path(), &inbox, false).await.unwrap(), Ingested::default());
}

#[tokio::test]
async fn the_file_of_the_last_event_may_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = Arc::new(MemoryStore::new([7; 32]));
    publish(&Journal::open(folder.path(), 1).unwrap(), 1..3).await;
    assert_eq!(consume(folder.path(), &inbox, false).await.unwrap().applied, 2);
    publish(&Journal::open(folder.path(), 1).unwrap(), 3..5).await;
    let files = files(folder.path());
    assert_eq!(files.len(), 2, "{files:?}");
    std::fs::remove_file(&files[0]).unwrap();
    assert_eq!(consume(folder.path(), &inbox, false).await.unwrap().applied, 2);
}
