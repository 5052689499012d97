//! A connection of the pool and the backend of the server that serves it. If the
//! connection breaks, the state of that backend is queried on another one.

use std::ops::{Deref, DerefMut};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use diesel::sql_types::{BigInt, Integer};
use diesel_async::pooled_connection::PoolableConnection as _;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl as _};
use tokio_postgres::Client;

use super::connect::ConnectOptions;
use super::error::Failure;
use super::sql::Sql;

/// The transaction manager of the driver. Transactions are begun and ended
/// through it, so that the driver knows about them.
pub(super) type Transactions = <AsyncPgConnection as AsyncConnection>::TransactionManager;

/// A backend (server process). Process ids are reused, but never with the same
/// start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    /// The process id.
    pub(super) process_id: i32,
    /// The start time, in microseconds since the epoch.
    pub(super) started_at: i64,
}

impl Backend {
    /// Terminates the backend if it waits for its client or for a lock, and then
    /// waits up to 5 s for its end. Returns true if it was alive.
    ///
    /// Any other backend may be committing. If it is terminated while it waits
    /// for a synchronous standby (`SyncRep`), its commit becomes visible without
    /// being replicated; readers and the relay would see what a failover undoes.
    /// It reaches that wait from the flush of the WAL, where it ignores signals
    /// and acts on them later. So it is terminated only where it waits before
    /// its commit, or after it.
    pub(super) async fn terminate_if_waiting(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let alive = client
            .query_opt(
                "SELECT CASE WHEN wait_event_type IN ('Client', 'Lock')                  THEN pg_terminate_backend(pid, 5000) END FROM pg_stat_activity                  WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2",
                &[&self.process_id, &self.started_at],
            )
            .await?;
        Ok(alive.is_some())
    }
}

/// An open connection.
pub(super) struct Session {
    connection: AsyncPgConnection,
    /// The backend that serves it.
    pub(super) backend: Backend,
}

impl Deref for Session {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.connection
    }
}

/// Opens sessions for the pool.
pub(super) struct SessionManager(pub(super) ConnectOptions);

impl Manager for SessionManager {
    type Type = Session;
    type Error = Failure;

    async fn create(&self) -> Result<Session, Failure> {
        let mut connection = self.0.connect().await.map_err(Failure::Connect)?;
        let (process_id, started_at) = own_backend().get_result(&mut connection).await?;
        Ok(Session { connection, backend: Backend { process_id, started_at } })
    }

    /// Does not query the server: the first statement on a broken connection
    /// fails and is repeated on another connection.
    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Failure> {
        if session.is_broken() { Err(RecycleError::message("the connection is closed")) } else { Ok(()) }
    }
}

/// Reads the process id and the start time of the backend.
fn own_backend() -> Sql<(Integer, BigInt)> {
    Sql::new(
        "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint \
         FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    )
}
