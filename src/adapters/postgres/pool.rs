//! A bounded set of connections, each used by one operation at a time.

use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool, QueueMode};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::PoolableConnection as _;
use tokio::time::timeout;

use super::connect::ConnectOptions;
use super::error::Failure;
use super::session::{Backend, Session, Sessions};
use crate::ports::PortError;

/// A bounded set of connections, made when they are needed.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool<Sessions>,
    connect_options: ConnectOptions,
    timeout: Duration,
}

impl Connections {
    /// No connection yet. `timeout` bounds the wait for one, and how long it
    /// takes to be made.
    pub(super) fn new(
        connect_options: ConnectOptions,
        size: NonZeroUsize,
        timeout: Duration,
    ) -> Result<Self, PortError> {
        let pool = Pool::builder(Sessions(connect_options.clone()))
            .max_size(size.get())
            .wait_timeout(Some(timeout))
            .create_timeout(Some(timeout))
            .recycle_timeout(Some(timeout))
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| PortError::unavailable("the pool of connections cannot be made", error))?;
        Ok(Self { pool, connect_options, timeout })
    }

    /// How a connection of its own is made, past the pool.
    pub(super) fn connect_options(&self) -> &ConnectOptions {
        &self.connect_options
    }

    /// What bounds every wait for the database.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long an operation on a connection may take in all. The server's own
    /// limits come first, and say what took so long; this one is for a
    /// connection on which nothing comes any more.
    pub(super) fn patience(&self) -> Duration {
        self.timeout.mul_f32(1.2)
    }

    /// Runs an operation, but not for ever: a connection on which nothing comes
    /// is as good as broken.
    pub(super) async fn bound<T>(
        &self,
        operation: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout(self.patience(), operation).await.unwrap_or(Err(Failure::Silent))
    }

    /// Takes a connection; waits its turn.
    pub(super) async fn take(&self) -> Result<PooledConnection, Failure> {
        Ok(PooledConnection(Some(self.pool.get().await?)))
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// A connection on loan. Dropped without being given back, by an error or
/// because the caller went away, it is closed: the pool does not notice that a
/// transaction is still open on it.
pub(super) struct PooledConnection(Option<Object<Sessions>>);

impl PooledConnection {
    /// Nothing is open on it: others may use it.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection);
        }
    }

    /// Whether its socket is closed.
    pub(super) fn is_broken(&mut self) -> bool {
        self.0.as_mut().is_none_or(|connection| connection.is_broken())
    }

    #[expect(clippy::expect_used, reason = "only give_back and drop, which consume it, take it out")]
    fn session(&self) -> &Session {
        self.0.as_ref().expect("a connection on loan")
    }

    /// The process of the server that serves it.
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
    #[expect(clippy::expect_used, reason = "only give_back and drop, which consume it, take it out")]
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.0.as_mut().expect("a connection on loan")
    }
}

/// Runs an operation that changes nothing, or nothing that hurts to be done
/// again: if the connection turns out to be broken, once more on another. A
/// macro, because an async closure that borrows makes no future of a known
/// lifetime that is `Send`.
macro_rules! on_connection {
    ($connections:expr, |$connection:ident| $operation:expr) => {{
        let mut first = true;
        loop {
            let mut $connection = $connections.take().await?;
            let result = $connections.bound($operation).await;
            match result {
                Ok(value) => {
                    $connection.give_back();
                    break Ok(value);
                }
                Err(_) if first && $connection.is_broken() => first = false,
                Err(failure) => break Err(failure.into()),
            }
        }
    }};
}
pub(super) use on_connection;
