//! A PostgreSQL of our own: started with the first test that needs one, on a
//! free port of the loopback, in a folder of its own, and gone with the test
//! process, however that ends. Each test has a database made from one template.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use pvz::adapters::postgres::{PostgresOptions, PostgresStore, ServerAddress, Tls, migrate};
use tokio_postgres::{Client, NoTls};

use crate::process::eventually;
use crate::support::ports::free_port;

const TEMPLATE: &str = "pvz_template";
const FOLDER: &str = "pvz-postgres-";

/// The server of this test process.
pub struct Cluster {
    pub port: u16,
    bin: PathBuf,
    folder: PathBuf,
    /// What the server's process has in its environment.
    variables: Vec<(String, String)>,
    made: Mutex<Databases>,
}

#[derive(Default)]
struct Databases {
    next: usize,
    dropped: Vec<String>,
}

/// A database of a test. Dropped, it goes when the next one is made.
pub struct Database {
    pub name: String,
    pub port: u16,
}

impl Drop for Database {
    fn drop(&mut self) {
        cluster().made.lock().unwrap().dropped.push(std::mem::take(&mut self.name));
    }
}

pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start();
        cluster.make_template();
        cluster
    })
}

impl Cluster {
    /// A server that nobody else uses, for a test that stops it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with those variables in its environment.
    pub fn start_with(variables: &[(String, String)]) -> Self {
        let cluster = Self { variables: variables.to_vec(), ..Self::prepare() };
        // Nothing here outlives the machine, so nothing waits for its disks.
        succeed(
            cluster
                .command("initdb")
                .args(["--username=pvz", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
                .arg("--pgdata")
                .arg(cluster.data()),
        );
        cluster.run();
        cluster
    }

    /// A standby that follows this server.
    pub fn standby(&self) -> Self {
        let standby = Self::prepare();
        succeed(
            standby
                .command("pg_basebackup")
                .args(["--host=127.0.0.1", "--username=pvz", "--checkpoint=fast", "--no-sync"])
                .args(["--write-recovery-conf", &format!("--port={}", self.port), "--pgdata"])
                .arg(standby.data()),
        );
        standby.run();
        standby
    }

    fn prepare() -> Self {
        static STARTED: Mutex<usize> = Mutex::new(0);
        remove_leftovers();
        let bin = bin();
        let number = {
            let mut started = STARTED.lock().unwrap();
            *started += 1;
            *started
        };
        let folder = std::env::temp_dir().join(format!("{FOLDER}{}-{number}", std::process::id()));
        let made = Command::new("install").args(["-d", "-m", "700"]).args(owner()).arg(&folder).status();
        assert!(made.unwrap().success(), "cannot make {}", folder.display());
        Self { port: free_port(), bin, folder, variables: Vec::new(), made: Mutex::default() }
    }

    /// Starts the server's process, and waits until it answers.
    pub fn run(&self) {
        let mut server = self.command("postgres");
        server.envs(self.variables.iter().map(|(name, value)| (name, value)));
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
        // What the server says of its troubles is of the tests' making.
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let (told, running) = mpsc::channel();
        // The server gets its signal when the thread that started it ends, so
        // that is a thread which never does.
        std::thread::spawn(move || {
            let mut child = server.spawn().unwrap();
            told.send(()).unwrap();
            let _ = child.wait();
            loop {
                std::thread::park();
            }
        });
        running.recv().unwrap();
        let ready = |output: Output| output.status.success();
        eventually("PostgreSQL answers", || {
            let mut asked = Command::new(self.bin.join("pg_isready"));
            ready(asked.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).output().unwrap())
        });
    }

    /// Stops it as a crash would; [`Cluster::run`] starts it again.
    pub fn crash(&self) {
        succeed(self.command("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(self.data()));
    }

    /// Stops it as an administrator does: sessions are ended, nothing is lost.
    pub fn stop(&self) {
        succeed(self.command("pg_ctl").args(["stop", "-m", "fast", "-D"]).arg(self.data()));
    }

    /// Makes an empty database of that name.
    pub fn create(&self, name: &str) {
        let config = options_of(self.port, "postgres").server.config;
        let create = format!("CREATE DATABASE {name}");
        on_a_thread(async move { connect(config).await.batch_execute(&create).await.unwrap() });
    }

    /// Puts a file among the server's, as the server wants its keys kept.
    pub fn install(&self, name: &str, text: &str) {
        let draft = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&draft, text).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "600"]).args(owner()).arg(draft.path()).arg(self.data().join(name));
        succeed(&mut install);
    }

    /// How a store reads from this server too, which follows the database's.
    pub fn read_by(&self, database: &Database) -> PostgresOptions {
        let standby = options_of(self.port, &database.name).server;
        PostgresOptions { standby: Some(standby), ..database.options() }
    }

    /// A connection to the server, past any test's database.
    pub async fn shell(&self) -> Client {
        self.shell_in("postgres").await
    }

    /// A connection to that database.
    pub async fn shell_in(&self, database: &str) -> Client {
        connect(options_of(self.port, database).server.config).await
    }

    /// All that the server has said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of PostgreSQL, as a user that it accepts, which ends when this
    /// process does.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        }
        command
            .arg(self.bin.join(program))
            .current_dir("/")
            .env_remove("PGDATABASE")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    fn make_template(&self) {
        let options = options_of(self.port, TEMPLATE);
        on_a_thread(async move {
            let admin = connect(options.server.config.clone().dbname("postgres")).await;
            admin.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
            migrate(&options).await.unwrap();
            admin.batch_execute(&format!("ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")).await.unwrap();
        });
    }

    /// A database with the schema in it, or an empty one.
    pub async fn database(&self, with_schema: bool) -> Database {
        self.made_of(if with_schema { TEMPLATE } else { "template1" }).await
    }

    /// A copy of that database, which nobody may use meanwhile.
    pub async fn made_of(&self, template: &str) -> Database {
        let (name, dropped) = {
            let mut made = self.made.lock().unwrap();
            made.next += 1;
            // No other server of this process has a database of that name.
            (format!("test_{}_{}", self.port, made.next), std::mem::take(&mut made.dropped))
        };
        let admin = connect(options_of(self.port, "postgres").server.config).await;
        for old in dropped {
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

    pub async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.options()).await.unwrap()
    }

    /// A connection past the store, as somebody with a SQL shell has it.
    pub async fn shell(&self) -> Client {
        connect(self.options().server.config).await
    }
}

/// A store on a database of its own.
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

async fn connect(config: impl std::borrow::Borrow<tokio_postgres::Config>) -> Client {
    let (client, connection) = config.borrow().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs to the end on a runtime of its own, from within a test's or from none.
fn on_a_thread(work: impl Future<Output = ()> + Send + 'static) {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::spawn(run).join().unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn owner() -> Vec<&'static str> {
    if is_root() { vec!["-o", "postgres", "-g", "postgres"] } else { Vec::new() }
}

/// Where the programs are: Debian keeps the server's out of the PATH.
fn bin() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    found.sort();
    let asked = Command::new("pg_config").arg("--bindir").output();
    found.extend(asked.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())));
    let has_server = |bin: &PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    found.into_iter().rev().find(has_server).expect("PostgreSQL is not installed: apt-get install postgresql")
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Folders of test processes that are no more.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(FOLDER).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Its server may still be ending; then the next run gets it.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
