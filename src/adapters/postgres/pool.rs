//! A bounded pool of connections, each used by one operation at a time.

use std::borrow::Borrow;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool, QueueMode};
use diesel_async::pooled_connection::PoolableConnection as _;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::time::{sleep, timeout};

use super::connect::ConnectOptions;
use super::durability_barrier::DurabilityBarrier;
use super::error::Failure;
use super::session::{Backend, Session, SessionManager};
use crate::adapters::last_commit::LastCommit;
use crate::ports::PortError;

/// The longest time of an operation on a connection, as a multiple of the
/// timeout. The server's own limits come first, because they name the cause;
/// this one is for a connection that has stopped responding.
const OPERATION_TIMEOUT_RATIO: f32 = 1.2;

/// A bounded pool of connections, opened on demand.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool<SessionManager>,
    connect_options: ConnectOptions,
    barrier: DurabilityBarrier,
    last_commit: Arc<LastCommit>,
    timeout: Duration,
}

impl Connections {
    /// Makes a pool without connections. `timeout` limits the wait for a
    /// connection and the time in which one is opened.
    pub(super) fn new(
        connect_options: ConnectOptions,
        size: NonZeroUsize,
        timeout: Duration,
    ) -> Result<Self, PortError> {
        let pool = Pool::builder(SessionManager(connect_options.clone()))
            .max_size(size.get())
            .wait_timeout(Some(timeout))
            .create_timeout(Some(timeout))
            .recycle_timeout(Some(timeout))
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| PortError::unavailable("the connection pool cannot be created", error))?;
        let barrier = DurabilityBarrier::new(connect_options.clone());
        Ok(Self { pool, connect_options, barrier, last_commit: Arc::default(), timeout })
    }

    /// Returns the options for opening a connection outside the pool.
    pub(super) fn connect_options(&self) -> &ConnectOptions {
        &self.connect_options
    }

    /// Returns the barrier that makes what is visible durable.
    pub(super) fn barrier(&self) -> &DurabilityBarrier {
        &self.barrier
    }

    /// Returns the last commit on these connections.
    pub(super) fn last_commit(&self) -> &LastCommit {
        &self.last_commit
    }

    /// Returns the limit of every wait for the database.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the limit of an operation on a connection.
    pub(super) fn operation_timeout(&self) -> Duration {
        self.timeout.mul_f32(OPERATION_TIMEOUT_RATIO)
    }

    /// Runs an operation, up to the operation timeout. After a timeout the
    /// connection must not be used again.
    pub(super) async fn with_timeout<T>(
        &self,
        operation: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout(self.operation_timeout(), operation).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Takes a connection; waits until one is free.
    pub(super) async fn acquire(&self) -> Result<PooledConnection, Failure> {
        Ok(PooledConnection(Some(self.pool.get().await?)))
    }

    /// Keeps the place of a connection in the pool until the server has answered
    /// everything that was sent on it, or its backend is gone; then closes it.
    ///
    /// The server goes on with an operation whose answer is no longer awaited. A
    /// COMMIT may wait for a synchronous standby for hours. If its place was free
    /// at once, each further batch would add a backend that waits.
    pub(super) fn retire(&self, connection: impl Borrow<PooledConnection> + Send + Sync + 'static) {
        let (connect_options, interval) = (self.connect_options.clone(), self.timeout);
        tokio::spawn(async move {
            let retired: &PooledConnection = connection.borrow();
            tokio::select! {
                _ = answered(retired) => {}
                () = gone(retired.backend(), &connect_options, interval) => {}
            }
            drop(connection);
        });
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// A connection taken from the pool. It must be [released](Self::release), or
/// [retired](Connections::retire) after an operation without an answer. If it is
/// dropped instead, by an error or because the caller was cancelled, it is
/// closed, because the pool does not notice an open transaction.
pub(super) struct PooledConnection(Option<Object<SessionManager>>);

impl PooledConnection {
    /// Returns the connection to the pool. No transaction may be open on it.
    pub(super) fn release(mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection);
        }
    }

    /// Returns true if the connection is closed.
    pub(super) fn is_broken(&mut self) -> bool {
        self.0.as_mut().is_none_or(|connection| connection.is_broken())
    }

    #[expect(clippy::expect_used, reason = "only release and drop take it out, and both consume self")]
    fn session(&self) -> &Session {
        self.0.as_ref().expect("a connection that was not released")
    }

    /// Returns the backend that serves the connection.
    pub(super) fn backend(&self) -> Backend {
        self.session().backend.clone()
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

impl Deref for PooledConnection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        self.session()
    }
}

impl DerefMut for PooledConnection {
    #[expect(clippy::expect_used, reason = "only release and drop take it out, and both consume self")]
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.0.as_mut().expect("a connection that was not released")
    }
}

/// Waits until the backend is gone. A proxy that passes nothing on may keep the
/// connection open longer than that.
async fn gone(backend: Backend, connect_options: &ConnectOptions, interval: Duration) {
    loop {
        sleep(interval).await;
        if let Ok(client) = connect_options.client().await
            && let Ok(false) = backend.terminate_if_waiting(&client).await
        {
            return;
        }
    }
}

/// Waits until the server has answered everything that was sent. Fails if the
/// connection breaks.
pub(super) async fn answered(mut connection: &AsyncPgConnection) -> diesel::QueryResult<()> {
    connection.batch_execute("").await
}

/// Runs an operation that is safe to repeat on a connection of the pool. If the
/// connection turns out to be broken, runs it once more on another. This is a
/// macro because the future of a borrowing async closure is not `Send` for a
/// known lifetime.
macro_rules! on_connection {
    ($connections:expr, |$connection:ident| $operation:expr) => {{
        let mut is_first = true;
        loop {
            let mut $connection = $connections.acquire().await?;
            match $connections.with_timeout($operation).await {
                Ok(value) => {
                    $connection.release();
                    break Ok(value);
                }
                Err(_) if is_first && $connection.is_broken() => is_first = false,
                Err(failure) => {
                    $connections.retire($connection);
                    break Err(failure.into());
                }
            }
        }
    }};
}
pub(super) use on_connection;
