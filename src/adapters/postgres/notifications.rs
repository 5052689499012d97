//! Notifications of commits by LISTEN and NOTIFY, on a session of their own.
//!
//! NOTIFY locks the notification queue of the whole cluster until its
//! transaction has committed, so inside a batch it would serialise the batches
//! of all replicas. Here it is a transaction of its own, after the commit of the
//! batch, and does not wait for the disk, because notifications need not survive
//! a crash.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::connect::{ConnectOptions, Purpose, Received};
use super::notification_payload::encode;
use super::options::PostgresOptions;
use crate::ports::{ChangedOrders, CommitNotifications, CommitNotifier, PortError};

/// The notification channel.
const CHANNEL: &str = "pvz_commits";
const NOTIFY: &str = "SELECT pg_notify($1, payload) FROM unnest($2) AS payload";

/// [`CommitNotifications`] among the replicas on one database.
#[derive(Debug)]
pub struct PostgresNotifications {
    connect_options: ConnectOptions,
    timeout: Duration,
}

impl PostgresNotifications {
    /// Returns notifications through the primary.
    pub fn new(options: &PostgresOptions) -> Self {
        let connect_options = ConnectOptions::new(&options.server, Purpose::Notify, options.timeout);
        Self { connect_options, timeout: options.timeout }
    }

    /// Opens a session that listens.
    ///
    /// # Errors
    /// PostgreSQL cannot be reached.
    pub async fn open(&self) -> Result<PostgresNotifier, tokio_postgres::Error> {
        let (client, received) = self.connect_options.listener().await?;
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Ok(PostgresNotifier { client, received, timeout: self.timeout })
    }
}

#[async_trait]
impl CommitNotifications for PostgresNotifications {
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError> {
        let failed = "PostgreSQL cannot be listened to";
        match timeout(self.timeout, self.open()).await {
            Ok(Ok(notifier)) => Ok(Box::new(notifier)),
            Ok(Err(error)) => Err(PortError::unavailable(failed, error)),
            Err(elapsed) => Err(PortError::unavailable(failed, elapsed)),
        }
    }
}

/// A session that sends and receives notifications.
#[derive(Debug)]
pub struct PostgresNotifier {
    client: Client,
    received: Received,
    timeout: Duration,
}

#[async_trait]
impl CommitNotifier for PostgresNotifier {
    async fn notify(&mut self, changed: &ChangedOrders) -> Result<(), PortError> {
        let failed = "PostgreSQL did not accept a notification";
        let payloads = encode(changed);
        let values: [(&(dyn ToSql + Sync), Type); 2] =
            [(&CHANNEL, Type::TEXT), (&payloads, Type::TEXT_ARRAY)];
        match timeout(self.timeout, self.client.query_typed(NOTIFY, &values)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PortError::unavailable(failed, error)),
            Err(elapsed) => Err(PortError::unavailable(failed, elapsed)),
        }
    }

    async fn wait(&mut self) -> Result<ChangedOrders, PortError> {
        self.received.next().await.ok_or_else(|| {
            PortError::unavailable("PostgreSQL sends no notifications", "the connection broke")
        })
    }
}
