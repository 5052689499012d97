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
use super::interrupt::{Caller, CallerRef, CurrentCaller};
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
    /// Keeps servers from writing to a file that the connections assume to be unchanging.
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

/// A connection of a pool.
struct Pooled {
    connection: SqliteConnection,
    /// The caller of the present operation.
    caller: CurrentCaller,
}

impl Pooled {
    fn new(mut connection: SqliteConnection) -> Result<Self, PortError> {
        let caller = CurrentCaller::install(&mut connection)
            .map_err(|error| PortError::unavailable("the SQLite connection cannot be set up", error))?;
        Ok(Self { connection, caller })
    }
}

/// A bounded pool of connections. A connection on which SQLite failed is closed,
/// and with it whatever state it was in; another is opened when needed.
pub(super) struct Connections {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Pooled>>,
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

    /// Runs a write. Once started, it runs to its end even if the caller is dropped.
    pub(super) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, PortError> {
        self.run(CallerRef::default(), operation).await
    }

    /// Runs a read. If the caller is dropped, for example at its deadline, a statement with
    /// [`is_awaited()`](super::interrupt) fails at the next row that it visits, which frees the
    /// connection.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, PortError> {
        let caller = Caller::default();
        self.run(caller.downgrade(), operation).await
    }

    /// Runs an operation on a connection. Operations beyond the size of the pool
    /// wait in order of arrival and hold no thread while they wait.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        caller: CallerRef,
        operation: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, PortError> {
        let closed = |error| PortError::unavailable("the SQLite connections are closed", error);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|e| closed(Box::new(e)))?;
        let this = Arc::clone(self);
        let running = spawn_blocking(move || {
            let result = this.operate(caller, operation);
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
        caller: CallerRef,
        operation: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure>,
    ) -> Result<T, PortError> {
        let lengths = self.files.as_ref().map(|files| files.in_place()).transpose()?;
        let mut pooled = self.take()?;
        if let Some((files, lengths)) = self.files.as_ref().zip(lengths)
            && let Err(error) = files.whole(&lengths, &mut pooled.connection)
        {
            // Kept: opening another one would write to the damaged files.
            self.idle().push(pooled);
            return Err(error);
        }
        // A panic drops the connection and its transaction.
        pooled.caller.set(caller);
        let result = operation(&mut pooled.connection);
        let is_interrupted = result.as_ref().is_err_and(Failure::is_interruption);
        let result = result.map_err(PortError::from);
        if is_interrupted || !is_unavailable(&result) {
            self.idle().push(pooled);
        }
        result
    }

    /// Adds an idle connection to the pool.
    pub(super) fn add(&self, connection: SqliteConnection) -> Result<(), PortError> {
        self.idle().push(Pooled::new(connection)?);
        Ok(())
    }

    fn take(&self) -> Result<Pooled, PortError> {
        let idle = self.idle().pop();
        idle.map_or_else(|| Pooled::new(self.options.connect()?), Ok)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Pooled>> {
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
