//! The store in a SQLite file, embedded in the process.
//!
//! One connection writes, one batch per transaction; a few others read snapshots. A lock on the
//! file keeps a second server from opening it: with one writer there are no races, and positions
//! become visible in order.

mod audit;
mod connections;
mod error;
mod inbox;
mod inbox_sql;
mod inbox_tables;
mod interrupt;
#[cfg(test)]
mod interrupt_tests;
mod known_sink;
mod open;
mod open_error;
mod outbox;
#[cfg(test)]
mod plans;
mod read;
mod readers;
mod sql;
mod store_files;
mod store_lock;
mod tables;
#[cfg(test)]
mod visited_rows;
mod write;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use diesel::RunQueryDsl as _;

use self::connections::Connections;
pub use self::open_error::OpenError;
use self::readers::Readers;
use crate::adapters::last_commit::LastCommit;
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::domain::{Order, OrderId, PickupPointId, Timestamp};
use crate::ports::{
    AuditedOrder, Batch, Decide, EventLog, LoggedEvent, OrderFilter, OrderStore, Outcome, Page, PortError,
    Position,
};

/// Options of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The number of concurrent reads of orders and lists.
    pub readers: NonZeroUsize,
    /// Busy timeout: the longest wait for another program's lock on the file.
    pub busy_timeout: Duration,
    /// The maximum size of the file in pages of 4 KiB; `None` for no limit. A
    /// full file makes the store unavailable for writing.
    pub max_pages: Option<u32>,
    /// True if an older schema is migrated; otherwise it is refused.
    pub migrate: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        let readers = NonZeroUsize::MIN.saturating_add(3);
        Self { readers, busy_timeout: Duration::from_secs(5), max_pages: None, migrate: true }
    }
}

/// An [`OrderStore`], [`EventLog`] and
/// [`Outbox`](crate::ports::Outbox) in a SQLite file, and a consumer's
/// [`Inbox`](crate::ports::Inbox).
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writers: Arc<Connections>,
    readers: Readers,
    /// Held by the leader of the relay.
    leader_lock: Arc<tokio::sync::Mutex<()>>,
    secret: [u8; 32],
    optimistic: Arc<OptimisticInsert>,
    last_commit: Arc<LastCommit>,
}

impl SqliteStore {
    fn new(writers: Arc<Connections>, readers: Readers, secret: [u8; 32]) -> Self {
        Self {
            writers,
            readers,
            leader_lock: Arc::default(),
            secret,
            optimistic: Arc::default(),
            last_commit: Arc::default(),
        }
    }

    /// Returns the store with a read connection that only the relay uses.
    pub fn for_relay(&self) -> Self {
        Self { readers: self.readers.for_relay(), ..self.clone() }
    }

    /// Opens or creates the file, locks it against other servers and migrates its
    /// schema. Blocks.
    ///
    /// # Errors
    /// Another process has it open, a newer release wrote it, or it cannot be
    /// used.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        open::open(path, options)
    }

    /// Opens the file for reading only, without the lock, so also while a server
    /// has it open. Commands are unavailable. Blocks.
    ///
    /// # Errors
    /// There is no such store, its schema is not that of this release, or it
    /// cannot be read.
    pub fn open_read_only(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        open::open_read_only(path, options)
    }

    /// Opens the file like [`SqliteStore::open_read_only`], even on read-only media. There, the
    /// server must have closed the file, and no server can open it meanwhile. Blocks.
    ///
    /// # Errors
    /// The store does not exist, its schema is not that of this release, it cannot be read, or its
    /// write-ahead log has commits that SQLite cannot read without writing.
    pub fn open_for_audit(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        open::open_for_audit(path, options)
    }

    /// Returns the migrations in order: the name of each, and whether it was
    /// applied. None is applied to a file that does not exist. Blocks.
    ///
    /// # Errors
    /// A newer release wrote the file, or it cannot be read.
    pub fn schema(path: &Path) -> Result<Vec<(String, bool)>, OpenError> {
        open::schema(path)
    }
}

#[async_trait]
impl OrderStore for SqliteStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        let optimistic = Arc::clone(&self.optimistic);
        let transact = move |connection: &mut _| write::transact(connection, &optimistic, &batch, &*decide);
        let written = self.writers.write(transact).await;
        self.last_commit.record(&written, written.as_ref().is_ok_and(|(_, has_rows)| *has_rows));
        written.map(|(outcomes, _)| outcomes)
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        let query = read::order(order_id);
        let found = self.readers.points.read(|connection| read::load_orders(connection, query)).await?;
        Ok(found.into_iter().next())
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        match read::orders(filter, page) {
            Some(query) => self.readers.lists.read(|connection| read::load_orders(connection, query)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        let query = read::returns(point, page);
        self.readers.lists.read(|connection| read::load_orders(connection, query)).await
    }

    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        let statement = write::expire_idempotency_records(before, limit);
        self.writers.write(|connection| Ok(statement.execute(connection)?)).await
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError> {
        let after = after.cloned();
        self.readers.lists.read(move |connection| audit::page(connection, after.as_ref(), limit)).await
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        Ok(self.secret)
    }

    async fn ping(&self) -> Result<(), PortError> {
        // Taking the lock proves little: it succeeds on a full disk.
        let commit = !self.last_commit.is_recent();
        let pinged = self.writers.write(move |connection| write::ping(connection, commit)).await;
        self.last_commit.record(&pinged, commit);
        pinged
    }
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn history(
        &self,
        order_id: &OrderId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LoggedEvent>, PortError> {
        let query = read::history(order_id, after, limit);
        self.readers.points.read(|connection| read::load_events(connection, query)).await
    }

    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        let query = read::feed(after, limit);
        self.readers.feed.read(|connection| read::load_events(connection, query)).await
    }

    async fn head(&self) -> Result<Position, PortError> {
        self.readers.feed.read(|connection| read::load_position(connection, read::head())).await
    }

    async fn oldest(&self) -> Result<Position, PortError> {
        self.readers.feed.read(|connection| read::load_position(connection, read::oldest())).await
    }
}
