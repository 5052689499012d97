//! Checks that each connection is a separate session, with the features that this adapter needs:
//! persistent settings, exclusive advisory locks, `pg_locks`, and notifications.
//!
//! A pooler in transaction mode runs each transaction of a client on any free session, and some
//! engines with the protocol of PostgreSQL lack the locks. Without the check, two relays would
//! silently lead at once, and the feed would silently skip events.
//!
//! The check uses two connections. While the second has an open transaction, the first runs another
//! statement, so a pooler needs at least two sessions. By chance, it may pick the right ones. But
//! it cannot deliver a notification, which arrives while no transaction is open, so a pooler in
//! transaction mode fails at the last step.
//!
//! The numbers of the locks contain the process id of the first session, so concurrent checks do
//! not conflict. The check never waits for a lock.

use std::time::Duration;

use futures::future::try_join;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connect::{ConnectOptions, Purpose, Received, query, with_cause};
use super::open_error::OpenError;
use super::options::ServerAddress;

/// Fails unless two connections to the server are two sessions.
pub(super) async fn check(server: &ServerAddress, limit: Duration) -> Result<(), OpenError> {
    let connect_options = ConnectOptions::new(server, Purpose::Check, limit);
    let connect = try_join(connect_options.client(), connect_options.listener());
    let late = |_| server.unreachable("it did not answer in time");
    let connected = timeout(limit, connect).await.map_err(late)?;
    let (first, (second, mut received)) =
        connected.map_err(|error| server.unreachable(with_cause(&error)))?;
    match timeout(limit, prove(&first, &second)).await.map_err(late)?? {
        Server::Standby => Ok(()),
        // A standby accepts no LISTEN.
        Server::Primary => timeout(limit, receive(&first, &second, &mut received)).await.map_err(|_| {
            OpenError::SharedSessions("a notification did not arrive at the connection that listens")
        })?,
    }
}

enum Server {
    Primary,
    Standby,
}

/// Takes an exclusive and a shared lock, and sets a setting.
const LOCK: &str = "SELECT pg_backend_pid(), pg_is_in_recovery(), \
     set_config('pvz.session', pg_backend_pid()::text, false), \
     pg_try_advisory_lock(7370364, pg_backend_pid()), \
     pg_try_advisory_lock_shared((7370364::bigint << 32) | pg_backend_pid())";

/// Tries to take the exclusive lock that another session holds, and looks up its shared lock.
const SEE_LOCKS: &str = "SELECT pg_backend_pid(), pg_try_advisory_lock(7370364, $1), \
     EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 7370364 AND objid = $1 \
     AND objsubid = 1 AND mode = 'ShareLock' AND granted AND pid = $1 \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

const SEE_SETTING: &str = "SELECT pg_backend_pid(), current_setting('pvz.session', true)";

/// Checks everything except notifications.
async fn prove(first: &Client, second: &Client) -> Result<Server, OpenError> {
    let locked = query(first, LOCK, &[]).await?;
    let (process_id, in_recovery): (i32, bool) = (locked.try_get(0)?, locked.try_get(1)?);
    second.batch_execute("BEGIN").await?;
    let seen = query(second, SEE_LOCKS, &[(&process_id, Type::INT4)]).await?;
    let (other_process_id, acquired, is_listed): (i32, bool, bool) =
        (seen.try_get(0)?, seen.try_get(1)?, seen.try_get(2)?);
    if other_process_id == process_id {
        return Err(OpenError::SharedSessions("two connections have the same session"));
    }
    if acquired {
        return Err(OpenError::NotPostgres("an advisory lock does not exclude another session"));
    }
    if !is_listed {
        return Err(OpenError::NotPostgres("pg_locks does not list the advisory lock of another session"));
    }
    let kept = query(first, SEE_SETTING, &[]).await?;
    let (same_process_id, setting): (i32, Option<String>) = (kept.try_get(0)?, kept.try_get(1)?);
    second.batch_execute("COMMIT").await?;
    let after: i32 = query(second, "SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    if same_process_id != process_id || after != other_process_id {
        return Err(OpenError::SharedSessions("two transactions of one connection have different sessions"));
    }
    if setting.is_none_or(|setting| setting != process_id.to_string()) {
        return Err(OpenError::SharedSessions("a setting of the session is gone in the next transaction"));
    }
    Ok(if in_recovery { Server::Standby } else { Server::Primary })
}

/// Checks that the second session receives a notification of the first.
async fn receive(first: &Client, second: &Client, received: &mut Received) -> Result<(), OpenError> {
    let process_id: i32 = query(first, "SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    let channel = format!("pvz_session_{process_id}");
    second.batch_execute(&format!("LISTEN {channel}")).await?;
    query(first, "SELECT pg_notify($1, '')", &[(&channel, Type::TEXT)]).await?;
    let broke = || OpenError::Database("the connection that listens broke".into());
    received.next().await.map(|_| ()).ok_or_else(broke)
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(with_cause(&error).into())
    }
}
