//! Events in files of a folder: one line of JSON each, only ever appended.
//!
//! A batch is acknowledged when it is synced to the disk. What a crash or a
//! full disk left behind the last synced line is cut off: half a line at the
//! start, and whatever a failed write left before the next one.

mod files;
mod source;

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
use crate::ports::{Delivery, EventSink, LoggedEvent, PortError};

/// Why a journal cannot be opened, for whoever started the program.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process writes it.
    #[error("the journal {} is in use: another server writes it", .0.display())]
    InUse(PathBuf),
    /// The folder or a file in it cannot be used.
    #[error("cannot open the journal {}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// An [`EventSink`] that appends to files.
#[derive(Debug)]
pub struct Journal {
    name: String,
    files: Arc<Mutex<Files>>,
}

impl Journal {
    /// Opens the journal in a folder, or makes it, and repairs its end. A file
    /// that has grown to `file_size` bytes is followed by a new one. Blocks.
    ///
    /// # Errors
    /// Another process writes it, or the folder cannot be used.
    pub fn open(folder: &Path, file_size: u64) -> Result<Self, JournalError> {
        let failed = |cause| JournalError::Io { path: folder.to_owned(), cause };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = LockFile::take(&folder.join("journal.lock")).map_err(failed)?;
        let lock = lock.ok_or_else(|| JournalError::InUse(folder.to_owned()))?;
        let files = Files::open(folder, file_size, lock).map_err(failed)?;
        let name = format!("journal:{}", folder.display());
        Ok(Self { name, files: Arc::new(Mutex::new(files)) })
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

    async fn publish(&self, events: &[LoggedEvent]) -> Delivery {
        let failed = |error| Delivery::failed(events.len(), error);
        let lines = match lines(events) {
            Ok(lines) => lines,
            Err(error) => return failed(PortError::unavailable("events cannot be written as JSON", error)),
        };
        let mut files = Arc::clone(&self.files).lock_owned().await;
        // The lock goes with the work, so that a batch whose caller has gone is
        // written to its end before the next one begins.
        match spawn_blocking(move || files.append(&lines)).await {
            Ok(Ok(())) => Delivery::complete(events.len()),
            Ok(Err(error)) => failed(PortError::unavailable("the journal cannot be written", error)),
            Err(error) => failed(PortError::unavailable("writing the journal broke off", error)),
        }
    }
}

/// The contract's message without its cursor, one a line.
fn lines(events: &[LoggedEvent]) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(events.len() * 768);
    for logged in events {
        serde_json::to_writer(&mut lines, &proto_mapping::event(&logged.event))?;
        lines.push(b'\n');
    }
    Ok(lines)
}
