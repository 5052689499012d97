//! The sink and the source of events in append-only files: one line of JSON per
//! event.
//!
//! A batch is acknowledged when it is synced to the disk. Complete lines are never truncated,
//! except those of a failed write, which are written again. The next start truncates an incomplete
//! line that a crash left. Nothing is published while the path of the file does not lead to the
//! open file, or the file has lost lines.

mod files;
mod source;
mod tail;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use self::files::Files;
pub use self::source::JournalSource;
use crate::adapters::lock_file::LockFile;
use crate::adapters::proto_mapping;
use crate::ports::{Delivery, EventSink, LoggedEvent, PortError, PublishedEvent, SinkTail};

/// A failure to open a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open for writing.
    #[error("the journal {} is in use: another server writes it", .0.display())]
    InUse(PathBuf),
    /// The folder or a file in it cannot be used.
    #[error("cannot open the journal {}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
}

/// An [`EventSink`] that appends to files.
#[derive(Debug)]
pub struct Journal {
    name: String,
    folder: PathBuf,
    files: Arc<Mutex<Files>>,
}

impl Journal {
    /// Opens the journal in a folder, creates it if necessary, and cuts off an
    /// incomplete end. A new file is begun when one has reached `file_size` bytes.
    /// Blocks.
    ///
    /// # Errors
    /// Returns an error if another process has the journal open for writing, or if
    /// the folder cannot be used.
    pub fn open(folder: &Path, file_size: u64) -> Result<Self, JournalError> {
        let failed = |cause| JournalError::Io { path: folder.to_owned(), cause };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = LockFile::take(&folder.join("journal.lock")).map_err(failed)?;
        let lock = lock.ok_or_else(|| JournalError::InUse(folder.to_owned()))?;
        let files = Files::open(folder, file_size, lock).map_err(failed)?;
        let name = format!("journal:{}", folder.display());
        Ok(Self { name, folder: folder.to_owned(), files: Arc::new(Mutex::new(files)) })
    }
}

#[async_trait]
impl EventSink for Journal {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn ping(&self) -> Result<(), PortError> {
        let files = Arc::clone(&self.files).lock_owned().await;
        match spawn_blocking(move || files.check()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(change)) => Err(PortError::unavailable("the journal is not usable", change)),
            Err(error) => Err(PortError::unavailable("checking the journal was interrupted", error)),
        }
    }

    async fn tail(&self) -> Result<SinkTail, PortError> {
        let files = Arc::clone(&self.files).lock_owned().await;
        let folder = self.folder.clone();
        let read = spawn_blocking(move || {
            files.check().map_err(io::Error::other)?;
            let named = |error| io::Error::other(format!("{}: {error}", folder.display()));
            tail::last_event(&folder).map_err(named)
        });
        let last = match read.await {
            Ok(Ok(last)) => last,
            Ok(Err(error)) => return Err(PortError::unavailable("the journal cannot be read", error)),
            Err(error) => return Err(PortError::unavailable("reading the journal was interrupted", error)),
        };
        Ok(SinkTail { partitions: 1, events: last.iter().map(PublishedEvent::from).collect() })
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        let failed = |error| Delivery::failed(events.len(), error);
        let lines = match lines(events) {
            Ok(lines) => lines,
            Err(error) => return failed(PortError::unavailable("events cannot be written as JSON", error)),
        };
        let mut files = Arc::clone(&self.files).lock_owned().await;
        // The task owns the lock: if this call is dropped, the batch is completed
        // before the next one begins.
        match spawn_blocking(move || files.append(&lines)).await {
            Ok(Ok(())) => Delivery::complete(events.len()),
            Ok(Err(error)) => failed(PortError::unavailable("the journal cannot be written", error)),
            Err(error) => failed(PortError::unavailable("writing the journal was interrupted", error)),
        }
    }
}

/// Encodes events as lines: the message of the contract, without its cursor.
fn lines(events: &[LoggedEvent]) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(events.len() * 768);
    for logged in events {
        serde_json::to_writer(&mut lines, &proto_mapping::event(&logged.event))?;
        lines.push(b'\n');
    }
    Ok(lines)
}
