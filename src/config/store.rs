use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::postgres_url::PostgresUrl;
use super::text;

/// The database of orders and events.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Store {
    /// The store: "sqlite:PATH" (a file, for one server; default: pvz.db in the
    /// data directory; the path is taken as it is, and must not contain "?"),
    /// "postgres://user@host:port/database" (for any number of replicas) or "memory:"
    /// (lost when the process ends).
    #[config(env = "PVZ_STORE", default = "sqlite:", deserialize_with = url)]
    pub url: StoreUrl,

    /// PostgreSQL: file with the password of the URLs of this section. Not set: the
    /// password is that of the URL, of PGPASSWORD, or of the password file of libpq
    /// (PGPASSFILE, ~/.pgpass).
    #[config(env = "PVZ_STORE_PASSWORD_FILE", deserialize_with = text::path)]
    pub password_file: Option<PathBuf>,

    /// SQLite: number of read connections, half of them for lists, the others for
    /// single orders. The feed and the relay have one more each.
    #[config(
        env = "PVZ_STORE_READ_CONNECTIONS",
        default = 4,
        deserialize_with = text::integer::<_, _, 1, 64>
    )]
    pub read_connections: NonZeroUsize,

    /// SQLite: time to wait for a lock held by another process.
    #[config(
        env = "PVZ_STORE_BUSY_TIMEOUT",
        default = "5s",
        deserialize_with = text::duration::<_, 0, 600_000>
    )]
    pub busy_timeout: Duration,

    /// Migrate the schema of the store at start. Not set: true for SQLite, false
    /// for PostgreSQL, where the server refuses to start until `pvz migrate` has
    /// run.
    #[config(env = "PVZ_STORE_MIGRATE", deserialize_with = text::boolean)]
    pub migrate: Option<bool>,

    /// Start although the store has no events and the journal or topic has, and
    /// accept those. Set it for the first start of a new store there: otherwise such
    /// a start is refused, because the store is probably not the right one.
    #[config(env = "PVZ_STORE_ALLOW_EMPTY", default = false, deserialize_with = text::boolean)]
    pub allow_empty: bool,

    /// PostgreSQL: a standby, "postgres://…", to read orders, lists and histories
    /// from. It must be one server, not a load balancer. Reads see every write of
    /// this server, and writes of other replicas at most five seconds late. While
    /// the standby is unreachable or further behind, reads go to the primary. Not
    /// set: all reads go to the primary.
    #[config(env = "PVZ_STORE_READ_URL", deserialize_with = standby)]
    pub read_url: Option<PostgresUrl>,

    /// PostgreSQL: number of read connections, to the primary and to the standby
    /// each: half of them for lists, the others for single orders. The feed has two
    /// more and the relay has one. Write connections are additional: one per writer
    /// worker, and one more.
    #[config(
        env = "PVZ_STORE_POOL_SIZE",
        default = 8,
        deserialize_with = text::integer::<_, _, 1, 1_000>
    )]
    pub pool_size: NonZeroUsize,

    /// PostgreSQL: statement timeout, and maximum time to wait for a free
    /// connection.
    #[config(
        env = "PVZ_STORE_STATEMENT_TIMEOUT",
        default = "10s",
        deserialize_with = text::duration::<_, 100, 600_000>
    )]
    pub statement_timeout: Duration,
}

/// The URL of a store.
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
    /// Fills in the default file in the data directory.
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
        url if url.server.get_hosts().len() > 1 => Err("must name exactly one host"),
        url => Ok(url),
    })
}

pub(super) fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<StoreUrl, D::Error> {
    text::read(deserializer, |text| match text.split_once(':') {
        Some(("sqlite", path)) if path.trim_start_matches('/') == ":memory:" => {
            Err("must name a file; for a store in memory use memory:")
        }
        Some(("sqlite", path)) => text::parse_url_path(path).map(StoreUrl::Sqlite),
        Some(("memory", "")) => Ok(StoreUrl::Memory),
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            PostgresUrl::parse(text).map(StoreUrl::Postgres)
        }
        _ => Err("must be sqlite:PATH, memory: or a URL such as postgres://user@host:5432/database"),
    })
}
