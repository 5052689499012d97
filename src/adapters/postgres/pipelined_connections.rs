//! Connections that several statements share, each its own transaction.
//!
//! A statement is sent while the one before it is still being executed, so the
//! server's process goes from one to the next without waiting for us, and one
//! process does what two did that woke, and waited for, each other. That made
//! an eighth more new orders (benches/README.md).
//!
//! Nothing can overtake: a connection's statements are executed in the order in
//! which they were sent, each is followed by its Sync, which commits it or rolls
//! it back, and one that fails takes nothing with it. Those that wait hold no
//! lock. Not for transactions of several statements, which need a connection of
//! their own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use diesel_async::AsyncPgConnection;

use super::error::Failure;
use super::pool::{Connections, PooledConnection};
use super::session::Backend;

/// How many statements are on one connection at most: one that is executed, and
/// the next. A third makes batches smaller, and no more of them.
const DEPTH: usize = 2;
/// After so many a connection goes back to the pool when it is free, so that
/// whoever waits there has its turn.
const TURN: usize = 256;

/// The connections that are shared at the moment.
#[derive(Debug, Default)]
pub(super) struct PipelinedConnections(Mutex<Vec<Weak<PipelinedConnection>>>);

/// A connection, as long as a statement is on it.
struct PipelinedConnection {
    connection: Option<PooledConnection>,
    /// How many statements it has had.
    begun: AtomicUsize,
    /// Something was left unfinished on it: it is closed, and nobody joins.
    spoiled: AtomicBool,
}

impl PipelinedConnections {
    /// A place on a connection.
    pub(super) async fn join(&self, connections: &Connections) -> Result<Slot, Failure> {
        if let Some(slot) = self.free() {
            return Ok(slot);
        }
        let pipelined = Arc::new(PipelinedConnection {
            connection: Some(connections.take().await?),
            begun: AtomicUsize::new(1),
            spoiled: AtomicBool::new(false),
        });
        self.open().push(Arc::downgrade(&pipelined));
        Ok(Slot { pipelined, ahead: 0, finished: false })
    }

    /// A place on the connection with the fewest statements, if one has room.
    fn free(&self) -> Option<Slot> {
        let mut open = self.open();
        open.retain(|pipelined| pipelined.strong_count() > 0);
        let least = open
            .iter()
            .filter_map(Weak::upgrade)
            // Of those that are counted, one is ours.
            .map(|pipelined| (Arc::strong_count(&pipelined) - 1, pipelined))
            .filter(|(ahead, pipelined)| *ahead < DEPTH && pipelined.is_open())
            .min_by_key(|(ahead, _)| *ahead);
        let (ahead, pipelined) = least?;
        pipelined.begun.fetch_add(1, Ordering::Relaxed);
        Some(Slot { pipelined, ahead, finished: false })
    }

    fn open(&self) -> MutexGuard<'_, Vec<Weak<PipelinedConnection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PipelinedConnection {
    fn is_open(&self) -> bool {
        self.begun.load(Ordering::Relaxed) < TURN && !self.spoiled.load(Ordering::Relaxed)
    }

    #[expect(clippy::expect_used, reason = "only drop takes it out")]
    fn connection(&self) -> &PooledConnection {
        self.connection.as_ref().expect("a connection on loan")
    }
}

impl Drop for PipelinedConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.spoiled.load(Ordering::Relaxed)
        {
            connection.give_back();
        }
    }
}

impl std::fmt::Debug for PipelinedConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PipelinedConnection").field("begun", &self.begun).finish_non_exhaustive()
    }
}

/// A place for one statement. Dropped before that is [finished](Self::finish),
/// by an error or because the caller went away, it spoils the connection.
pub(super) struct Slot {
    pipelined: Arc<PipelinedConnection>,
    /// How many statements are before this one at most.
    pub(super) ahead: usize,
    finished: bool,
}

impl Slot {
    /// The connection, shared.
    pub(super) fn connection(&self) -> &AsyncPgConnection {
        self.pipelined.connection()
    }

    /// The process of the server that serves it.
    pub(super) fn backend(&self) -> Backend {
        self.pipelined.connection().backend()
    }

    /// The statement has been answered to its end.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.finished {
            self.pipelined.spoiled.store(true, Ordering::Relaxed);
        }
    }
}
