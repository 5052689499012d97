//! PostgreSQL servers for tests, on free loopback ports and in temporary folders.
//! The first test that needs a database starts the shared server, which the kernel
//! stops when the test process ends. Each test has its own database, a copy of one
//! template, which one role has migrated for another to serve.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use pvz::adapters::postgres::{PostgresOptions, PostgresStore, ServerAddress, Tls};
use tokio_postgres::{Client, NoTls};

use super::roles;
use crate::process::eventually;
use crate::support::ports::free_port;

const TEMPLATE: &str = "pvz_template";
const FOLDER_PREFIX: &str = "pvz-postgres-";

/// A PostgreSQL server.
pub struct Cluster {
    pub port: u16,
    programs: PathBuf,
    folder: PathBuf,
    /// Additional environment variables of the server process.
    environment: Vec<(String, String)>,
    databases: Mutex<Databases>,
}

#[derive(Default)]
struct Databases {
    created: usize,
    /// The databases to remove before the next one is created.
    unused: Vec<String>,
}

/// A database of one test. The cluster removes it after it was dropped, when the
/// next database is created.
pub struct Database {
    pub name: String,
    pub port: u16,
}

impl Drop for Database {
    fn drop(&mut self) {
        cluster().databases.lock().unwrap().unused.push(std::mem::take(&mut self.name));
    }
}

/// Returns the server that the tests of this process share.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start();
        cluster.create_template();
        cluster
    })
}

impl Cluster {
    /// Starts a server for one test, which may stop it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with additional environment variables.
    pub fn start_with(environment: &[(String, String)]) -> Self {
        let cluster = Self { environment: environment.to_vec(), ..Self::prepare() };
        // Test data need not survive a crash of the machine, so nothing is synced.
        run_checked(
            cluster
                .command("initdb")
                .args(["--username=pvz", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
                .arg("--pgdata")
                .arg(cluster.data()),
        );
        cluster.run();
        cluster
    }

    /// Starts a streaming standby of this server.
    pub fn standby(&self) -> Self {
        Self::standby_at(self.port)
    }

    /// Starts a streaming standby of the server at a port, which may be a proxy.
    pub fn standby_at(port: u16) -> Self {
        let standby = Self::prepare();
        run_checked(
            standby
                .command("pg_basebackup")
                .args(["--host=127.0.0.1", "--username=pvz", "--checkpoint=fast", "--no-sync"])
                .args(["--write-recovery-conf", &format!("--port={port}"), "--pgdata"])
                .arg(standby.data()),
        );
        standby.run();
        standby
    }

    /// Creates the folder of a server and selects its port.
    fn prepare() -> Self {
        static STARTED: Mutex<usize> = Mutex::new(0);
        remove_leftovers();
        let programs = find_programs();
        let number = {
            let mut started = STARTED.lock().unwrap();
            *started += 1;
            *started
        };
        let folder = std::env::temp_dir().join(format!("{FOLDER_PREFIX}{}-{number}", std::process::id()));
        run_checked(Command::new("install").args(["-d", "-m", "700"]).args(owner_arguments()).arg(&folder));
        Self { port: free_port(), programs, folder, environment: Vec::new(), databases: Mutex::default() }
    }

    /// Starts the server process and waits until it accepts connections.
    pub fn run(&self) {
        let mut server = self.command("postgres");
        server.envs(self.environment.iter().map(|(name, value)| (name, value)));
        server.arg("-D").arg(self.data()).arg(format!("--port={}", self.port));
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=300",
            "shared_buffers=64MB",
            "lc_messages=C",
        ] {
            server.arg("-c").arg(setting);
        }
        // The tests cause many errors, so the log goes to a file.
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let (sender, started) = mpsc::channel();
        // The kernel signals the server when the thread that started it ends
        // (`--pdeathsig`), so that thread parks until the process exits.
        std::thread::spawn(move || {
            let mut child = server.spawn().unwrap();
            sender.send(()).unwrap();
            let _ = child.wait();
            loop {
                std::thread::park();
            }
        });
        started.recv().unwrap();
        eventually("PostgreSQL accepts connections", || {
            let mut ready = Command::new(self.programs.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status().unwrap().success()
        });
    }

    /// Stops the server without a shutdown checkpoint, as a crash does.
    /// [`Cluster::run`] restarts it.
    pub fn crash(&self) {
        run_checked(self.command("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(self.data()));
    }

    /// Stops the server in fast mode: it terminates sessions and writes a checkpoint.
    pub fn stop(&self) {
        run_checked(self.command("pg_ctl").args(["stop", "-m", "fast", "-D"]).arg(self.data()));
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) {
        let config = options_of(self.port, "postgres").server.config;
        let create = format!("CREATE DATABASE {name}");
        block_on_new_thread(async move { connect(config).await.batch_execute(&create).await.unwrap() });
    }

    /// Writes a file to the data directory with the owner and mode that the server
    /// requires of keys.
    pub fn install_file(&self, name: &str, text: &str) {
        let draft = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&draft, text).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "600"]).args(owner_arguments()).arg(draft.path()).arg(self.data().join(name));
        run_checked(&mut install);
    }

    /// Returns the options of a store on `database` that reads from this standby.
    pub fn standby_options(&self, database: &Database) -> PostgresOptions {
        let standby = options_of(self.port, &database.name).server;
        PostgresOptions { standby: Some(standby), ..database.options() }
    }

    /// Returns the options of a store on a database of this server.
    pub fn options(&self, database: &str) -> PostgresOptions {
        options_of(self.port, database)
    }

    /// Returns a connection to the database `postgres`.
    pub async fn shell(&self) -> Client {
        self.shell_in("postgres").await
    }

    /// Returns a connection to a database.
    pub async fn shell_in(&self, database: &str) -> Client {
        connect(options_of(self.port, database).server.config).await
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = unprivileged(&self.programs.join(program));
        command.env_remove("PGDATABASE").env("LC_ALL", "C.UTF-8");
        command
    }

    fn create_template(&self) {
        let options = options_of(self.port, TEMPLATE);
        block_on_new_thread(async move {
            let admin = connect(options.server.config.clone().dbname("postgres")).await;
            admin.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
            roles::migrate_as_documented(&options).await;
            admin.batch_execute(&format!("ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")).await.unwrap();
        });
    }

    /// Creates a database with the schema, or an empty one.
    pub async fn database(&self, with_schema: bool) -> Database {
        self.copy_of(if with_schema { TEMPLATE } else { "template1" }).await
    }

    /// Creates a copy of a database, which must have no connections.
    pub async fn copy_of(&self, template: &str) -> Database {
        let (name, unused) = {
            let mut databases = self.databases.lock().unwrap();
            databases.created += 1;
            // The port makes the name unique over all servers of this process.
            (format!("test_{}_{}", self.port, databases.created), std::mem::take(&mut databases.unused))
        };
        let admin = connect(options_of(self.port, "postgres").server.config).await;
        for old in unused {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {old} WITH (FORCE)")).await.unwrap();
        }
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        Database { name, port: self.port }
    }
}

impl Database {
    pub fn options(&self) -> PostgresOptions {
        options_of(self.port, &self.name)
    }

