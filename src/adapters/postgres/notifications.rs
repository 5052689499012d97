//! Notifications of commits by LISTEN and NOTIFY, on a session of their own.
//!
//! NOTIFY locks the notification queue of the whole cluster until its
//! transaction has committed, so inside a batch it would serialise the batches
//! of all replicas. Here it is a transaction of its own, after the commit of the
//! batch, and does not wait for the disk, because notifications need not survive
//! a crash.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect::{ConnectOptions, Purpose};
use super::options::PostgresOptions;
use crate::ports::{CommitNotifications, CommitNotifier, PortError};

/// The notification channel.
const CHANNEL: &str = "pvz_commits";
const NOTIFY: &str = "SELECT pg_notify($1, '')";

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
    received: mpsc::Receiver<()>,
    timeout: Duration,
}

#[async_trait]
impl CommitNotifier for PostgresNotifier {
    async fn notify(&mut self) -> Result<(), PortError> {
        let failed = "PostgreSQL did not accept a notification";
        match timeout(self.timeout, self.client.execute(NOTIFY, &[&CHANNEL])).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PortError::unavailable(failed, error)),
            Err(elapsed) => Err(PortError::unavailable(failed, elapsed)),
        }
    }

    async fn wait(&mut self) -> Result<(), PortError> {
        let received = self.received.recv().await;
        received.ok_or_else(|| {
            PortError::unavailable("PostgreSQL sends no notifications", "the connection broke")
        })
    }
}
