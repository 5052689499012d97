//! Where the database is, and how a connection to it is made.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
pub use tokio_postgres::Client;
use tokio_postgres::{AsyncMessage, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::{PostgresOptions, ServerAddress};
use super::tls::{Tls, explain};

/// Idle time after which the server ends the session of a leader.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// What a connection is for: it decides its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Read,
    /// To hold the lead over the relays.
    Lead,
    /// To tell other replicas of commits.
    News,
    /// To change the schema, which may take long.
    Migrate,
}

/// How connections are made.
#[derive(Debug, Clone)]
pub(super) struct ConnectOptions {
    config: tokio_postgres::Config,
    tls: Tls,
}

impl ConnectOptions {
    pub(super) fn new(server: &ServerAddress, purpose: Purpose, timeout: Duration) -> Self {
        let mut config = server.config.clone();
        // What somebody set in the URL comes last, and so has its way.
        let given = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{} {given}", settings(purpose, timeout)));
        if config.get_application_name().is_none() {
            config.application_name("pvz");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        // A peer that is gone without a word is noticed while we wait for it.
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(timeout.saturating_mul(2));
        config.ssl_mode(server.tls.mode());
        Self { config, tls: server.tls.clone() }
    }

    /// A connection for the query builder.
    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        let failed = |error| refused(&error);
        if let Some(tls) = self.handshakes() {
            let (client, connection) = self.config.connect(tls).await.map_err(failed)?;
            return AsyncPgConnection::try_from_client_and_connection(client, connection).await;
        }
        let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await
    }

    /// A bare connection, whose errors have their SQLSTATE. It is closed when
    /// the client is dropped.
    pub(super) async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        // Whoever uses the client is told of the connection's errors.
        if let Some(tls) = self.handshakes() {
            let (client, connection) = self.config.connect(tls).await?;
            tokio::spawn(connection);
            return Ok(client);
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The same, and what others than itself tell it: one item for all that was
    /// told since the last was taken. The items end with the connection.
    pub(super) async fn listener(&self) -> Result<(Client, mpsc::Receiver<()>), tokio_postgres::Error> {
        let ((told, news), own) = (mpsc::channel(1), Arc::new(OnceLock::<i32>::new()));
        let ourselves = Arc::clone(&own);
        let client = if let Some(tls) = self.handshakes() {
            let (client, connection) = self.config.connect(tls).await?;
            tokio::spawn(listen(connection, told, ourselves));
            client
        } else {
            let (client, connection) = self.config.connect(NoTls).await?;
            tokio::spawn(listen(connection, told, ourselves));
            client
        };
        let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        _ = own.set(backend);
        Ok((client, news))
    }

    fn handshakes(&self) -> Option<MakeRustlsConnect> {
        self.tls.config().cloned().map(MakeRustlsConnect::new)
    }
}

/// Opens a connection of its own, outside the pools, with the settings of a
/// connection that writes. It is closed when the client is dropped.
///
/// # Errors
/// The database cannot be reached or refuses the connection.
pub async fn connect(options: &PostgresOptions) -> Result<Client, tokio_postgres::Error> {
    ConnectOptions::new(&options.server, Purpose::Write, options.timeout).client().await
}

/// Runs a connection, and passes on what others tell it.
async fn listen<S, T>(mut connection: Connection<S, T>, told: mpsc::Sender<()>, ourselves: Arc<OnceLock<i32>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message
            && ourselves.get() != Some(&notification.process_id())
        {
            // Full means that there is news already.
            _ = told.try_send(());
        }
    }
}

fn refused(error: &tokio_postgres::Error) -> ConnectionError {
    ConnectionError::CouldntSetupConfiguration(diesel::result::Error::DatabaseError(
        diesel::result::DatabaseErrorKind::UnableToSendCommand,
        Box::new(with_cause(error)),
    ))
}

/// The driver's own text says only "error connecting to server" or "db error".
pub(super) fn with_cause(error: &tokio_postgres::Error) -> String {
    let Some(cause) = std::error::Error::source(error) else { return error.to_string() };
    explain(cause).unwrap_or_else(|| format!("{error}: {cause}"))
}

/// Settings that a session begins with, so that none costs a round trip.
fn settings(purpose: Purpose, timeout: Duration) -> String {
    let millis = timeout.as_millis().max(1);
    let mut settings: Vec<String> = Vec::new();
    let mut set = |setting: &str| settings.push(format!("-c {setting}"));
    if purpose == Purpose::Migrate {
        // A step may take long; what waits for us waits for good reason.
        set("statement_timeout=0");
        set("lock_timeout=0");
        return settings.join(" ");
    }
    set(&format!("statement_timeout={millis}"));
    // Sooner than the statement, so that the error names what was waited for.
    set(&format!("lock_timeout={}", (millis * 4 / 5).max(1)));
    // A transaction of ours never waits for anybody but the database.
    set(&format!("idle_in_transaction_session_timeout={millis}"));
    // From its sixth execution a prepared statement keeps one plan. Made while
    // a table is small that was a walk through the table, for ever after: 133
    // ms a batch at 100,000 orders. No statement here is ever better off so.
    set("enable_seqscan=off");
    set("jit=off");
    if purpose == Purpose::Lead {
        set(&format!("idle_session_timeout={}", SILENCE.as_millis()));
    }
    if purpose == Purpose::News {
        set("synchronous_commit=off");
    }
    if purpose == Purpose::Read {
        // Pages come in the order of an index. To gather a customer's whole
        // history and sort it looks as cheap while it is short.
        set("enable_bitmapscan=off");
    }
    if purpose == Purpose::Write {
        // The same trap: of a small table a join that reads all of its index
        // looks cheap. Batches look up each key.
        set("enable_hashjoin=off");
        set("enable_mergejoin=off");
        set("enable_material=off");
    }
    settings.join(" ")
}
