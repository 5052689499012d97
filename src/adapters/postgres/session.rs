//! A connection of the pool, and which process of the server it talks to: what
//! that one was about when the connection died is asked of another.

use std::ops::{Deref, DerefMut};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use diesel::sql_types::{BigInt, Integer};
use diesel_async::pooled_connection::PoolableConnection as _;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl as _};

use super::connect::ConnectOptions;
use super::error::Failure;
use super::sql::Sql;

/// Begins and ends transactions through the driver, so that it tracks their state.
pub(super) type Transactions = <AsyncPgConnection as AsyncConnection>::TransactionManager;

/// A process of the server. Numbers are given out again, but never with the
/// same start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    /// Its number.
    pub(super) process: i32,
    /// When it began, in microseconds since the epoch.
    pub(super) started: i64,
}

/// A connection that is set up.
pub(super) struct Session {
    connection: AsyncPgConnection,
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

/// Makes sessions for the pool.
pub(super) struct Sessions(pub(super) ConnectOptions);

impl Manager for Sessions {
    type Type = Session;
    type Error = Failure;

    async fn create(&self) -> Result<Session, Failure> {
        let mut connection = self.0.connect().await.map_err(Failure::Connect)?;
        let (process, started) = whom().get_result(&mut connection).await?;
        Ok(Session { connection, backend: Backend { process, started } })
    }

    /// No round trip to ask whether the connection is alive: the first
    /// statement finds out, and is tried again.
    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Failure> {
        if session.is_broken() { Err(RecycleError::message("the connection is closed")) } else { Ok(()) }
    }
}

/// The process at the other end, and its start.
fn whom() -> Sql<(Integer, BigInt)> {
    Sql::new(
        "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint \
         FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    )
}
