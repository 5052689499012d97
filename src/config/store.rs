use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::postgres_url::PostgresUrl;
use super::text;

/// Where orders and events are kept.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Store {
    /// The store: "sqlite:PATH" (a file; without a path it is pvz.db in the
    /// data directory), "postgres://user:password@host:port/database" (for any
    /// number of replicas) or "memory:" (gone when the process ends).
    #[config(env = "PVZ_STORE", default = "sqlite:", deserialize_with = url)]
    pub url: StoreUrl,

    /// SQLite: how many connections read at the same time.
    #[config(
        env = "PVZ_STORE_READ_CONNECTIONS",
        default = 4,
        deserialize_with = text::integer::<_, _, 1, 64>
    )]
    pub read_connections: NonZeroUsize,

    /// SQLite: how long a statement waits for a lock that somebody else holds.
    #[config(
        env = "PVZ_STORE_BUSY_TIMEOUT",
        default = "5s",
        deserialize_with = text::duration::<_, 0, 600_000>
    )]
    pub busy_timeout: Duration,

    /// Whether a server brings the schema of its store up to date when it
    /// starts. Not set: for SQLite it does, for PostgreSQL it refuses to start
    /// and says so, because `pvz migrate` is a step of its own there.
    #[config(env = "PVZ_STORE_MIGRATE", deserialize_with = text::truth)]
    pub migrate: Option<bool>,

    /// PostgreSQL: a standby of the database, "postgres://…", from which orders,
    /// lists and histories are read. It must be one server, not a balancer of
    /// several. What this server has written is always seen; what other replicas
    /// have, up to five seconds later. While the standby is away or further
    /// behind, everything is read from the database itself. Not set: always.
    #[config(env = "PVZ_STORE_READ_URL", deserialize_with = standby)]
    pub read_url: Option<PostgresUrl>,

    /// PostgreSQL: how many connections read at the same time, from each of the
    /// two. Those that write are as many as there are workers, and one more.
    #[config(
        env = "PVZ_STORE_POOL_SIZE",
        default = 8,
        deserialize_with = text::integer::<_, _, 1, 1_000>
    )]
    pub pool_size: NonZeroUsize,

    /// PostgreSQL: how long a statement may run, and how long an operation
    /// waits for a connection.
    #[config(
        env = "PVZ_STORE_STATEMENT_TIMEOUT",
        default = "10s",
        deserialize_with = text::duration::<_, 100, 600_000>
    )]
    pub statement_timeout: Duration,
}

/// Which store, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
    /// The memory of this process.
    Memory,
}

impl StoreUrl {
    /// The same, with the file in that folder when none is named.
    pub(super) fn or_in(self, data_dir: &Path, file: &str) -> Self {
        match self {
            Self::Sqlite(path) if path.as_os_str().is_empty() => Self::Sqlite(data_dir.join(file)),
            other => other,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "sqlite:{}", path.display()),
            Self::Postgres(url) => formatter.write_str(&url.shown),
            Self::Memory => formatter.write_str("memory:"),
        }
    }
}

fn standby<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PostgresUrl, D::Error> {
    text::read(deserializer, |text| match PostgresUrl::parse(text)? {
        url if url.server.get_hosts().len() > 1 => Err("must name one host, as what it shows is followed"),
        url => Ok(url),
    })
}

pub(super) fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<StoreUrl, D::Error> {
    text::read(deserializer, |text| match text.split_once(':') {
        // `sqlite:///srv/pvz.db` is how many other programs spell the same.
        Some(("sqlite", path)) => match path.strip_prefix("//").unwrap_or(path) {
            ":memory:" => Err("must name a file: for a store in memory write memory:"),
            path => text::parse_path(path).map(StoreUrl::Sqlite),
        },
        Some(("memory", "")) => Ok(StoreUrl::Memory),
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            PostgresUrl::parse(text).map(StoreUrl::Postgres)
        }
        _ => Err("must be sqlite:PATH, postgres://… or memory:"),
    })
}
