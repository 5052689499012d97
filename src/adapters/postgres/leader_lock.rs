//! The leader lock of the relays of a database: an advisory lock held by a
//! session of its own.
//!
//! The session ends with the process that holds it, and the server ends it after
//! it was idle for too long. So a machine that was cut off, or a process that
//! was stopped, cannot hold the lock for longer. A former leader that has not
//! noticed the loss moves no cursor, because the next leader has raised the
//! fencing token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::{Client, Error};

use super::connect::{ConnectOptions, LEADER_IDLE_TIMEOUT};
use crate::ports::{Lease, LeaseToken, Position};

/// Interval of the statements that keep the session alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(700);

/// The advisory lock. It has two numbers, because locks with one number belong
/// to the low-water mark of the feed.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(7370362, 4)";

const RAISE_FENCING_TOKEN: &str = "INSERT INTO outbox_cursors (sink, fence, position) VALUES ($1, 1, 0) \
     ON CONFLICT (sink) DO UPDATE SET fence = outbox_cursors.fence + 1 RETURNING fence, position";

/// Acquires the leader lock; `None` if another session holds it.
pub(super) async fn try_acquire(
    connect_options: &ConnectOptions,
    sink: &str,
) -> Result<Option<Lease>, Error> {
    let client = connect_options.client().await?;
    let acquired: bool = client.query_one(TRY_LOCK, &[]).await?.try_get(0)?;
    if !acquired {
        return Ok(None);
    }
    let row = client.query_one(RAISE_FENCING_TOKEN, &[&sink]).await?;
    let (fencing_token, position) = (row.try_get(0)?, row.try_get(1)?);
    let lost = Arc::new(AtomicBool::new(false));
    let heartbeat = tokio::spawn(keep_alive(client, Arc::clone(&lost)));
    let session = LeaderSession(heartbeat.abort_handle());
    let token = LeaseToken { sink: sink.to_owned(), fencing_token };
    let lease = Lease::new(token, Position(position), session);
    Ok(Some(lease.lost_when(move || lost.load(Ordering::Relaxed))))
}

/// The session that holds the lock. Dropping it closes the session, which frees
/// the lock.
struct LeaderSession(AbortHandle);

impl Drop for LeaderSession {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps the session alive until it fails.
async fn keep_alive(client: Client, lost: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        let heartbeat = client.batch_execute("SELECT 1");
        if let Ok(Ok(())) = tokio::time::timeout(LEADER_IDLE_TIMEOUT, heartbeat).await {
            continue;
        }
        lost.store(true, Ordering::Relaxed);
        return;
    }
}
