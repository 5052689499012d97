//! Opens the configured store.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::migrate_command::with_command;
use crate::adapters::memory::MemoryStore;
use crate::adapters::null::NullNotifications;
use crate::adapters::postgres::{
    self, Authorities, Check, Encryption, PostgresNotifications, PostgresOptions, PostgresStore,
    ServerAddress, Tls,
};
use crate::adapters::sqlite::{OpenError, SqliteOptions, SqliteStore};
use crate::config::{Config, PostgresAuthorities, PostgresSslMode, PostgresTls, PostgresUrl, StoreUrl};
use crate::ports::{CommitNotifications, EventLog, Inbox, OrderStore, Outbox, PortError};

/// A store, as the ports that it implements.
pub struct Store {
    /// The orders.
    pub orders: Arc<dyn OrderStore>,
    /// The orders without a standby, from which a cache is filled.
    pub(super) primary: Arc<dyn OrderStore>,
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The inbox of a consumer.
    pub(super) inbox: Arc<dyn Inbox>,
    /// The outbox, for operators.
    pub(super) outbox: Arc<dyn Outbox>,
    /// The ports of the relay. Its reads do not wait for clients.
    pub(super) relay: RelayPorts,
    /// The notifications of commits among the replicas of the store.
    pub(super) notifications: Arc<dyn CommitNotifications>,
    /// The default number of writer workers.
    pub(super) workers: usize,
}

/// The ports of a store that the relay uses.
pub(super) struct RelayPorts {
    pub(super) orders: Arc<dyn OrderStore>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) outbox: Arc<dyn Outbox>,
}

impl Store {
    fn new<S: OrderStore + EventLog + Outbox + Inbox + 'static>(
        store: Arc<S>,
        for_relay: Arc<S>,
        workers: usize,
    ) -> Self {
        let (orders, log) = (Arc::<S>::clone(&store), Arc::<S>::clone(&store));
        let (inbox, primary) = (Arc::<S>::clone(&store), Arc::<S>::clone(&store));
        let relay = RelayPorts {
            orders: Arc::<S>::clone(&for_relay),
            log: Arc::<S>::clone(&for_relay),
            outbox: for_relay,
        };
        let notifications = Arc::new(NullNotifications);
        Self { orders, primary, log, inbox, outbox: store, relay, notifications, workers }
    }

    fn sqlite(store: SqliteStore) -> Self {
        let for_relay = store.for_relay();
        // SQLite has one writer at a time.
        Self::new(Arc::new(store), Arc::new(for_relay), 1)
    }

    fn postgres(store: PostgresStore) -> Self {
        let (for_relay, primary) = (store.for_relay(), Arc::new(store.on_primary()));
        Self { primary, ..Self::new(Arc::new(store), Arc::new(for_relay), POSTGRES_WORKERS) }
    }

    /// Opens the store for serving. Migrates its schema if `store.migrate` says so.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        Self::open_writer(config).await.map_err(|error| with_command(error, config))
    }

    async fn open_writer(config: &Config) -> Result<Self, StartError> {
        match &config.store.url {
            StoreUrl::Memory => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret)?;
                let store = Arc::new(MemoryStore::new(secret));
                Ok(Self::new(Arc::clone(&store), store, 1))
            }
            StoreUrl::Sqlite(path) => Ok(Self::sqlite(sqlite(path, config, SqliteStore::open).await?)),
            StoreUrl::Postgres(url) => {
                let options = postgres_options(url, config)?;
                if config.store.migrate.unwrap_or(false) {
                    postgres::migrate(&options).await?;
                }
                let store = Self::postgres(PostgresStore::open(&options).await?);
                let notifications = Arc::new(PostgresNotifications::new(&options));
                Ok(Self { notifications, ..store })
            }
        }
    }

    /// Opens the store for reading, also while another process serves it.
    pub async fn open_read_only(config: &Config) -> Result<Self, StartError> {
        let opened = Self::open_reader(config, SqliteStore::open_read_only).await;
        opened.map_err(|error| with_command(error, config))
    }

    /// Opens the store for an audit like [`Store::open_read_only`], and a SQLite file even on
    /// read-only media.
    pub async fn open_for_audit(config: &Config) -> Result<Self, StartError> {
        let opened = Self::open_reader(config, SqliteStore::open_for_audit).await;
        opened.map_err(|error| with_command(error, config))
    }

    async fn open_reader(config: &Config, open_sqlite: OpenSqlite) -> Result<Self, StartError> {
        match &config.store.url {
            StoreUrl::Memory => Self::open_writer(config).await,
            StoreUrl::Sqlite(path) => Ok(Self::sqlite(sqlite(path, config, open_sqlite).await?)),
            StoreUrl::Postgres(url) => {
                let options = PostgresOptions { standby: None, ..postgres_options(url, config)? };
                Ok(Self::postgres(PostgresStore::open(&options).await?))
            }
        }
    }
}

type OpenSqlite = fn(&Path, &SqliteOptions) -> Result<SqliteStore, OpenError>;

