//! Opens a store: lock, connections, schema.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource as _};
use diesel::sql_types::{Binary, Text};
use diesel::sqlite::Sqlite;
use diesel::{RunQueryDsl as _, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::connections::{ConnectOptions, Connections};
use super::open_error::OpenError;
use super::readers::Readers;
use super::sql::Sql;
use super::store_files::StoreFiles;
use super::store_lock::{StoreLock, refuse_hard_links};
use super::{SqliteOptions, SqliteStore};
use crate::adapters::lock_file::LockFile;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<SqliteStore, OpenError> {
    let inspect = ConnectOptions::new(uri(path, "rwc")?, reader_pragmas(options));
    let lock = StoreLock::take(path)?;
    // Reads before it writes: a wrong path must not change another program's
    // file.
    is_store(path, &mut connect(path, &inspect)?)?;
    let writer = ConnectOptions::new(uri(path, "rw")?, writer_pragmas(options));
    let mut connection = connect(path, &writer)?;
    check_journal(path, &mut connection)?;
    if options.migrate {
        migrate(path, &mut connection)?;
    } else if pending(path, &mut connection)? {
        return Err(OpenError::Older(path.to_owned()));
    }
    let secret = make_secret(path, &mut connection)?;
    let reader = ConnectOptions::new(uri(path, "rw")?, reader_pragmas(options));
    let mut keeper = connect(path, &reader)?;
    is_store(path, &mut keeper)?;
    let files = StoreFiles::watch(path, lock, keeper).map_err(|error| failure(path)(error.into()))?;
    files.in_place().map_err(|error| failure(path)(error.into()))?;
    let files = Arc::new(files);
    let writers = Connections::new(writer, NonZeroUsize::MIN, Some(Arc::clone(&files)));
    writers.add(connection).map_err(|error| failure(path)(error.into()))?;
    let readers =
        Readers::open(&reader, options.readers, Some(&files)).map_err(|error| failure(path)(error.into()))?;
    Ok(SqliteStore::new(writers, readers, secret))
}

pub(super) fn open_read_only(path: &Path, options: &SqliteOptions) -> Result<SqliteStore, OpenError> {
    Reader::open(path, options)?.into_store(path, options)
}

pub(super) fn open_for_audit(path: &Path, options: &SqliteOptions) -> Result<SqliteStore, OpenError> {
    Reader::open_anywhere(path, options)?.into_store(path, options)
}

/// A read-only connection to an existing file.
struct Reader {
    options: ConnectOptions,
    connection: SqliteConnection,
    /// False if the file is empty.
    is_store: bool,
}

impl Reader {
    fn open(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        refuse_hard_links(path)?;
        Self::connect(path, ConnectOptions::new(uri(path, "ro")?, reader_pragmas(options)))
    }

    /// Opens the file on read-only media too. SQLite reads a file with a write-ahead log only if it
    /// can open or create the log and its index. Otherwise the file is opened as immutable, which
    /// is correct while the log is empty and no server opens the file.
    fn open_anywhere(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        let cause = match Self::open(path, options) {
            Err(OpenError::File { cause, .. }) => cause,
            opened => return opened,
        };
        // In this mode SQLite takes no locks, so closing the file drops none.
        let Ok(Some(lock)) = File::open(path).and_then(LockFile::share) else {
            return Err(failure(path)(cause));
        };
        let log = write_ahead_log(path);
        if log.metadata().is_ok_and(|log| log.len() > 0) {
            return Err(OpenError::UnreadLog { path: path.to_owned(), log, cause });
        }
        let uri = format!("{}&immutable=1", uri(path, "ro")?);
        Self::connect(path, ConnectOptions::locked(uri, reader_pragmas(options), lock))
    }

    fn connect(path: &Path, options: ConnectOptions) -> Result<Self, OpenError> {
        let mut connection = connect(path, &options)?;
        let is_store = is_store(path, &mut connection)?;
        Ok(Self { options, connection, is_store })
    }

    fn into_store(mut self, path: &Path, options: &SqliteOptions) -> Result<SqliteStore, OpenError> {
        if !self.is_store {
            return Err(OpenError::Missing(path.to_owned()));
        }
        if pending(path, &mut self.connection)? {
            return Err(OpenError::Older(path.to_owned()));
        }
        let secret = read_secret(path, &mut self.connection)?;
        let secret = secret.ok_or_else(|| failure(path)("store_settings has no secret".into()))?;
        let readers = Readers::open(&self.options, options.readers, None)
            .map_err(|error| failure(path)(error.into()))?;
        let writers = Connections::new(self.options, NonZeroUsize::MIN, None);
        Ok(SqliteStore::new(writers, readers, secret))
    }
}

/// Returns the path of the write-ahead log. SQLite resolves symbolic links before it appends the
/// suffix.
fn write_ahead_log(path: &Path) -> PathBuf {
    let mut log = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    log.push("-wal");
    PathBuf::from(log)
}

pub(super) fn schema(path: &Path) -> Result<Vec<(String, bool)>, OpenError> {
    let failed = |cause| OpenError::Migration { path: path.to_owned(), cause };
    let known: Vec<Box<dyn Migration<Sqlite>>> = MIGRATIONS.migrations().map_err(failed)?;
    let mut missing = known.len();
    if path.exists() {
        let mut reader = Reader::open_anywhere(path, &SqliteOptions::default())?;
        if reader.is_store {
            missing = known.len() - applied(path, &known, &mut reader.connection)?;
        }
    }
    // Migrations are applied in order.
    let applied = known.len() - missing;
    Ok(known.iter().enumerate().map(|(index, step)| (step.name().to_string(), index < applied)).collect())
}

/// Returns the path as a SQLite URI, where `?`, `#` and `%` must be escaped.
fn uri(path: &Path, mode: &str) -> Result<String, OpenError> {
    let text = path.to_str().ok_or_else(|| OpenError::Path(path.to_owned()))?;
    let path = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // SQLite takes what follows two slashes for a host.
    let host = if path.starts_with("//") { "//" } else { "" };
    Ok(format!("file:{host}{path}?mode={mode}"))
}

fn writer_pragmas(options: &SqliteOptions) -> Vec<String> {
    let mut pragmas = vec![
        // First, so that the other pragmas wait for a lock too.
        busy_timeout(options),
        // Readers do not block the writer, and the writer does not block them.
        "PRAGMA journal_mode = WAL".to_owned(),
        // Every commit is on disk before it is answered.
        "PRAGMA synchronous = FULL".to_owned(),
        "PRAGMA foreign_keys = ON".to_owned(),
        // The undo data of a statement never needs a file.
        "PRAGMA temp_store = MEMORY".to_owned(),
        // Each batch changes the ends of ten indexes: 64 MiB hold the inner pages
        // and the hot leaf pages of a few million orders.
        "PRAGMA cache_size = -65536".to_owned(),
        // A checkpoint every 16 MiB instead of every 4: pages that many batches
        // change are copied once.
        "PRAGMA wal_autocheckpoint = 4096".to_owned(),
        // Truncates a log that grew during a long read.
        "PRAGMA journal_size_limit = 67108864".to_owned(),
    ];
    // No mmap: an I/O error would be a signal that ends the process, instead of
    // an error that can be answered.
    if let Some(pages) = options.max_pages {
        pragmas.push(format!("PRAGMA max_page_count = {pages}"));
    }
    pragmas
}

fn reader_pragmas(options: &SqliteOptions) -> Vec<String> {
    vec![
        busy_timeout(options),
        "PRAGMA query_only = ON".to_owned(),
        // Lists read few pages; the file system caches the others.
        "PRAGMA cache_size = -8192".to_owned(),
    ]
}

fn busy_timeout(options: &SqliteOptions) -> String {
    format!("PRAGMA busy_timeout = {}", options.busy_timeout.as_millis())
}

fn failure(path: &Path) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> OpenError + '_ {
    |cause| OpenError::File { path: path.to_owned(), cause }
}

