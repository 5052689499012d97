//! The lead over all relays of a database: an advisory lock, held by a session
//! of its own.
//!
//! The session ends with the process that has it, and the server itself ends it
//! when it was idle for too long: a machine that was cut off, or a process that
//! was stopped, cannot hold the lead for longer. Who leads without knowing that
//! it is over moves no cursor, because the next leader has raised the fence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::{Client, Error};

use super::connect::{ConnectOptions, SILENCE};
use crate::ports::{Lease, LeaseToken, Position};

/// How often it says something.
const HEARTBEAT: Duration = Duration::from_millis(700);

/// Whoever holds it leads. Two numbers: locks with one belong to the low-water
/// mark of the feed.
const TAKE: &str = "SELECT pg_try_advisory_lock(7370362, 4)";

const RAISE_FENCE: &str = "INSERT INTO outbox_cursors (sink, fence, position) VALUES ($1, 1, 0) \
     ON CONFLICT (sink) DO UPDATE SET fence = outbox_cursors.fence + 1 RETURNING fence, position";

/// Takes the lead, unless somebody has it.
pub(super) async fn take(connect_options: &ConnectOptions, sink: &str) -> Result<Option<Lease>, Error> {
    let client = connect_options.client().await?;
    let acquired: bool = client.query_one(TAKE, &[]).await?.try_get(0)?;
    if !acquired {
        return Ok(None);
    }
    let row = client.query_one(RAISE_FENCE, &[&sink]).await?;
    let (fence, position) = (row.try_get(0)?, row.try_get(1)?);
    let over = Arc::new(AtomicBool::new(false));
    let heart = tokio::spawn(beat(client, Arc::clone(&over)));
    let session = Session(heart.abort_handle());
    let token = LeaseToken { sink: sink.to_owned(), fencing_token: fence };
    let lease = Lease::new(token, Position(position), session);
    Ok(Some(lease.lost_when(move || over.load(Ordering::Relaxed))))
}

/// The session that has the lock. Dropped, it is closed, and the lock is free.
struct Session(AbortHandle);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps the session alive until it fails.
async fn beat(client: Client, over: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if let Ok(Ok(())) = tokio::time::timeout(SILENCE, client.batch_execute("SELECT 1")).await {
            continue;
        }
        over.store(true, Ordering::Relaxed);
        return;
    }
}
