//! News of commits by LISTEN and NOTIFY, on a session of its own.
//!
//! NOTIFY takes a lock on the whole cluster's queue until its transaction has
//! committed, so it is never part of a batch: it would put all batches of all
//! replicas in a row. Here it is a transaction by itself, after the commit, and
//! without a wait for the disk, because news need not survive a crash.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect::{ConnectOptions, Purpose};
use super::options::PostgresOptions;
use crate::ports::{CommitNotifications, CommitNotifier, PortError};

/// What is listened on.
const CHANNEL: &str = "pvz_commits";
const TELL: &str = "SELECT pg_notify($1, '')";

/// [`CommitNotifications`] among all who use one database.
#[derive(Debug)]
pub struct PostgresNotifications {
    connect_options: ConnectOptions,
    timeout: Duration,
}

impl PostgresNotifications {
    /// News through that database.
    pub fn new(options: &PostgresOptions) -> Self {
        let connect_options = ConnectOptions::new(&options.server, Purpose::News, options.timeout);
        Self { connect_options, timeout: options.timeout }
    }

    /// A line that listens.
    ///
    /// # Errors
    /// PostgreSQL cannot be reached.
    pub async fn open(&self) -> Result<PostgresNotifier, tokio_postgres::Error> {
        let (client, news) = self.connect_options.listener().await?;
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Ok(PostgresNotifier { client, news, timeout: self.timeout })
    }
}

#[async_trait]
impl CommitNotifications for PostgresNotifications {
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError> {
        let failed = "PostgreSQL cannot be listened to";
        match timeout(self.timeout, self.open()).await {
            Ok(Ok(line)) => Ok(Box::new(line)),
            Ok(Err(error)) => Err(PortError::unavailable(failed, error)),
            Err(late) => Err(PortError::unavailable(failed, late)),
        }
    }
}

/// A session that listens, and tells.
#[derive(Debug)]
pub struct PostgresNotifier {
    client: Client,
    news: mpsc::Receiver<()>,
    timeout: Duration,
}

#[async_trait]
impl CommitNotifier for PostgresNotifier {
    async fn notify(&mut self) -> Result<(), PortError> {
        let failed = "PostgreSQL takes no news";
        match timeout(self.timeout, self.client.execute(TELL, &[&CHANNEL])).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(PortError::unavailable(failed, error)),
            Err(late) => Err(PortError::unavailable(failed, late)),
        }
    }

    async fn wait(&mut self) -> Result<(), PortError> {
        let heard = self.news.recv().await;
        heard.ok_or_else(|| PortError::unavailable("PostgreSQL tells no news", "the connection broke"))
    }
}
