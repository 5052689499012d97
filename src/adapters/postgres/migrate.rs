//! Migrations of the schema, applied by one replica at a time, and the check that
//! the schema is that of this release.

use std::time::Duration;

use diesel::migration::{Migration, MigrationSource as _};
use diesel::pg::Pg;
use diesel::sql_types::{Binary, Integer, Nullable, Text};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::connect::{ConnectOptions, Purpose};
use super::lock_waits::LockWaits;
use super::maintenance::LOCK_CLASS;
use super::open_error::OpenError;
use super::options::PostgresOptions;
use super::session_check;
use super::sql::Sql;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The longest wait for another migrating process, as a multiple of the statement timeout.
const ANOTHER_MIGRATION: u32 = 10;

/// A migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The version and the name.
    pub name: String,
    /// True if the database has it.
    pub applied: bool,
}

/// The migrations of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The migrations of this release, in order.
    pub steps: Vec<Step>,
    /// Versions in the database that this release does not know.
    pub unknown: Vec<String>,
}

impl MigrationStatus {
    fn check(&self) -> Result<(), OpenError> {
        if let Some(version) = self.unknown.as_slice().first() {
            return Err(OpenError::Newer(version.clone()));
        }
        match self.steps.iter().filter(|step| step.applied).count() {
            0 => Err(OpenError::Missing),
            applied if applied < self.steps.len() => Err(OpenError::Older),
            _ => Ok(()),
        }
    }
}

/// Checks that the schema is that of this release, and returns the secret of the
/// store.
pub(super) async fn check(options: &PostgresOptions) -> Result<[u8; 32], OpenError> {
    let mut connection = connect(options).await?;
    read_status(&mut connection).await?.check()?;
    read_secret(&mut connection).await
}

/// Returns the migrations of the database.
///
/// # Errors
/// The database cannot be reached or read.
pub async fn status(options: &PostgresOptions) -> Result<MigrationStatus, OpenError> {
    read_status(&mut connect(options).await?).await
}

/// Applies the missing migrations and returns their names. Any number of
/// processes may call it at the same time: one applies them, and the others wait
/// and find nothing to do.
///
/// # Errors
/// A newer release has migrated the database, a migration failed, or another
/// session held a lock for too long. That migration and later ones are not
/// applied.
pub async fn migrate(options: &PostgresOptions) -> Result<Vec<String>, OpenError> {
    let mut connection = connect(options).await?;
    let process_id: i32 = Sql::<Integer>::new("SELECT pg_backend_pid()")
        .get_result(&mut connection)
        .await
        .map_err(|error| OpenError::Database(error.into()))?;
    let watching = ConnectOptions::new(&options.server, Purpose::Read, options.timeout);
    let waits = LockWaits::watch(&watching, process_id).await?;
    let migrated = apply(connection, options.timeout).await;
    migrated.map_err(|error| match (error, waits.blockers()) {
        (OpenError::Database(cause) | OpenError::Migration(cause), Some(by)) => {
            OpenError::Blocked { by, cause }
        }
        (error, _) => error,
    })
}

/// Applies the missing migrations under the lock. Releases the lock before it returns.
async fn apply(mut connection: AsyncPgConnection, timeout: Duration) -> Result<Vec<String>, OpenError> {
    // The lock belongs to the session; the longer timeout applies to this transaction only.
    let patience = timeout.saturating_mul(ANOTHER_MIGRATION).as_millis();
    let lock = format!(
        "BEGIN; SET LOCAL lock_timeout = {patience}; SELECT pg_advisory_lock({LOCK_CLASS}, 1); COMMIT"
    );
    connection.batch_execute(&lock).await.map_err(|error| OpenError::Database(error.into()))?;
    let unlock = format!("SELECT pg_advisory_unlock({LOCK_CLASS}, 1)");
    let before = read_status(&mut connection).await?;
    if let Some(version) = before.unknown.as_slice().first() {
        _ = connection.batch_execute(&unlock).await;
        return Err(OpenError::Newer(version.clone()));
    }
    let apply = move || {
        let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
        let applied = connection.run_pending_migrations(MIGRATIONS).map(drop);
        // If this fails, the connection is broken, which releases the lock too.
        _ = diesel::connection::SimpleConnection::batch_execute(&mut connection, &unlock);
        applied
    };
    let applied = tokio::task::spawn_blocking(apply).await;
    applied.map_err(|error| OpenError::Migration(error.into()))?.map_err(OpenError::Migration)?;
    Ok(before.steps.into_iter().filter(|step| !step.applied).map(|step| step.name).collect())
}

/// Opens the first connection to the database.
async fn connect(options: &PostgresOptions) -> Result<AsyncPgConnection, OpenError> {
    // Boxed because the future is large and every start awaits it.
    Box::pin(session_check::check(&options.server, options.timeout)).await?;
    let connect_options = ConnectOptions::new(&options.server, Purpose::Migrate, options.timeout);
    connect_options.connect().await.map_err(|error| options.server.unreachable(error))
}

/// Reads the applied migrations without changing the database. The harness of
/// the driver would create its table first.
async fn read_status(connection: &mut AsyncPgConnection) -> Result<MigrationStatus, OpenError> {
    let failed = |error: diesel::result::Error| OpenError::Database(error.into());
    let table = Sql::<Nullable<Text>>::new("SELECT to_regclass('__diesel_schema_migrations')::text");
    let table: Option<String> = table.get_result(connection).await.map_err(failed)?;
    let mut applied: Vec<String> = Vec::new();
    if table.is_some() {
        let versions = Sql::<Text>::new("SELECT version FROM __diesel_schema_migrations ORDER BY version");
        applied = versions.load(connection).await.map_err(failed)?;
    }
    let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(OpenError::Migration)?;
    let mut steps = Vec::new();
    for step in &known {
        let version = step.name().version().to_string();
        let found = applied.iter().position(|applied| *applied == version);
        if let Some(index) = found {
            applied.remove(index);
        }
        steps.push(Step { name: step.name().to_string(), applied: found.is_some() });
    }
    Ok(MigrationStatus { steps, unknown: applied })
}

async fn read_secret(connection: &mut AsyncPgConnection) -> Result<[u8; 32], OpenError> {
    let query = Sql::<Binary>::new("SELECT value FROM store_settings WHERE name = 'secret'");
    let secret: Vec<u8> =
        query.get_result(connection).await.map_err(|error| OpenError::Database(error.into()))?;
    let wrong_length = |_| OpenError::Database("the secret in store_settings does not have 32 bytes".into());
    secret.try_into().map_err(wrong_length)
}
