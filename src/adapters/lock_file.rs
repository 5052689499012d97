//! A file lock held by one process at a time.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::path::Path;

/// A lock, held until it is dropped or the process dies.
#[derive(Debug)]
pub struct LockFile(File);

impl LockFile {
    /// Acquires the lock, and creates the file if it does not exist. Returns `None` if another
    /// process holds the lock.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created or locked.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        Self::lock(File::options().create(true).truncate(false).write(true).open(path)?)
    }

    /// Acquires the lock of an open file. Returns `None` if another process holds it.
    ///
    /// # Errors
    /// Returns an error if the file cannot be locked.
    pub fn lock(file: File) -> io::Result<Option<Self>> {
        let locked = file.try_lock();
        Self::held(file, locked)
    }

    /// Acquires a shared lock of an open file, which excludes only [`LockFile::lock`]. Returns `None` if
    /// another process holds that lock.
    ///
    /// # Errors
    /// Returns an error if the file cannot be locked.
    pub fn share(file: File) -> io::Result<Option<Self>> {
        let locked = file.try_lock_shared();
        Self::held(file, locked)
    }

    fn held(file: File, locked: Result<(), TryLockError>) -> io::Result<Option<Self>> {
        match locked {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }

    /// Returns the metadata of the file.
    ///
    /// # Errors
    /// Returns an error if the metadata cannot be read.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }
}

impl Drop for LockFile {
    /// Unlocks the file explicitly. Closing it is not enough: a child process inherits the
    /// descriptor until it calls exec, and would keep the lock.
    fn drop(&mut self) {
        // If unlocking fails, the lock ends with the last descriptor.
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
        // A descriptor that a child has between fork and exec.
        let inherited = first.0.try_clone().unwrap();
        drop(first);
        assert!(LockFile::take(&path).unwrap().is_some());
        drop(inherited);
    }
}