fn connect(path: &Path, options: &ConnectOptions) -> Result<SqliteConnection, OpenError> {
    options.connect().map_err(|error| failure(path)(error.into()))
}

/// Returns true if the database is already a store, false if it is empty.
fn is_store(path: &Path, connection: &mut SqliteConnection) -> Result<bool, OpenError> {
    let query: Sql<Text> = Sql::new("SELECT name FROM sqlite_schema WHERE type = 'table'");
    let tables: Vec<String> = query.load(connection).map_err(|error| failure(path)(error.into()))?;
    let store = tables.iter().any(|table| table == "__diesel_schema_migrations");
    if store || tables.is_empty() { Ok(store) } else { Err(OpenError::Foreign(path.to_owned())) }
}

fn check_journal(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let query: Sql<Text> = Sql::new("PRAGMA journal_mode");
    let mode: String = query.get_result(connection).map_err(|error| failure(path)(error.into()))?;
    if mode == "wal" { Ok(()) } else { Err(OpenError::NoWriteAheadLog { path: path.to_owned(), mode }) }
}

/// Returns true if migrations are pending.
fn pending(path: &Path, connection: &mut SqliteConnection) -> Result<bool, OpenError> {
    let failed = |cause| OpenError::Migration { path: path.to_owned(), cause };
    let known = MIGRATIONS.migrations().map_err(failed)?;
    Ok(applied(path, &known, connection)? < known.len())
}

/// Returns the number of applied migrations. An unknown one is an error: the
/// release that applied it may rely on invariants that this one breaks.
fn applied(
    path: &Path,
    known: &[Box<dyn Migration<Sqlite>>],
    connection: &mut SqliteConnection,
) -> Result<usize, OpenError> {
    let failed = |cause| OpenError::Migration { path: path.to_owned(), cause };
    let applied = connection.applied_migrations().map_err(failed)?;
    let unknown = |version: &&_| !known.iter().any(|step| step.name().version() == **version);
    if let Some(version) = applied.iter().find(unknown) {
        return Err(OpenError::Newer { path: path.to_owned(), version: version.to_string() });
    }
    Ok(applied.len())
}

/// Applies pending migrations. The lock of the store keeps other processes away.
fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    if pending(path, connection)? {
        connection
            .run_pending_migrations(MIGRATIONS)
            .map_err(|cause| OpenError::Migration { path: path.to_owned(), cause })?;
    }
    Ok(())
}

fn make_secret(path: &Path, connection: &mut SqliteConnection) -> Result<[u8; 32], OpenError> {
    if let Some(secret) = read_secret(path, connection)? {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| failure(path)(error.into()))?;
    let hex = secret.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    connection
        .batch_execute(&format!("INSERT INTO store_settings (name, value) VALUES ('secret', x'{hex}')"))
        .map_err(|error| failure(path)(error.into()))?;
    Ok(secret)
}

fn read_secret(path: &Path, connection: &mut SqliteConnection) -> Result<Option<[u8; 32]>, OpenError> {
    let query: Sql<Binary> = Sql::new("SELECT value FROM store_settings WHERE name = 'secret'");
    let found: Vec<Vec<u8>> = query.load(connection).map_err(|error| failure(path)(error.into()))?;
    let wrong = |_| failure(path)("the secret in store_settings does not have 32 bytes".into());
    found.into_iter().next().map(|secret| <[u8; 32]>::try_from(secret).map_err(wrong)).transpose()
}
