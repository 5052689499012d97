//! A real Apache Kafka, of one node, on free ports of this machine.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::process::eventually;
use crate::support::ports::free_port;

/// Runs a broker for as long as its own standard input is open, so that no
/// broker outlives the tests, however they end.
const KEEPER: &str =
    "java -Xmx512m -XX:+UseSerialGC -cp \"$1/*\" kafka.Kafka \"$2\" </dev/null >>\"$3\" 2>&1 &
pid=$!
echo $pid
cat >/dev/null
kill -9 $pid 2>/dev/null
wait $pid
if [ -n \"$4\" ]; then rm -rf \"$4\"; fi";

/// What a broker has besides the usual.
#[derive(Default)]
pub struct Extra {
    /// Listeners: a name, its protocol, its port, and where clients are sent.
    pub listeners: Vec<(&'static str, &'static str, u16, String)>,
    /// The controller that it follows, if it is not its own, and its number.
    pub follows: Option<(u16, u32)>,
    /// Lines of its properties; of two with one key the last holds.
    pub properties: Vec<String>,
    /// What its storage is formatted with.
    pub format: Vec<String>,
}

/// Returns different free ports.
pub fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}

/// Ports, a folder, and a broker while it runs. Dropped, it is killed.
pub struct Broker {
    folder: PathBuf,
    _owned: Option<TempDir>,
    port: u16,
    controller: u16,
    running: Option<(Child, Pid)>,
}

impl Broker {
    /// One that is not running yet.
    pub fn new() -> Self {
        Self::with(|_| Extra::default())
    }

