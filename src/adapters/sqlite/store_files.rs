//! The files of an open store: the database, its write-ahead log and the index of the log.
//!
//! SQLite continues to use open files after they were moved or deleted, and later commits are then
//! lost. So every operation first checks that the files are in place and contain what was written
//! to them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use diesel::sql_types::BigInt;
use diesel::{QueryResult, RunQueryDsl as _, SqliteConnection};

use super::sql::Sql;
use super::store_lock::StoreLock;
use crate::adapters::file_identity::{FileChange, FileIdentity};
use crate::ports::PortError;

/// The files of a store that is open for writing, with its lock.
pub(super) struct StoreFiles {
    /// Keeps the files open while there is no other connection. Closing the last connection removes the
    /// write-ahead log, and creating it again needs disk space: a full disk, which closes the writer, would make
    /// reads fail too.
    keeper: Mutex<Option<SqliteConnection>>,
    database: WatchedFile,
    log: WatchedFile,
    index: WatchedFile,
    /// Released last: fields are dropped in this order.
    _lock: StoreLock,
}

/// The lengths of the database and of its write-ahead log.
pub(super) struct Lengths {
    database: u64,
    log: u64,
}

/// A file with the greatest length seen so far.
struct WatchedFile {
    path: PathBuf,
    identity: FileIdentity,
    length: AtomicU64,
}

impl StoreFiles {
    /// Returns the files of a locked store. `keeper` has read from it, so that all of them exist.
    pub(super) fn watch(path: &Path, lock: StoreLock, keeper: SqliteConnection) -> io::Result<Self> {
        // SQLite resolves symbolic links before it appends the suffix to the name.
        let resolved = fs::canonicalize(path)?;
        let beside = |suffix: &str| {
            let mut name = OsString::from(&resolved);
            name.push(suffix);
            WatchedFile::at(PathBuf::from(name))
        };
        let identity = FileIdentity::of(&lock.metadata(path)?);
        let database = WatchedFile { path: path.to_owned(), identity, length: AtomicU64::default() };
        let (log, index) = (beside("-wal")?, beside("-shm")?);
        Ok(Self { keeper: Mutex::new(Some(keeper)), database, log, index, _lock: lock })
    }

    /// Checks that every file is in place. Needs no connection, because opening one would create
    /// missing files.
    pub(super) fn in_place(&self) -> Result<Lengths, PortError> {
        let check = |file: &WatchedFile| file.identity.check(&file.path).map_err(changed);
        check(&self.index)?;
        Ok(Lengths { database: check(&self.database)?, log: check(&self.log)? })
    }

    /// Checks that no file lost data.
    pub(super) fn whole(
        &self,
        lengths: &Lengths,
        connection: &mut SqliteConnection,
    ) -> Result<(), PortError> {
        self.database.whole(lengths.database, || database_size(connection))?;
        self.log.whole(lengths.log, || log_size(connection))
    }
}

impl Drop for StoreFiles {
    /// Closes the last connection only if the files are in place. It removes the write-ahead log by
    /// its name, which could be the log of a store that was restored.
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.in_place().is_err() {
            std::mem::forget(keeper);
        }
    }
}

impl WatchedFile {
    fn at(path: PathBuf) -> io::Result<Self> {
        let identity = FileIdentity::of(&path.metadata()?);
        Ok(Self { path, identity, length: AtomicU64::default() })
    }

    /// Compares a length with the greatest one. A shorter file is intact if it is as long as SQLite
    /// requires: a checkpoint truncates the log, and another program may have compacted the
    /// database.
    fn whole(&self, length: u64, needed: impl FnOnce() -> QueryResult<u64>) -> Result<(), PortError> {
        let known = self.length.fetch_max(length, Ordering::Relaxed);
        if length >= known {
            return Ok(());
        }
        // Queried before the length, because another connection may be appending. If the query
        // fails, the file is damaged.
        let needed = needed().unwrap_or(known);
        let length = self.identity.check(&self.path).map_err(changed)?;
        if length < needed {
            return Err(changed(FileChange::Truncated { path: self.path.clone(), length, needed }));
        }
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }
}

fn changed(change: FileChange) -> PortError {
    PortError::unavailable("the store is not usable", change)
}

fn database_size(connection: &mut SqliteConnection) -> QueryResult<u64> {
    let pages: i64 = Sql::<BigInt>::new("PRAGMA page_count").get_result(connection)?;
    Ok(pages.unsigned_abs() * page_size(connection)?)
}

/// Returns the size of the log in use: a header, and a header and a page for each frame.
fn log_size(connection: &mut SqliteConnection) -> QueryResult<u64> {
    let checkpoint = Sql::<(BigInt, BigInt, BigInt)>::new("PRAGMA wal_checkpoint(NOOP)");
    let (_, frames, _): (i64, i64, i64) = checkpoint.get_result(connection)?;
    Ok(if frames > 0 { 32 + frames.unsigned_abs() * (24 + page_size(connection)?) } else { 0 })
}

fn page_size(connection: &mut SqliteConnection) -> QueryResult<u64> {
    let size: i64 = Sql::<BigInt>::new("PRAGMA page_size").get_result(connection)?;
    Ok(size.unsigned_abs())
}
