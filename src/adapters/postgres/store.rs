//! The store: the ports of orders and of their log, on pools of connections.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::command_check::CommandCheck;
use super::connect::{ConnectOptions, Purpose};
use super::open_error::OpenError;
use super::options::PostgresOptions;
use super::pipelined_connections::PipelinedConnections;
use super::pool::{Connections, on_connection};
use super::readers::Readers;
use super::standby::{self, RecordingDecide, Standby};
use super::unreplicated_writes::ReadScope;
use super::{audit, feed, maintenance, migrate, read, session_check, write};
use crate::adapters::optimistic_insert::OptimisticInsert;
use crate::domain::{Order, OrderId, PickupPointId, Timestamp};
use crate::ports::{
    AuditedOrder, Batch, Decide, EventLog, LoggedEvent, OrderFilter, OrderStore, Outcome, Page, PortError,
    Position,
};

/// An [`OrderStore`], [`EventLog`], [`Outbox`](crate::ports::Outbox) and
/// [`Inbox`](crate::ports::Inbox) in a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(super) writers: Connections,
    pipelined: Arc<PipelinedConnections>,
    optimistic: Arc<OptimisticInsert>,
    pub(super) readers: Readers,
    standby: Option<Arc<Standby>>,
    /// The options for the session that holds the leader lock.
    pub(super) leaders: ConnectOptions,
    secret: [u8; 32],
    pub(super) check: CommandCheck,
}

impl PostgresStore {
    /// Connects to a database whose schema is that of this release.
    ///
    /// # Errors
    /// The database cannot be reached, or its schema is missing, older or newer.
    pub async fn open(options: &PostgresOptions) -> Result<Self, OpenError> {
        let secret = migrate::check(options).await?;
        let readers = |server| Readers::new(server, options.readers, options.timeout);
        let (primary, timeout) = (readers(&options.server)?, options.timeout);
        let standby = match &options.standby {
            None => None,
            Some(server) => {
                // The store does not read from a standby while it is unreachable.
                match Box::pin(session_check::check(server, timeout)).await {
                    Ok(()) | Err(OpenError::Connect { .. } | OpenError::Database(_)) => {}
                    Err(error) => return Err(error),
                }
                let primary = primary.background.clone();
                Some(Arc::new(Standby::open(readers(server)?, primary, secret).await?))
            }
        };
        let writing = ConnectOptions::new(&options.server, Purpose::Write, timeout);
        Ok(Self {
            writers: Connections::new(writing, options.writers, timeout)?,
            pipelined: Arc::default(),
            optimistic: Arc::default(),
            readers: primary,
            standby,
            leaders: ConnectOptions::new(&options.server, Purpose::Lead, timeout),
            secret,
            check: CommandCheck::default(),
        })
    }

    /// Returns the store without its standby: every read is from the primary.
    pub fn on_primary(&self) -> Self {
        Self { standby: None, ..self.clone() }
    }

    /// Returns the store with a read connection that only the relay uses.
    pub fn for_relay(&self) -> Self {
        Self { readers: self.readers.for_relay(), standby: None, ..self.clone() }
    }
}

/// Runs a read on the standby, if it has replayed everything that this process
/// wrote in the scope of the read. Otherwise, or if that fails, runs it on the
/// primary. The read uses the connections of its purpose.
macro_rules! on_reader {
    ($store:expr, $purpose:ident, $scope:expr, |$connection:ident| $operation:expr) => {{
        let mut found: Option<Result<_, PortError>> = None;
        if let Some(standby) = $store.standby.as_ref().filter(|standby| standby.can_serve($scope)) {
            let read = async { on_connection!(standby.readers.$purpose, |$connection| $operation) };
            match standby::with_read_timeout(read).await {
                Ok(read) => found = Some(Ok(read)),
                Err(error) => standby.record_failure(&error),
            }
        }
        match found {
            Some(found) => found,
            None => on_connection!($store.readers.$purpose, |$connection| $operation),
        }
    }};
}

#[async_trait]
impl OrderStore for PostgresStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        let Some(standby) = &self.standby else {
            return write::transact(&self.writers, &self.pipelined, &self.optimistic, &batch, &*decide).await;
        };
        let recording = RecordingDecide { inner: &*decide, written: Mutex::default() };
        let result =
            write::transact(&self.writers, &self.pipelined, &self.optimistic, &batch, &recording).await;
        // Also after an error, which may leave the write in doubt.
        standby.record_write(&recording.written.into_inner().unwrap_or_else(PoisonError::into_inner));
        result
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        let query = read::order(order_id);
        let found: Result<Vec<Order>, PortError> =
            on_reader!(self, points, ReadScope::Order(order_id), |connection| {
                read::load_orders(&mut connection, &query)
            });
        Ok(found?.into_iter().next())
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        match read::orders(filter, page) {
            Some(query) => {
                on_reader!(self, lists, filter.into(), |connection| read::load_orders(
                    &mut connection,
                    &query
                ))
            }
            None => Ok(Vec::new()),
        }
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        let query = read::returns(point, page);
        let scope = point.map_or(ReadScope::Everything, ReadScope::PickupPoint);
        on_reader!(self, lists, scope, |connection| read::load_orders(&mut connection, &query))
    }

    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        let query = maintenance::expire_idempotency_records(before, limit);
        on_connection!(self.writers, |connection| maintenance::expire(&mut connection, &query))
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError> {
        on_connection!(self.readers.lists, |connection| audit::page(&mut connection, after, limit))
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        Ok(self.secret)
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.check.run(&self.writers).await
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
        on_reader!(self, points, ReadScope::Order(order_id), |connection| read::load_events(
            &mut connection,
            &query
        ))
    }

    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        on_connection!(self.readers.feed, |connection| feed::page(&mut connection, after, limit))
    }

    async fn head(&self) -> Result<Position, PortError> {
        on_connection!(self.readers.feed, |connection| feed::head(&mut connection))
    }

    async fn oldest(&self) -> Result<Position, PortError> {
        on_connection!(self.readers.feed, |connection| feed::oldest(&mut connection))
    }
}
