//! The errors of opening a store.

use std::path::PathBuf;

/// An error that keeps a store from being opened, worded for the user of the program.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store {} is in use: another server has locked {}; stop it, or use another store", path.display(), lock.display())]
    InUse {
        /// The store.
        path: PathBuf,
        /// The file that is locked.
        lock: PathBuf,
    },
    /// The folder of the file does not exist.
    #[error("cannot create the store {}: the folder {} does not exist", path.display(), folder.display())]
    NoFolder {
        /// The store.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The file to lock cannot be created or opened.
    #[error("cannot lock the store {}: {} cannot be opened for writing", path.display(), lock.display())]
    Lock {
        /// The store.
        path: PathBuf,
        /// The file to lock.
        lock: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The file has several names.
    #[error(
        "the store {path} has {names} names (hard links), and SQLite keeps a write-ahead log for each: what was \
         committed under one name is missing under the other; remove the other names, which \
         `find / -samefile {path}` lists",
        path = path.display()
    )]
    HardLinks {
        /// The store.
        path: PathBuf,
        /// The number of names.
        names: u64,
    },
    /// SQLite cannot take the path.
    #[error("cannot open the store {}: the path is not UTF-8", .0.display())]
    Path(PathBuf),
    /// There is no such file, and reading does not create one.
    #[error("there is no store at {}; `pvz serve` creates it, or --store names another", .0.display())]
    Missing(PathBuf),
    /// The file cannot be opened, or is not a database.
    #[error("cannot open the store {}", path.display())]
    File {
        /// The store.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The write-ahead log contains commits, and SQLite cannot read it without writing.
    #[error(
        "cannot read the store {} without writing: its write-ahead log {} is not empty; copy both files to a \
         writable folder, and read the store there",
        path.display(), log.display()
    )]
    UnreadLog {
        /// The store.
        path: PathBuf,
        /// The log.
        log: PathBuf,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is the database of another program.
    #[error("{} is the database of another program, not a store", .0.display())]
    Foreign(PathBuf),
    /// The file system does not support a write-ahead log.
    #[error("cannot open the store {}: its file system does not support a write-ahead log (journal mode {mode:?})", path.display())]
    NoWriteAheadLog {
        /// The store.
        path: PathBuf,
        /// The mode that SQLite fell back to.
        mode: String,
    },
    /// A newer release created the schema.
    #[error(
        "the store {} was written by a newer release: its schema version {version} is unknown to this release; \
         run the newer one",
        path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// The unknown version.
        version: String,
    },
    /// The schema is older than this release and must not be migrated.
    #[error("the store {} has an older schema", .0.display())]
    Older(PathBuf),
    /// A migration failed.
    #[error("cannot migrate the schema of the store {}", path.display())]
    Migration {
        /// The store.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}
