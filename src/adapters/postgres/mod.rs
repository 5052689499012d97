//! Orders in PostgreSQL, for any number of replicas on one database.
//!
//! Batches race with those of other workers and other replicas; `write` says
//! why none of them can lose or double an effect. Statements are kept prepared
//! for as long as their connection lives.

mod audit;
mod baseline;
mod check;
mod connect;
mod error;
mod feed;
mod in_doubt;
mod inbox;
mod inbox_sql;
mod inbox_write;
mod insert;
mod leader_lock;
mod maintenance;
mod migrate;
mod notifications;
mod optimistic_insert;
mod outbox;
mod pipelined_connections;
mod pool;
mod read;
mod rows;
mod session;
mod sql;
mod standby;
mod statement;
mod tls;
mod unreplicated_writes;
mod write;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

pub use self::baseline::{Baseline, baseline};
use self::connect::ConnectOptions;
pub use self::connect::ServerAddress;
pub use self::migrate::{MigrationStatus, OpenError, Step, migrate, status};
pub use self::notifications::{PostgresNotifications, PostgresNotifier};
use self::pipelined_connections::PipelinedConnections;
use self::pool::{Connections, on_connection};
use self::standby::{Noting, Standby};
pub use self::tls::{Authorities, Check, Encryption, Tls, TlsError};
use self::unreplicated_writes::About;
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::domain::{Order, OrderId, PickupPointId, Timestamp};
use crate::ports::{
    Audited, Batch, Decide, EventLog, LoggedEvent, OrderFilter, OrderStore, Outcome, Page, PortError,
    Position,
};

/// What may be set about a store.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where the database is.
    pub server: ServerAddress,
    /// A standby of it, from which orders, lists and histories are read.
    pub standby: Option<ServerAddress>,
    /// How many connections read at the same time, from each of them.
    pub readers: NonZeroUsize,
    /// How many connections write at the same time.
    pub writers: NonZeroUsize,
    /// How long a statement may run, how long it waits for a lock, and how
    /// long an operation waits for a connection.
    pub timeout: Duration,
}

/// An [`OrderStore`], [`EventLog`] and
/// [`Outbox`](crate::ports::Outbox) in a PostgreSQL database, and consumers'
/// [`Inbox`](crate::ports::Inbox).
#[derive(Debug)]
pub struct PostgresStore {
    writers: Connections,
    pipelined: PipelinedConnections,
    optimistic: OptimisticInsert,
    readers: Connections,
    standby: Option<Standby>,
    /// How the session of a leading relay is made.
    leaders: ConnectOptions,
    secret: [u8; 32],
}

impl PostgresStore {
    /// Connects to a database whose schema is this release's.
    ///
    /// # Errors
    /// It cannot be reached, or its schema is missing, older or newer.
    pub async fn open(options: &PostgresOptions) -> Result<Self, OpenError> {
        migrate::open(options).await
    }
}

/// Runs a read on the standby, if there is one that shows all we wrote of what
/// it is about, and else, or if that fails, on the primary.
macro_rules! on_reader {
    ($store:expr, $about:expr, |$connection:ident| $operation:expr) => {{
        let mut found: Option<Result<_, PortError>> = None;
        if let Some(standby) = $store.standby.as_ref().filter(|standby| standby.shows($about)) {
            let read = async { on_connection!(standby.connections, |$connection| $operation) };
            match standby::in_time(read).await {
                Ok(read) => found = Some(Ok(read)),
                Err(error) => standby.failed(&error),
            }
        }
        match found {
            Some(found) => found,
            None => on_connection!($store.readers, |$connection| $operation),
        }
    }};
}

#[async_trait]
impl OrderStore for PostgresStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        let Some(standby) = &self.standby else {
            return write::transact(&self.writers, &self.pipelined, &self.optimistic, &batch, &*decide).await;
        };
        let noting = Noting { inner: &*decide, written: Mutex::default() };
        let result = write::transact(&self.writers, &self.pipelined, &self.optimistic, &batch, &noting).await;
        // Also after a failure that leaves it in doubt.
        standby.wrote(&noting.written.into_inner().unwrap_or_else(PoisonError::into_inner));
        result
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        let query = read::order(order_id);
        let found: Result<Vec<Order>, PortError> = on_reader!(self, About::Order(order_id), |connection| {
            read::load_orders(&mut connection, &query)
        });
        Ok(found?.into_iter().next())
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        match read::orders(filter, page) {
            Some(query) => {
                on_reader!(self, filter.into(), |connection| read::load_orders(&mut connection, &query))
            }
            None => Ok(Vec::new()),
        }
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        let query = read::returns(point, page);
        let about = point.map_or(About::Everything, About::Point);
        on_reader!(self, about, |connection| read::load_orders(&mut connection, &query))
    }

    async fn expire_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        let query = maintenance::expire_records(before, limit);
        on_connection!(self.writers, |connection| maintenance::expire(&mut connection, &query))
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<Audited>, PortError> {
        on_connection!(self.readers, |connection| audit::page(&mut connection, after, limit))
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        Ok(self.secret)
    }

    async fn ping(&self) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| maintenance::ping(&mut connection))
    }

    async fn maintenance(&self) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| maintenance::partitions(&mut connection))
    }
}

#[async_trait]
impl EventLog for PostgresStore {
    async fn history(
        &self,
        order_id: &OrderId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LoggedEvent>, PortError> {
        let query = read::history(order_id, after, limit);
        on_reader!(self, About::Order(order_id), |connection| read::load_events(&mut connection, &query))
    }

    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        on_connection!(self.readers, |connection| feed::page(&mut connection, after, limit))
    }

    async fn head(&self) -> Result<Position, PortError> {
        on_connection!(self.readers, |connection| feed::head(&mut connection))
    }

    async fn oldest(&self) -> Result<Position, PortError> {
        on_connection!(self.readers, |connection| feed::oldest(&mut connection))
    }
}
