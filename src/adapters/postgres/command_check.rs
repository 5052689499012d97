//! The readiness check that a command would succeed.
//!
//! It runs the statement of a command with an empty batch. This checks the rights on every table
//! and column that the statement names, fires the statement triggers, and fails on a read-only
//! server. An empty batch uses no positions and no new partitions, so the check reads those rights
//! from the catalogs.
//!
//! Then it commits, unless a command committed recently, because every COMMIT may hang although
//! everything before it succeeds. It commits a WAL record under a transaction id
//! (`pg_logical_emit_message`). So its COMMIT flushes the WAL and waits for a synchronous standby,
//! as the COMMIT of a command does. Writing a table row would prove no more. With a row per
//! replica, nobody would delete the rows; with one shared row, the replicas would wait for each
//! other's lock.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::durability_barrier::WRITE_WAL;
use super::error::Failure;
use super::locking_statement::LockingWrite;
use super::pool::{Connections, PooledConnection, on_connection};
use super::sql::Sql;
use crate::ports::{PortError, Writes};

/// The longest time that a caller waits for a commit. The commit itself continues after it.
const PATIENCE: Duration = Duration::from_secs(4);

/// The check of a store. One commit runs at a time, because a commit that waits for a standby keeps
/// its connection.
#[derive(Debug, Clone, Default)]
pub(super) struct CommandCheck {
    turn: Arc<Mutex<()>>,
}

impl CommandCheck {
    /// Fails unless a command would succeed.
    pub(super) async fn run(&self, connections: &Connections) -> Result<(), PortError> {
        let obstacle: Result<Option<String>, PortError> =
            on_connection!(connections, |connection| find_obstacle(&mut connection));
        connections.last_commit().record(&obstacle, false);
        if let Some(obstacle) = obstacle? {
            return Err(PortError::unavailable("commands would fail", obstacle));
        }
        if connections.last_commit().is_recent() {
            return Ok(());
        }
        // A caller that stops waiting must not close the connection. Its backend may wait for a
        // standby, and the next check would add another backend.
        let (check, connections) = (self.clone(), connections.clone());
        let committed = tokio::spawn(async move { check.commit_in_turn(&connections).await });
        match timeout(PATIENCE, committed).await {
            Ok(Ok(committed)) => committed,
            Ok(Err(error)) => Err(PortError::unavailable("the check of PostgreSQL was interrupted", error)),
            Err(elapsed) => Err(PortError::unavailable(
                "PostgreSQL does not commit; with synchronous replication, the standby may be out of reach",
                elapsed,
            )),
        }
    }

    async fn commit_in_turn(&self, connections: &Connections) -> Result<(), PortError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if connections.last_commit().is_recent() {
            return Ok(());
        }
        let committed = commit_on(connections, turn).await;
        connections.last_commit().record(&committed, true);
        committed
    }
}

/// A connection that waits for the answer to its commit. It keeps the mutex of commits locked until
/// then.
struct Unanswered {
    connection: PooledConnection,
    _turn: OwnedMutexGuard<()>,
}

impl Borrow<PooledConnection> for Unanswered {
    fn borrow(&self) -> &PooledConnection {
        &self.connection
    }
}

async fn commit_on(connections: &Connections, turn: OwnedMutexGuard<()>) -> Result<(), PortError> {
    let mut is_first = true;
    loop {
        let mut connection = connections.acquire().await?;
        match connections.with_timeout(commit(&mut connection)).await {
            Ok(()) => {
                connection.release();
                return Ok(());
            }
            Err(_) if is_first && connection.is_broken() => is_first = false,
            Err(Failure::TimedOut) => {
                connections.retire(Unanswered { connection, _turn: turn });
                return Err(Failure::TimedOut.into());
            }
            Err(failure) => {
                connections.retire(connection);
                return Err(failure.into());
            }
        }
    }
}

/// Runs an empty batch, and commits. These are two transactions: the announcement of the batch
/// holds up the feed, so it must not last as long as the COMMIT.
async fn commit(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    let nothing = Writes::default();
    let _: Vec<String> = LockingWrite::new(&nothing, |_| None).load(connection).await?;
    Ok(connection.batch_execute(WRITE_WAL).await?)
}

/// Returns the reason why commands would fail, if the settings or the catalogs show one.
async fn find_obstacle(connection: &mut AsyncPgConnection) -> Result<Option<String>, Failure> {
    let query = Sql::<Nullable<Text>>::new(
        "SELECT CASE \
         WHEN current_setting('transaction_read_only')::boolean THEN 'the database is read-only' \
         WHEN NOT has_sequence_privilege('order_events_position_seq', 'USAGE') \
         THEN format('the role %I lacks USAGE on the sequence order_events_position_seq', current_user) \
         WHEN NOT has_function_privilege(maker.oid, 'EXECUTE') \
         THEN format('the role %I cannot create partitions: it lacks EXECUTE on order_events_make_room', \
         current_user) \
         WHEN NOT (pg_has_role(maker.proowner, log.relowner, 'USAGE') \
         AND has_schema_privilege(maker.proowner, log.relnamespace, 'CREATE')) \
         THEN format('the owner of order_events_make_room, %s, cannot create partitions: it must own \
         order_events and needs CREATE on its schema', maker.proowner::regrole) \
         WHEN NOT EXISTS (SELECT FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid \
         WHERE inhparent = log.oid AND (regexp_match(pg_get_expr(part.relpartbound, part.oid), \
         'TO \\(''(\\d+)''\\)'))[1]::bigint > positions.last_value + 1) \
         THEN 'no partition of order_events is left for the next position' \
         END \
         FROM pg_proc AS maker, pg_class AS log, order_events_position_seq AS positions \
         WHERE maker.oid = 'order_events_make_room(bigint)'::regprocedure \
         AND log.oid = 'order_events'::regclass",
    );
    Ok(query.get_result(connection).await?)
}
