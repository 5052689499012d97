//! A bounded pool of connections. Each is used by one operation at a time, on a
//! thread that may block.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::Failure;
use super::store_files::StoreFiles;
use crate::adapters::lock_file::LockFile;
use crate::ports::{ErrorKind, PortError};

/// The options of a connection.
#[derive(Debug, Clone)]
pub(super) struct ConnectOptions {
    /// The file, as a SQLite URI.
    pub(super) uri: String,
    /// The pragmas to run on a new connection, in order.
    pub(super) pragmas: Vec<String>,
    /// Keeps servers from writing to the file while connections assume that it does not change.
    _lock: Option<Arc<LockFile>>,
}

impl ConnectOptions {
    pub(super) fn new(uri: String, pragmas: Vec<String>) -> Self {
        Self { uri, pragmas, _lock: None }
    }

    /// Returns options for a locked file.
    pub(super) fn locked(uri: String, pragmas: Vec<String>, lock: LockFile) -> Self {
        Self { uri, pragmas, _lock: Some(Arc::new(lock)) }
    }

    pub(super) fn connect(&self) -> Result<SqliteConnection, PortError> {
        let unavailable = |error: Box<dyn std::error::Error + Send + Sync>| {
            PortError::unavailable(format!("cannot open the SQLite file {}", self.uri), error)
        };
        let mut connection = SqliteConnection::establish(&self.uri).map_err(|e| unavailable(e.into()))?;
        for pragma in &self.pragmas {
            connection.batch_execute(pragma).map_err(|e| unavailable(e.into()))?;
        }
        Ok(connection)
    }
}

/// A bounded pool of connections. A connection on which SQLite failed is closed,
/// and with it whatever state it was in; another is opened when needed.
pub(super) struct Connections {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<SqliteConnection>>,
    options: ConnectOptions,
    /// The store's files, locked until the last connection is closed: fields are
    /// dropped in this order. `None` if the store is only read.
    files: Option<Arc<StoreFiles>>,
}

impl Connections {
    pub(super) fn new(
        options: ConnectOptions,
        size: NonZeroUsize,
        files: Option<Arc<StoreFiles>>,
    ) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(size.get().min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { permits, idle: Mutex::default(), options, files })
    }

    /// Runs an operation on a connection. Operations beyond the size of the pool
    /// wait in order of arrival and hold no thread while they wait. A started
    /// operation runs to its end even if the caller is dropped.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, PortError> {
        let closed = |error| PortError::unavailable("the SQLite connections are closed", error);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|e| closed(Box::new(e)))?;
        let this = Arc::clone(self);
        let running = spawn_blocking(move || {
            let result = this.operate(operation);
            drop(permit);
            result
        });
        match running.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => Err(PortError::unavailable("the runtime is stopping", error)),
        }
    }

    fn operate<T>(
        &self,
        operation: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure>,
    ) -> Result<T, PortError> {
        let lengths = self.files.as_ref().map(|files| files.in_place()).transpose()?;
        let mut connection = self.take()?;
        if let Some((files, lengths)) = self.files.as_ref().zip(lengths)
            && let Err(error) = files.whole(&lengths, &mut connection)
        {
            // Kept: opening another one would write to the damaged files.
            self.add(connection);
            return Err(error);
        }
        // A panic drops the connection and its transaction.
        let result = operation(&mut connection).map_err(PortError::from);
        if !is_unavailable(&result) {
            self.add(connection);
        }
        result
    }

    /// Adds an idle connection to the pool.
    pub(super) fn add(&self, connection: SqliteConnection) {
        self.idle().push(connection);
    }

    fn take(&self) -> Result<SqliteConnection, PortError> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.options.connect(), Ok)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").field("uri", &self.options.uri).finish_non_exhaustive()
    }
}

/// Returns true if SQLite failed, as opposed to the data.
fn is_unavailable<T>(result: &Result<T, PortError>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)
}
