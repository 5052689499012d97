//! Pipelined connections: several statements share a connection, and each is a
//! transaction of its own.
//!
//! A statement is sent while the server still executes the one before it. The
//! backend then goes from one statement to the next without waiting for this
//! process, and one backend does the work of two that would wake and wait for
//! each other. `benches/README.md` has the gain.
//!
//! Statements cannot overtake each other: a connection executes them in the
//! order in which they were sent. Each is followed by its own Sync, which
//! commits it or rolls it back, so a statement that fails does not affect the
//! others, and a statement that waits holds no lock. Transactions of several
//! statements need a connection of their own.

use std::borrow::Borrow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use diesel_async::AsyncPgConnection;

use super::error::Failure;
use super::pool::{Connections, PooledConnection};
use super::session::Backend;

/// Slots of a connection: one for the statement that is executed and one for
/// the next. With a third, batches would be smaller, but not faster.
const SLOTS: usize = 2;
/// After this number of statements a connection takes no more and returns to
/// the pool, so that operations that wait for the pool are served.
const MAX_STATEMENTS: usize = 256;

/// The connections that are pipelined now.
#[derive(Debug, Default)]
pub(super) struct PipelinedConnections(Mutex<Vec<Weak<PipelinedConnection>>>);

/// A connection that is shared while statements run on it.
struct PipelinedConnection {
    connection: Option<PooledConnection>,
    /// The number of statements that have used it.
    statements: AtomicUsize,
    /// True if a statement was not completed: the connection takes no more
    /// statements and is closed.
    unusable: AtomicBool,
}

impl PipelinedConnections {
    /// Takes a slot; takes another connection from the pool if none is free.
    pub(super) async fn acquire(&self, connections: &Connections) -> Result<Slot, Failure> {
        if let Some(slot) = self.free_slot() {
            return Ok(slot);
        }
        let shared = Arc::new(PipelinedConnection {
            connection: Some(connections.acquire().await?),
            statements: AtomicUsize::new(1),
            unusable: AtomicBool::new(false),
        });
        self.lock().push(Arc::downgrade(&shared));
        Ok(Slot { shared, ahead: 0, completed: false })
    }

    /// Takes a slot on the connection with the fewest statements, if a
    /// connection has a free slot.
    fn free_slot(&self) -> Option<Slot> {
        let mut shared = self.lock();
        shared.retain(|connection| connection.strong_count() > 0);
        let least_used = shared
            .iter()
            .filter_map(Weak::upgrade)
            // One of the strong references is the upgrade.
            .map(|connection| (Arc::strong_count(&connection) - 1, connection))
            .filter(|(ahead, connection)| *ahead < SLOTS && connection.takes_statements())
            .min_by_key(|(ahead, _)| *ahead);
        let (ahead, shared) = least_used?;
        shared.statements.fetch_add(1, Ordering::Relaxed);
        Some(Slot { shared, ahead, completed: false })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<PipelinedConnection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PipelinedConnection {
    fn takes_statements(&self) -> bool {
        self.statements.load(Ordering::Relaxed) < MAX_STATEMENTS && !self.unusable.load(Ordering::Relaxed)
    }

    #[expect(clippy::expect_used, reason = "only drop takes it out")]
    fn connection(&self) -> &PooledConnection {
        self.connection.as_ref().expect("a connection that was not released")
    }
}

impl Drop for PipelinedConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.unusable.load(Ordering::Relaxed)
        {
            connection.release();
        }
    }
}

impl std::fmt::Debug for PipelinedConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let statements = &self.statements;
        formatter.debug_struct("PipelinedConnection").field("statements", statements).finish_non_exhaustive()
    }
}

/// A slot for one statement. If it is dropped without being
/// [released](Self::release), by an error or because the caller was cancelled,
/// the connection takes no more statements.
pub(super) struct Slot {
    shared: Arc<PipelinedConnection>,
    /// The largest number of statements that may be ahead of this one.
    pub(super) ahead: usize,
    completed: bool,
}

impl Slot {
    /// Returns the shared connection.
    pub(super) fn connection(&self) -> &AsyncPgConnection {
        self.shared.connection()
    }

    /// Returns the backend that serves the connection.
    pub(super) fn backend(&self) -> Backend {
        self.shared.connection().backend()
    }

    /// Leaves the statement without an answer: the connection takes no more
    /// statements, and is [retired](Connections::retire).
    pub(super) fn retire(self, connections: &Connections) {
        self.shared.unusable.store(true, Ordering::Relaxed);
        connections.retire(self);
    }

    /// Frees the slot after the response to the statement was read to its end.
    pub(super) fn release(mut self) {
        self.completed = true;
    }
}

impl Borrow<PooledConnection> for Slot {
    fn borrow(&self) -> &PooledConnection {
        self.shared.connection()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.completed {
            self.shared.unusable.store(true, Ordering::Relaxed);
        }
    }
}