    /// Returns the options of the serving role.
    pub fn serving_options(&self) -> PostgresOptions {
        roles::serving(&self.options())
    }

    pub async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.options()).await.unwrap()
    }

    /// Returns a connection that bypasses the store.
    pub async fn shell(&self) -> Client {
        connect(self.options().server.config).await
    }
}

/// Returns a store on a new database.
pub async fn store() -> (Arc<PostgresStore>, Database) {
    let database = cluster().database(true).await;
    (Arc::new(database.open().await), database)
}

fn options_of(port: u16, database: &str) -> PostgresOptions {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("pvz").dbname(database);
    PostgresOptions {
        server: ServerAddress { config, tls: Tls::default() },
        standby: None,
        readers: std::num::NonZeroUsize::MIN.saturating_add(3),
        writers: std::num::NonZeroUsize::MIN.saturating_add(3),
        timeout: Duration::from_secs(30),
    }
}

pub async fn connect(config: impl std::borrow::Borrow<tokio_postgres::Config>) -> Client {
    let (client, connection) = config.borrow().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs a future on a runtime in a new thread. Works inside and outside a runtime.
fn block_on_new_thread(work: impl Future<Output = ()> + Send + 'static) {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::spawn(run).join().unwrap();
}

/// Returns a command that runs a program as a user other than root, and interrupts it
/// when this process ends.
pub fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the arguments of `install` that set the owner of the server's files.
fn owner_arguments() -> Vec<&'static str> {
    if is_root() { vec!["-o", "postgres", "-g", "postgres"] } else { Vec::new() }
}

/// Returns the folder of PostgreSQL's programs. Debian keeps the server's out of PATH.
fn find_programs() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    found.sort();
    let pg_config = Command::new("pg_config").arg("--bindir").output();
    found.extend(pg_config.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())));
    let has_server = |path: &PathBuf| path.join("initdb").exists() && path.join("postgres").exists();
    found.into_iter().rev().find(has_server).expect("PostgreSQL is not installed: apt-get install postgresql")
}

/// Runs a command and asserts that it succeeds.
fn run_checked(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Removes the folders of test processes that have ended.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(FOLDER_PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // The server may still be stopping; the next test run retries.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
