//! Connections: how they are opened, and the settings of their sessions.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
pub use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Connection, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::notification_payload::decode;
use super::options::{PostgresOptions, ServerAddress};
use super::tls::{Tls, explain};
use crate::ports::ChangedOrders;

/// The server ends the session of a leader that is idle for longer.
pub(super) const LEADER_IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// The purpose of a connection, which decides its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Read,
    /// Holds the leader lock of the relays.
    Lead,
    /// Sends and receives notifications of commits.
    Notify,
    /// Changes the schema, which may take long.
    Migrate,
    /// For checking whether a connection is a separate session. It changes no settings.
    Check,
}

/// Opens a connection of its own, outside the pools, with the settings of a
/// connection that writes. It is closed when the client is dropped.
///
/// # Errors
/// The database cannot be reached or refuses the connection.
pub async fn connect(options: &PostgresOptions) -> Result<Client, tokio_postgres::Error> {
    ConnectOptions::new(&options.server, Purpose::Write, options.timeout).client().await
}

/// The address, the TLS settings and the session settings of connections.
#[derive(Debug, Clone)]
pub(super) struct ConnectOptions {
    config: tokio_postgres::Config,
    tls: Tls,
    /// The SET statements of the session. pvz does not send them as startup options, because
    /// poolers refuse those.
    settings: String,
}

impl ConnectOptions {
    /// Returns the options for a purpose. `timeout` limits statements and the
    /// time to connect.
    pub(super) fn new(server: &ServerAddress, purpose: Purpose, timeout: Duration) -> Self {
        let mut config = server.config.clone();
        let settings = settings(purpose, timeout, config.get_options().unwrap_or_default());
        if config.get_application_name().is_none() {
            config.application_name("pvz");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        // Detect a dead peer while a response is awaited.
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(timeout.saturating_mul(2));
        config.ssl_mode(server.tls.mode());
        Self { config, tls: server.tls.clone(), settings }
    }

    /// Opens a connection for the query builder.
    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        let failed = |error| connection_error(&error);
        let mut opened = if let Some(tls) = self.tls_connector() {
            let (client, connection) = self.config.connect(tls).await.map_err(failed)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await?
        } else {
            let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await?
        };
        let set = opened.batch_execute(&self.settings).await;
        set.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(opened)
    }

    /// Opens a plain connection, whose errors have their SQLSTATE. It is closed
    /// when the client is dropped.
    pub(super) async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        // The client returns the errors of the connection.
        let client = if let Some(tls) = self.tls_connector() {
            let (client, connection) = self.config.connect(tls).await?;
            tokio::spawn(connection);
            client
        } else {
            let (client, connection) = self.config.connect(NoTls).await?;
            tokio::spawn(connection);
            client
        };
        client.batch_execute(&self.settings).await?;
        Ok(client)
    }

    /// Opens a plain connection, and returns the notifications that other sessions send.
    pub(super) async fn listener(&self) -> Result<(Client, Received), tokio_postgres::Error> {
        let ((sender, received), own_process) = (channel(), Arc::new(OnceLock::<i32>::new()));
        let own = Arc::clone(&own_process);
        let client = if let Some(tls) = self.tls_connector() {
            let (client, connection) = self.config.connect(tls).await?;
            tokio::spawn(forward_notifications(connection, sender, own));
            client
        } else {
            let (client, connection) = self.config.connect(NoTls).await?;
            tokio::spawn(forward_notifications(connection, sender, own));
            client
        };
        client.batch_execute(&self.settings).await?;
        let process_id: i32 = query(&client, "SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        _ = own_process.set(process_id);
        Ok((client, received))
    }

    fn tls_connector(&self) -> Option<MakeRustlsConnect> {
        self.tls.config().cloned().map(MakeRustlsConnect::new)
    }
}