/// Opens a SQLite file on a blocking thread.
async fn sqlite(path: &Path, config: &Config, open: OpenSqlite) -> Result<SqliteStore, StartError> {
    let options = SqliteOptions {
        readers: config.store.read_connections,
        busy_timeout: config.store.busy_timeout,
        max_pages: None,
        migrate: config.store.migrate.unwrap_or(true),
    };
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || open(&path, &options)).await;
    Ok(opened.map_err(|error| PortError::unavailable("opening the store was interrupted", error))??)
}

/// The database writes the batch of one worker while the other sends its batch.
/// More workers make the batches smaller.
const POSTGRES_WORKERS: usize = 2;

fn postgres_options(url: &PostgresUrl, config: &Config) -> Result<PostgresOptions, postgres::OpenError> {
    let workers = config.writer.workers.unwrap_or(POSTGRES_WORKERS);
    Ok(PostgresOptions {
        server: address(url)?,
        standby: config.store.read_url.as_ref().map(address).transpose()?,
        readers: config.store.pool_size,
        // One connection more, for health checks and maintenance.
        writers: NonZeroUsize::MIN.saturating_add(workers),
        timeout: config.store.statement_timeout,
    })
}

fn address(url: &PostgresUrl) -> Result<ServerAddress, postgres::OpenError> {
    Ok(ServerAddress { config: (*url.server).clone(), tls: postgres_tls(&url.tls)? })
}

/// Maps libpq's `sslmode` values.
fn postgres_tls(url: &PostgresTls) -> Result<Tls, postgres::OpenError> {
    let authorities = url.authorities.as_ref().map(|authorities| match authorities {
        PostgresAuthorities::Machine => Authorities::Machine,
        PostgresAuthorities::File(path) => Authorities::File(path.clone()),
    });
    let (encryption, check) = match (url.mode, authorities) {
        (PostgresSslMode::Disable, _) => return Ok(Tls::default()),
        (PostgresSslMode::Prefer, _) => (Encryption::IfOffered, Check::Nothing),
        (PostgresSslMode::Require, None) => (Encryption::Always, Check::Nothing),
        (PostgresSslMode::VerifyFull, authorities) => {
            (Encryption::Always, Check::AuthorityAndHost(authorities.unwrap_or(Authorities::Machine)))
        }
        (PostgresSslMode::Require | PostgresSslMode::VerifyCa, authorities) => {
            (Encryption::Always, Check::Authority(authorities.unwrap_or(Authorities::Machine)))
        }
    };
    Ok(Tls::open(encryption, &check, url.client.as_ref())?)
}

/// A migration of a store's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaStep {
    /// Version and name.
    pub name: String,
    /// True if the migration has been applied.
    pub applied: bool,
}

/// Migrates the schema of the store and returns the names of the applied
/// migrations.
///
/// # Errors
/// Returns an error if the store cannot be opened, was migrated by a newer
/// release, or a migration fails.
pub async fn migrate(config: &Config) -> Result<Vec<String>, StartError> {
    match &config.store.url {
        StoreUrl::Memory => Ok(Vec::new()),
        StoreUrl::Sqlite(path) => {
            let pending = schema(config).await?.into_iter().filter(|step| !step.applied);
            let migrating = Config {
                store: crate::config::Store { migrate: Some(true), ..config.store.clone() },
                ..config.clone()
            };
            sqlite(path, &migrating, SqliteStore::open).await?;
            Ok(pending.map(|step| step.name).collect())
        }
        StoreUrl::Postgres(url) => Ok(postgres::migrate(&postgres_options(url, config)?).await?),
    }
}

/// Returns the migrations of the store, in order. Migrations of a newer release
/// come last.
///
/// # Errors
/// Returns an error if the store cannot be read.
pub async fn schema(config: &Config) -> Result<Vec<SchemaStep>, StartError> {
    match &config.store.url {
        StoreUrl::Memory => Ok(Vec::new()),
        StoreUrl::Sqlite(path) => {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || SqliteStore::schema(&path)).await;
            let steps =
                read.map_err(|error| PortError::unavailable("reading the store was interrupted", error))??;
            Ok(steps.into_iter().map(|(name, applied)| SchemaStep { name, applied }).collect())
        }
        StoreUrl::Postgres(url) => {
            let status = postgres::status(&postgres_options(url, config)?).await?;
            let known = status.steps.into_iter();
            let known = known.map(|step| SchemaStep { name: step.name, applied: step.applied });
            let unknown = status
                .unknown
                .into_iter()
                .map(|version| SchemaStep { name: format!("{version} (of a newer release)"), applied: true });
            Ok(known.chain(unknown).collect())
        }
    }
}

/// Opens a connection to the store's database, for measurements that bypass the
/// service; `None` when the store is not in `PostgreSQL`.
///
/// # Errors
/// The database cannot be reached or refuses the connection.
pub async fn postgres_client(config: &Config) -> Result<Option<postgres::Client>, StartError> {
    match &config.store.url {
        StoreUrl::Memory | StoreUrl::Sqlite(_) => Ok(None),
        StoreUrl::Postgres(url) => {
            let connected = postgres::connect(&postgres_options(url, config)?).await;
            let client =
                connected.map_err(|error| PortError::unavailable("the database cannot be reached", error))?;
            Ok(Some(client))
        }
    }
}
