//! Checks that a path still leads to an open file, and detects that the file was moved, deleted,
//! replaced or truncated.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The identity of a file, whatever its name. It belongs to no other file while the file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// A change to a file that must not change while it is open.
#[derive(Debug, thiserror::Error)]
pub enum FileChange {
    /// The path leads to no file.
    #[error("{} was moved or deleted while it was open; put it back", .0.display())]
    Gone(PathBuf),
    /// The path leads to another file.
    #[error("{} was replaced while it was open; put the first file back, or restart", .0.display())]
    Replaced(PathBuf),
    /// The file was truncated.
    #[error(
        "{} was truncated while it was open: it has {length} bytes, and needs {needed}; restore it, and restart",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
        /// The length that it must have.
        needed: u64,
    },
    /// The path cannot be inspected.
    #[error("{} cannot be inspected", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
}

impl FileIdentity {
    /// Returns the identity of the file with these metadata.
    pub fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }

    /// Checks that the path leads to this file, and returns the length of the file. Opens nothing.
    ///
    /// # Errors
    /// Returns the change.
    pub fn check(self, path: &Path) -> Result<u64, FileChange> {
        match path.metadata() {
            Ok(found) if Self::of(&found) == self => Ok(found.len()),
            Ok(_) => Err(FileChange::Replaced(path.to_owned())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(FileChange::Gone(path.to_owned())),
            Err(cause) => Err(FileChange::Unknown { path: path.to_owned(), cause }),
        }
    }
}
