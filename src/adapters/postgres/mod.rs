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
mod lead;
mod migrate;
mod news;
mod outbox;
mod pool;
mod read;
mod rows;
mod session;
mod sql;
mod statement;
mod tls;
mod unseen;
mod upkeep;
mod write;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::baseline::{Baseline, baseline};
use self::connect::Recipe;
pub use self::connect::ServerAddress;
pub use self::migrate::{MigrationStatus, OpenError, Step, migrate, status};
pub use self::news::{PostgresLine, PostgresNews};
use self::pool::{Connections, on_connection};
pub use self::tls::{Authorities, Check, Encryption, Tls, TlsError};
use crate::adapters::guess::Guess;
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
    /// How many connections read at the same time.
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
    guess: Guess,
    readers: Connections,
    /// How the session of a leading relay is made.
    leaders: Recipe,
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

#[async_trait]
impl OrderStore for PostgresStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        write::transact(&self.writers, &self.guess, &batch, &*decide).await
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        let query = read::order(order_id);
        let found: Result<Vec<Order>, PortError> =
            on_connection!(self.readers, |connection| read::load_orders(&mut connection, &query));
        Ok(found?.into_iter().next())
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        match read::orders(filter, page) {
            Some(query) => {
                on_connection!(self.readers, |connection| read::load_orders(&mut connection, &query))
            }
            None => Ok(Vec::new()),
        }
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        let query = read::returns(point, page);
        on_connection!(self.readers, |connection| read::load_orders(&mut connection, &query))
    }

    async fn expire_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        let query = upkeep::expire_records(before, limit);
        on_connection!(self.writers, |connection| upkeep::expire(&mut connection, &query))
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<Audited>, PortError> {
        on_connection!(self.readers, |connection| audit::page(&mut connection, after, limit))
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        Ok(self.secret)
    }

    async fn ping(&self) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| upkeep::ping(&mut connection))
    }

    async fn upkeep(&self) -> Result<(), PortError> {
        on_connection!(self.writers, |connection| upkeep::make_room(&mut connection))
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
        on_connection!(self.readers, |connection| read::load_events(&mut connection, &query))
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
