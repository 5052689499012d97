//! A file that one process at a time holds locked.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// A lock, held until it is dropped or the process dies.
#[derive(Debug)]
pub struct LockFile(File);

impl LockFile {
    /// Takes the lock, and makes the file if there is none; `None` if somebody
    /// else holds it.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }
}

impl Drop for LockFile {
    /// To close the file would not be enough: a child that this process is just
    /// starting has it open too, until it runs its own program, and the lock
    /// would live on with it.
    fn drop(&mut self) {
        // A lock that cannot be given back goes with its last handle.
        _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::LockFile;

    #[test]
    fn it_is_free_once_dropped_whoever_still_has_the_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = LockFile::take(&path).unwrap().unwrap();
        assert!(LockFile::take(&path).unwrap().is_none());
        // What a child has between its fork and its program.
        let inherited = first.0.try_clone().unwrap();
        drop(first);
        assert!(LockFile::take(&path).unwrap().is_some());
        drop(inherited);
    }
}
