//! A bounded set of connections, each used by one operation at a time, on a
//! thread that may block.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::Failure;
use crate::adapters::lock_file::LockFile;
use crate::ports::{ErrorKind, PortError};

/// How a connection is made.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// The file, as a SQLite URI.
    pub(super) uri: String,
    /// The pragmas that set it up, in order.
    pub(super) pragmas: Vec<String>,
}

impl Recipe {
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

/// A bounded set of connections. One that met an error of the technology is
/// closed, and another opened when it is needed: whatever state it was in is
/// gone with it.
pub(super) struct Connections {
    places: Arc<Semaphore>,
    idle: Mutex<Vec<SqliteConnection>>,
    recipe: Recipe,
    /// The store's lock is held until the last connection is gone.
    _lock: Option<Arc<LockFile>>,
}

impl Connections {
    pub(super) fn new(recipe: Recipe, places: NonZeroUsize, lock: Option<Arc<LockFile>>) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(places.get().min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { places, idle: Mutex::default(), recipe, _lock: lock })
    }

    /// Runs an operation. Operations beyond the number of connections wait
    /// their turn here, first come first served, and hold no thread meanwhile.
    /// One that has begun runs to its end, also when the caller goes away.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, PortError> {
        let closed = |error| PortError::unavailable("the SQLite connections are closed", error);
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|e| closed(Box::new(e)))?;
        let this = Arc::clone(self);
        let running = spawn_blocking(move || {
            let mut connection = this.take()?;
            // A panic drops the connection, and with it its transaction.
            let result = operation(&mut connection).map_err(PortError::from);
            if !failed(&result) {
                this.add(connection);
            }
            drop(place);
            result
        });
        match running.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => Err(PortError::unavailable("the runtime is stopping", error)),
        }
    }

    /// Puts a connection made elsewhere at the disposal of operations.
    pub(super) fn add(&self, connection: SqliteConnection) {
        self.idle().push(connection);
    }

    fn take(&self) -> Result<SqliteConnection, PortError> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.recipe.connect(), Ok)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").field("uri", &self.recipe.uri).finish_non_exhaustive()
    }
}

/// Whether the technology failed, not only the data.
fn failed<T>(result: &Result<T, PortError>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)
}