/// Runs a query that returns one row. It is one message, so a pooler cannot split it among
/// transactions.
pub(super) async fn query(
    client: &Client,
    sql: &str,
    values: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Row, tokio_postgres::Error> {
    client.query_typed_one(sql, values).await
}

/// The number of changed orders that may wait for the receiver.
const MAX_WAITING: usize = 10_000;

/// The notifications of other sessions.
#[derive(Debug)]
pub(super) struct Received {
    arrived: mpsc::Receiver<()>,
    /// The changes that arrived since they were last taken.
    changed: Arc<Mutex<ChangedOrders>>,
}

impl Received {
    /// Waits for notifications and returns all that arrived; `None` if the connection is closed.
    pub(super) async fn next(&mut self) -> Option<ChangedOrders> {
        self.arrived.recv().await?;
        Some(std::mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Returns both ends of a channel that merges what waits in it.
fn channel() -> (Sender, Received) {
    let ((sender, arrived), changed) = (mpsc::channel(1), Arc::<Mutex<ChangedOrders>>::default());
    (Sender { arrived: sender, changed: Arc::clone(&changed) }, Received { arrived, changed })
}

struct Sender {
    arrived: mpsc::Sender<()>,
    changed: Arc<Mutex<ChangedOrders>>,
}

impl Sender {
    fn send(&self, changed: ChangedOrders) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).add(changed, MAX_WAITING);
        // A full channel already has an item for the receiver.
        _ = self.arrived.try_send(());
    }
}

/// Drives a connection and forwards the notifications of other sessions.
async fn forward_notifications<S, T>(
    mut connection: Connection<S, T>,
    sender: Sender,
    own_process: Arc<OnceLock<i32>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message
            && own_process.get() != Some(&notification.process_id())
        {
            sender.send(decode(notification.payload()));
        }
    }
}

fn connection_error(error: &tokio_postgres::Error) -> ConnectionError {
    ConnectionError::CouldntSetupConfiguration(diesel::result::Error::DatabaseError(
        diesel::result::DatabaseErrorKind::UnableToSendCommand,
        Box::new(with_cause(error)),
    ))
}

/// Returns the text of an error with its cause. The driver's own text is only
/// "error connecting to server" or "db error".
pub(super) fn with_cause(error: &tokio_postgres::Error) -> String {
    let Some(cause) = std::error::Error::source(error) else { return error.to_string() };
    explain(cause).unwrap_or_else(|| format!("{error}: {cause}"))
}

/// Returns the SET statements of a session, without the settings in the startup options of the URL.
fn settings(purpose: Purpose, timeout: Duration, given: &str) -> String {
    let millis = timeout.as_millis().max(1);
    let mut settings: Vec<String> = Vec::new();
    let mut set = |setting: &str| {
        let (name, _) = setting.split_once('=').unwrap_or((setting, ""));
        let mut words = given.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
        if !words.any(|word| word.eq_ignore_ascii_case(name)) {
            settings.push(format!("SET {setting}"));
        }
    };
    let lock_timeout = format!("lock_timeout={}", (millis * 4 / 5).max(1));
    if purpose == Purpose::Check {
        return settings.join("; ");
    }
    if purpose == Purpose::Migrate {
        // A migration may take long, so its statements have no timeout. Its waits for locks do,
        // because the commands of the service wait behind them.
        set("statement_timeout=0");
        set(&lock_timeout);
        return settings.join("; ");
    }
    set(&format!("statement_timeout={millis}"));
    // Shorter than the statement timeout, so that the error names the lock.
    set(&lock_timeout);
    // A transaction never waits for anything but the database.
    set(&format!("idle_in_transaction_session_timeout={millis}"));
    // From its sixth execution a prepared statement keeps a generic plan. If it
    // is made while a table is small, that is a sequential scan, which stays as
    // the table grows. No statement here ever needs one.
    set("enable_seqscan=off");
    set("jit=off");
    if purpose == Purpose::Lead {
        set(&format!("idle_session_timeout={}", LEADER_IDLE_TIMEOUT.as_millis()));
    }
    if purpose == Purpose::Notify {
        set("synchronous_commit=off");
    }
    if purpose == Purpose::Read {
        // Pages are read in the order of an index. A bitmap scan of a customer's
        // whole history and a sort look as cheap while the history is short.
        set("enable_bitmapscan=off");
    }
    if purpose == Purpose::Write {
        // Also for the generic plan: a join that reads a whole index looks cheap
        // while the table is small. Batches look up each key.
        set("enable_hashjoin=off");
        set("enable_mergejoin=off");
        set("enable_material=off");
    }
    settings.join("; ")
}

#[cfg(test)]
mod tests {
    use super::{ChangedOrders, MAX_WAITING, channel};
    use crate::domain::OrderId;
    use crate::ports::StaleOrder;

    #[tokio::test]
    async fn a_receiver_that_lags_learns_that_any_order_may_have_changed() {
        let (sender, mut received) = channel();
        let order = StaleOrder { order_id: OrderId::parse("o").unwrap(), version: None };
        for _ in 0..MAX_WAITING {
            sender.send(ChangedOrders::Named(vec![order.clone()]));
        }
        assert_eq!(received.next().await, Some(ChangedOrders::Named(vec![order.clone(); MAX_WAITING])));
        for _ in 0..100_000 {
            sender.send(ChangedOrders::Named(vec![order.clone()]));
        }
        assert_eq!(received.next().await, Some(ChangedOrders::Any));
        sender.send(ChangedOrders::Named(vec![order.clone()]));
        drop(sender);
        assert_eq!(received.next().await, Some(ChangedOrders::Named(vec![order])));
        assert_eq!(received.next().await, None);
    }
}