    /// One with more than the tests usually need, said when its folder is
    /// known.
    pub fn with(extra: impl FnOnce(&Path) -> Extra) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let extra = extra(&path);
        Self::within(path, Some(folder), &extra)
    }

    /// The one that tests share which do not stop it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| {
            // Nobody drops a static: the keeper removes its folder.
            let folder = tempfile::tempdir().unwrap().keep();
            let mut broker = Self::within(folder.clone(), None, &Extra::default());
            broker.start_and_remove(folder.to_str().unwrap());
            broker
        })
    }

    fn within(folder: PathBuf, owned: Option<TempDir>, extra: &Extra) -> Self {
        let [port, controller] = free_ports();
        let properties = properties(&folder, port, controller, extra);
        fs::write(folder.join("server.properties"), properties).unwrap();
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "cHZ6LXRlc3RzLWJyb2tlcg", "-c"]);
        let output = format.arg(folder.join("server.properties")).args(&extra.format).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder, _owned: owned, port, controller, running: None }
    }

    /// Where clients begin.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where other nodes find its controller.
    pub fn controller(&self) -> u16 {
        self.controller
    }

    /// Listens at that port from the next start on.
    pub fn move_to(&mut self, port: u16) {
        let path = self.folder.join("server.properties");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace(&format!(":{}", self.port), &format!(":{port}"))).unwrap();
        self.port = port;
    }

    /// No file of it may grow beyond that, as if its disk were full.
    pub fn limit_files(&self, bytes: u64) {
        let (_, pid) = self.running.as_ref().unwrap();
        let limit = Rlimit { current: Some(bytes), maximum: None };
        prlimit(Some(*pid), Resource::Fsize, limit).unwrap();
    }

    /// Whether its process is there.
    pub fn is_alive(&self) -> bool {
        self.running.as_ref().is_some_and(|(_, pid)| {
            // What has died stays until its keeper has waited for it.
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        })
    }

    /// Starts it, and waits until it listens.
    pub fn start(&mut self) {
        self.start_and_remove("");
    }

    fn start_and_remove(&mut self, folder: &str) {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(libs());
        keeper.arg(self.folder.join("server.properties")).arg(self.folder.join("broker.log")).arg(folder);
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        self.running = Some((keeper, pid));
        eventually("the broker listens", || {
            let alive = kill_process(pid, Signal::CONT).is_ok();
            assert!(alive, "{}", fs::read_to_string(self.folder.join("broker.log")).unwrap_or_default());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Kills it as a power cut would; `start` starts it again.
    pub fn kill(&mut self) {
        if let Some((mut keeper, _)) = self.running.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// Asks it to stop, as an administrator does, and waits until it has.
    pub fn stop(&mut self) {
        if let Some((_, pid)) = &self.running {
            kill_process(*pid, Signal::TERM).unwrap();
            eventually("the broker has stopped", || !self.is_alive());
        }
        self.kill();
    }

    /// Creates a topic with a setting, by Kafka's own tool.
    pub fn create_topic(&self, topic: &str, partitions: usize, setting: &str) {
        let mut create = java();
        create.args([
            "org.apache.kafka.tools.TopicCommand",
            "--bootstrap-server",
            &self.address(),
            "--create",
        ]);
        create.args(["--topic", topic, "--partitions", &partitions.to_string(), "--config", setting]);
        let output = create.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Changes a setting of a topic.
    pub fn alter_topic(&self, topic: &str, setting: &str) {
        let mut alter = java();
        alter.args(["kafka.admin.ConfigCommand", "--bootstrap-server", &self.address(), "--alter"]);
        alter.args(["--entity-type", "topics", "--entity-name", topic, "--add-config", setting]);
        let output = alter.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes a record of `x` to a topic in a transaction, by Kafka's own tool. The commit marker
    /// is one more offset.
    pub fn write_in_transaction(&self, topic: &str) {
        let mut write = java();
        write.args(["org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", &self.address()]);
        write.args(["--topic", topic, "--transactional-id", topic, "--num-records=1", "--record-size=1"]);
        let output = write.arg("--throughput=-1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What Kafka's own console consumer prints of so many records.
    pub fn console_consumer(&self, topic: &str, records: usize) -> String {
        let mut consume = java();
        consume.args([
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--bootstrap-server",
            &self.address(),
        ]);
        consume.args(["--topic", topic, "--from-beginning", "--max-messages", &records.to_string()]);
        for shown in ["print.key", "print.headers", "print.partition"] {
            consume.args(["--formatter-property", &format!("{shown}=true")]);
        }
        let output = consume.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn properties(folder: &Path, port: u16, controller: u16, extra: &Extra) -> String {
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (name, protocol, port, address) in &extra.listeners {
        write!(listeners, ",{name}://127.0.0.1:{port}").unwrap();
        write!(advertised, ",{name}://{address}").unwrap();
        write!(protocols, ",{name}:{protocol}").unwrap();
    }
    let mut roles = "broker,controller";
    let (leader, number) = extra.follows.unwrap_or((controller, 1));
    if extra.follows.is_some() {
        (roles, listeners) = ("broker", advertised.clone());
    }
    let mut text = String::new();
    for (key, value) in [
        ("process.roles", roles.to_owned()),
        ("node.id", number.to_string()),
        ("controller.quorum.voters", format!("1@127.0.0.1:{leader}")),
        ("listeners", listeners),
        ("advertised.listeners", advertised),
        ("listener.security.protocol.map", protocols),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("log.dirs", folder.join("data").display().to_string()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("offsets.topic.num.partitions", "1".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
        ("share.coordinator.state.topic.min.isr", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
    ] {
        writeln!(text, "{key}={value}").unwrap();
    }
    text + &extra.properties.join("\n")
}

fn java() -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.args(["-cp", &format!("{}/*", libs().display())]).stdin(Stdio::null());
    java
}

/// The released jars, fetched by Maven once a machine.
fn libs() -> &'static Path {
    static LIBS: OnceLock<PathBuf> = OnceLock::new();
    LIBS.get_or_init(|| {
        let libs = cache().join("kafka-4.2.0");
        fs::create_dir_all(cache()).unwrap();
        // Another process of the tests may be at it too.
        let lock = fs::File::create(cache().join("kafka.lock")).unwrap();
        lock.lock().unwrap();
        if !libs.exists() {
            let fresh = tempfile::tempdir_in(cache()).unwrap();
            let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/pom.xml");
            let mut fetch = Command::new("mvn");
            fetch
                .args(["-q", "-B", "-f"])
                .arg(pom)
                .args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
            let folder = fresh.path().join("libs");
            let output = fetch.arg(format!("-DoutputDirectory={}", folder.display())).output();
            let output = output.expect("mvn, which tests/run installs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            fs::rename(folder, &libs).unwrap();
        }
        libs
    })
}

fn cache() -> PathBuf {
    let named = env::var_os("PVZ_TEST_CACHE").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap()).join(".cache/pvz-tests"))
}
