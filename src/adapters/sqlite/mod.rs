//! Orders in a SQLite file, embedded in the process.
//!
//! One connection writes, a batch per transaction; a few others read, each a
//! snapshot. A lock file keeps a second server away: with one writer no race
//! can be lost, and positions become visible in their order.

mod audit;
mod connections;
mod error;
mod inbox;
mod inbox_sql;
mod inbox_tables;
mod open;
mod outbox;
#[cfg(test)]
mod plans;
mod read;
mod sql;
mod tables;
mod write;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diesel::RunQueryDsl as _;

use self::connections::Connections;
pub use self::open::OpenError;
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::domain::{Order, OrderId, PickupPointId, Timestamp};
use crate::ports::{
    AuditedOrder, Batch, Decide, ErrorKind, EventLog, LoggedEvent, OrderFilter, OrderStore, Outcome, Page,
    PortError, Position,
};

/// What may be set about a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How many reads run at once.
    pub readers: NonZeroUsize,
    /// How long to wait for a lock that another program holds on the file.
    pub busy_timeout: Duration,
    /// The most pages of 4 KiB that the file may have; `None`: as the disk
    /// takes. Beyond it the store is unavailable for writing.
    pub max_pages: Option<u32>,
    /// Whether an older schema is brought up to date, or refused.
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
#[derive(Debug)]
pub struct SqliteStore {
    writers: Arc<Connections>,
    readers: Arc<Connections>,
    /// Locked by who leads.
    lead: Arc<tokio::sync::Mutex<()>>,
    secret: [u8; 32],
    optimistic: Arc<OptimisticInsert>,
    /// The last write failed: whether the next one would is only known by
    /// trying.
    doubtful: AtomicBool,
}

impl SqliteStore {
    fn new(writers: Arc<Connections>, readers: Arc<Connections>, secret: [u8; 32]) -> Self {
        let doubtful = AtomicBool::new(false);
        Self { writers, readers, lead: Arc::default(), secret, optimistic: Arc::default(), doubtful }
    }

    /// Remembers whether the file took the last write.
    fn note<T>(&self, written: Result<T, PortError>) -> Result<T, PortError> {
        let failed = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable);
        self.doubtful.store(failed, Ordering::Relaxed);
        written
    }

    /// Opens the file, or makes it, locks it against other servers and brings
    /// its schema up to date. Blocks.
    ///
    /// # Errors
    /// Another process has it open, a newer release wrote it, or it cannot be
    /// used.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        open::open(path, options)
    }

    /// Opens the file for reading, without the lock, so also beside a server.
    /// Commands are unavailable. Blocks.
    ///
    /// # Errors
    /// There is no such store, its schema is not this release's, or it cannot
    /// be read.
    pub fn open_read_only(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        open::open_read_only(path, options)
    }

    /// The steps of the schema, in order: its name, and whether the file has
    /// it. All are missing from a file that does not exist. Blocks.
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
        self.note(self.writers.run(transact).await)
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        let query = read::order(order_id);
        let found = self.readers.run(|connection| read::load_orders(connection, query)).await?;
        Ok(found.into_iter().next())
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        match read::orders(filter, page) {
            Some(query) => self.readers.run(|connection| read::load_orders(connection, query)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        let query = read::returns(point, page);
        self.readers.run(|connection| read::load_orders(connection, query)).await
    }

    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        let statement = write::expire_idempotency_records(before, limit);
        self.writers.run(|connection| Ok(statement.execute(connection)?)).await
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError> {
        let after = after.cloned();
        self.readers.run(move |connection| audit::page(connection, after.as_ref(), limit)).await
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        Ok(self.secret)
    }

    async fn ping(&self) -> Result<(), PortError> {
        // Named in full: diesel has a `load` for everything.
        let doubtful = AtomicBool::load(&self.doubtful, Ordering::Relaxed);
        self.note(self.writers.run(move |connection| write::ping(connection, doubtful)).await)
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
        self.readers.run(|connection| read::load_events(connection, query)).await
    }

    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        let query = read::feed(after, limit);
        self.readers.run(|connection| read::load_events(connection, query)).await
    }

    async fn head(&self) -> Result<Position, PortError> {
        self.readers.run(|connection| read::load_position(connection, read::head())).await
    }

    async fn oldest(&self) -> Result<Position, PortError> {
        self.readers.run(|connection| read::load_position(connection, read::oldest())).await
    }
}
