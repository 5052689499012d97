//! PgBouncer between the service and PostgreSQL, and databases that lack required features: the
//! service refuses to start, and the error names the reason. Session mode works. Test T27 of
//! `docs/reliability.md`.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::postgres::{
    OpenError, PostgresNotifications, PostgresOptions, PostgresStore, connect, migrate,
};
use pvz::ports::{CommitNotifications as _, OrderStore as _, Outbox as _, chain};
use tokio::task::JoinSet;

use super::cluster::{Database, cluster, unprivileged};
use super::plans::run_every_statement;
use crate::faults::test_service::wait_until;
use crate::process::TIMEOUT;
use crate::support::ports::free_port;

/// A running PgBouncer. Dropping the value stops it.
struct Pooler {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// Starts a pooler in front of the shared server.
    async fn start(mode: &str, settings: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let users = folder.path().join("users");
        std::fs::write(&users, "\"pvz\" \"\"\n\"pvz_serve\" \"\"\n").unwrap();
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = {mode}\ndefault_pool_size = 40\n{settings}\n",
            cluster().port,
            users.display()
        );
        let path = folder.path().join("pgbouncer.ini");
        std::fs::write(&path, config).unwrap();
        let mut command = unprivileged(Path::new("/usr/sbin/pgbouncer"));
        let process = command.arg("-q").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("PgBouncer is not installed: apt-get install pgbouncer");
        wait_until("PgBouncer accepts connections", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Self { port, process, _folder: folder }
    }

    /// Returns the options of a store that reaches its database through the pooler.
    fn options(&self, database: &Database) -> PostgresOptions {
        self.redirect(database.options())
    }

