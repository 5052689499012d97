//! The lock that prevents two servers from opening one store.
//!
//! The lock is on the database file itself, so that every path to it leads to the same lock: a
//! symbolic link, another mount, a lock file that was deleted and created again. The locks of
//! SQLite would let two processes write in turn, and one could see a position before a smaller one.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::open_error::OpenError;
use crate::adapters::lock_file::LockFile;

/// The lock of a store, held while the store is open for writing.
#[derive(Debug)]
pub(super) struct StoreLock {
    /// The lock files next to the store. Earlier releases lock only these.
    _beside: Vec<LockFile>,
    /// The database file. If a process closes any descriptor of a file, it loses the locks that SQLite holds on
    /// that file. This descriptor is therefore opened before the first connection and closed after the last, and
    /// nothing else opens the file.
    file: Option<LockFile>,
}

impl StoreLock {
    /// Takes the lock. Creates the database file if it does not exist.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        // First, because they keep this process from opening a store that it already has open.
        let beside = lock_files(path).iter().map(|lock| take(path, lock)).collect::<Result<_, _>>()?;
        refuse_hard_links(path)?;
        // On other platforms this lock would conflict with the locks of SQLite.
        let file = if cfg!(target_os = "linux") { Some(lock(path)?) } else { None };
        Ok(Self { _beside: beside, file })
    }

    /// Returns the metadata of the locked file.
    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.file.as_ref().map_or_else(|| path.metadata(), LockFile::metadata)
    }
}

/// Returns the lock file next to the path, and the one next to the target of a symbolic link.
fn lock_files(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = fs::canonicalize(folder).ok().zip(path.file_name()).map(|(folder, name)| folder.join(name));
    // Without this, the same file under another folder name would be locked twice.
    let linked = fs::canonicalize(path).ok().filter(|resolved| Some(resolved) != named.as_ref());
    let beside = |place: PathBuf| {
        let mut lock = OsString::from(place);
        lock.push(".lock");
        PathBuf::from(lock)
    };
    std::iter::once(path.to_owned()).chain(linked).map(beside).collect()
}

fn take(path: &Path, lock: &Path) -> Result<LockFile, OpenError> {
    held(path, lock, LockFile::take(lock))
}

fn lock(path: &Path) -> Result<LockFile, OpenError> {
    // The mode with which SQLite creates files.
    let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o644).open(path);
    held(path, path, file.and_then(LockFile::lock))
}

fn held(path: &Path, lock: &Path, taken: io::Result<Option<LockFile>>) -> Result<LockFile, OpenError> {
    let (path, lock) = (path.to_owned(), lock.to_owned());
    match taken {
        Ok(Some(held)) => Ok(held),
        Ok(None) => Err(OpenError::InUse { path, lock }),
        Err(cause) => Err(match missing_folder(&lock, &cause) {
            Some(folder) => OpenError::NoFolder { path, folder },
            None => OpenError::Lock { path, lock, cause },
        }),
    }
}

/// Returns the folder of a file that could not be created, if it does not exist.
fn missing_folder(file: &Path, cause: &io::Error) -> Option<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    (cause.kind() == io::ErrorKind::NotFound && !folder.exists()).then(|| folder.to_owned())
}

/// Refuses a file with several names. SQLite keeps the write-ahead log under the name that was opened, so what
/// was committed under one name is missing under the other.
pub(super) fn refuse_hard_links(path: &Path) -> Result<(), OpenError> {
    match fs::metadata(path) {
        Ok(file) if file.nlink() > 1 => {
            Err(OpenError::HardLinks { path: path.to_owned(), names: file.nlink() })
        }
        // A missing or unreadable file is reported when it is opened.
        _ => Ok(()),
    }
}
