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
use super::store_lock::StoreLock;
use crate::ports::{ErrorKind, PortError};

/// The options of a connection.
#[derive(Debug, Clone)]
pub(super) struct ConnectOptions {
    /// The file, as a SQLite URI.
    pub(super) uri: String,
    /// The pragmas to run on a new connection, in order.
    pub(super) pragmas: Vec<String>,
}

impl ConnectOptions {
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
    /// The store's lock, held until the last connection is closed: fields are
    /// dropped in this order.
    _lock: Option<Arc<StoreLock>>,
}

impl Connections {
    pub(super) fn new(
        options: ConnectOptions,
        size: NonZeroUsize,
        lock: Option<Arc<StoreLock>>,
    ) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(size.get().min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { permits, idle: Mutex::default(), options, _lock: lock })
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
            let mut connection = this.take()?;
            // A panic drops the connection and its transaction.
            let result = operation(&mut connection).map_err(PortError::from);
            if !is_unavailable(&result) {
                this.add(connection);
            }
            drop(permit);
            result
        });
        match running.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => Err(PortError::unavailable("the runtime is stopping", error)),
        }
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