    fn redirect(&self, mut options: PostgresOptions) -> PostgresOptions {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).dbname(options.server.config.get_dbname().unwrap());
        config.user(options.server.config.get_user().unwrap());
        options.server.config = config;
        options
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const IGNORE: &str = "ignore_startup_parameters = options";
const ROUND_ROBIN: &str = "server_round_robin = 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pooler_in_transaction_mode_is_refused() {
    let database = cluster().database(true).await;
    for settings in ["", IGNORE] {
        let pooler = Pooler::start("transaction", settings).await;
        let options = pooler.options(&database);
        for error in [PostgresStore::open(&options).await.unwrap_err(), migrate(&options).await.unwrap_err()]
        {
            assert!(matches!(error, OpenError::SharedSessions(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("session mode") && text.contains("address of the server itself"), "{text}");
        }
        // The pooler's sessions do not keep the settings.
        let shell = tokio_postgres::Config::clone(&options.server.config);
        let shell = super::cluster::connect(shell).await;
        let row = shell.query_typed_one("SELECT current_setting('enable_seqscan')", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "on");
    }
}

/// Other clients of the pooler keep changing which session is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_pooler_in_transaction_mode_is_refused_every_time() {
    let database = cluster().database(true).await;
    for settings in ["", ROUND_ROBIN] {
        let pooler = Pooler::start("transaction", settings).await;
        let mut options = pooler.options(&database);
        options.timeout = Duration::from_secs(5);
        let mut others = JoinSet::new();
        for _ in 0..4 {
            let config = options.server.config.clone();
            others.spawn(async move {
                let client = super::cluster::connect(config).await;
                while client.batch_execute("SELECT 1").await.is_ok() {}
            });
        }
        for _ in 0..20 {
            let error = PostgresStore::open(&options).await.unwrap_err();
            assert!(matches!(error, OpenError::SharedSessions(_)), "{error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pooler_in_statement_mode_is_refused() {
    let database = cluster().database(true).await;
    let pooler = Pooler::start("statement", "").await;
    PostgresStore::open(&pooler.options(&database)).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pooler_in_session_mode_works() {
    for settings in ["", IGNORE] {
        let database = cluster().database(false).await;
        let pooler = Pooler::start("session", settings).await;
        let options = pooler.options(&database);
        migrate(&options).await.unwrap();
        let store = PostgresStore::open(&options).await.unwrap();
        run_every_statement(&store, 0).await;
        store.ping().await.unwrap();
        store.maintenance().await.unwrap();
        // A leader excludes another one that connects without the pooler. It loses the lock when
        // its session ends.
        let direct = database.open().await;
        let lease = store.acquire_lease("sink").await.unwrap().unwrap();
        assert!(direct.acquire_lease("sink").await.unwrap().is_none());
        drop(lease);
        wait_until("the lock is free", async || direct.acquire_lease("sink").await.unwrap().is_some()).await;
        let (listening, sending) =
            (PostgresNotifications::new(&options), PostgresNotifications::new(&database.options()));
        let (mut listening, mut sending) =
            (listening.listen().await.unwrap(), sending.listen().await.unwrap());
        sending.notify(&pvz::ports::ChangedOrders::default()).await.unwrap();
        tokio::time::timeout(TIMEOUT, listening.wait()).await.unwrap().unwrap();
        // The settings take effect, although the pooler accepts no startup options.
        let client = connect(&options).await.unwrap();
        let shown = "SELECT current_setting('enable_seqscan') || current_setting('statement_timeout')";
        assert_eq!(client.query_one(shown, &[]).await.unwrap().get::<_, &str>(0), "off30s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_behind_a_pooler_in_session_mode_serves() {
    let database = cluster().database(true).await;
    let pooler = Pooler::start("session", "").await;
    let store = format!("--store=postgres://pvz_serve@127.0.0.1:{}/{}", pooler.port, database.name);
    tokio::task::spawn_blocking(move || {
        let dir = tempfile::tempdir().unwrap();
        let server = crate::pipeline::consuming::served_day(dir.path(), &[&store], 20);
        crate::pipeline::consuming::wait_until_published(&server);
        server.stop();
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_url_take_precedence() {
    let database = cluster().database(true).await;
    let mut options = database.options();
    options.server.config.options("-c statement_timeout=1234 -c deadlock_timeout=2s");
    let client = connect(&options).await.unwrap();
    let shown = "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout')";
    assert_eq!(client.query_one(shown, &[]).await.unwrap().get::<_, &str>(0), "1234ms 24s");
}

/// Functions of another schema shadow those of PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_without_locks_or_notifications_are_refused() {
    for (stand_in, reason) in [
        (
            "CREATE FUNCTION public.pg_try_advisory_lock(integer, integer) RETURNS boolean \
             LANGUAGE sql AS 'SELECT true'",
            "an advisory lock does not exclude",
        ),
        (
            "CREATE FUNCTION public.pg_try_advisory_lock_shared(bigint) RETURNS boolean \
             LANGUAGE sql AS 'SELECT true'",
            "pg_locks does not list",
        ),
        (
            "CREATE VIEW public.pg_locks AS SELECT * FROM pg_catalog.pg_locks LIMIT 0",
            "pg_locks does not list",
        ),
        (
            "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''",
            "a notification did not arrive",
        ),
        (
            "CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $2'",
            "a setting of the session is gone",
        ),
    ] {
        let database = cluster().database(true).await;
        let shell = database.shell().await;
        let name = &database.name;
        let in_front = format!("ALTER DATABASE {name} SET search_path = public, pg_catalog");
        shell.batch_execute(&format!("{stand_in}; {in_front}")).await.unwrap();
        let mut options = database.options();
        options.timeout = Duration::from_secs(2);
        let error = chain(&PostgresStore::open(&options).await.unwrap_err());
        assert!(error.contains(reason), "{stand_in}: {error}");
    }
}

/// Concurrent checks do not conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_succeed() {
    let database = Arc::new(cluster().database(true).await);
    let mut starts = JoinSet::new();
    for _ in 0..24 {
        let database = Arc::clone(&database);
        starts.spawn(async move { drop(database.open().await) });
    }
    starts.join_all().await;
}
