//! Apache Kafka brokers on free local ports.

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

/// A shell script that runs a broker until its own standard input is closed, so that
/// no broker outlives the tests.
const SUPERVISOR: &str =
    "java -Xmx512m -XX:+UseSerialGC -cp \"$1/*\" kafka.Kafka \"$2\" </dev/null >>\"$3\" 2>&1 &
pid=$!
echo $pid
cat >/dev/null
kill -9 $pid 2>/dev/null
wait $pid
if [ -n \"$4\" ]; then rm -rf \"$4\"; fi";

/// Additional configuration of a broker.
#[derive(Default)]
pub struct BrokerConfig {
    /// Listeners: name, security protocol, port, and advertised address.
    pub listeners: Vec<(&'static str, &'static str, u16, String)>,
    /// The port of another node's controller, and the node id; `None` for a broker
    /// with a controller of its own.
    pub controller: Option<(u16, u32)>,
    /// Lines of `server.properties`; the last line of a key applies.
    pub properties: Vec<String>,
    /// Arguments of the storage tool.
    pub format: Vec<String>,
}

/// Returns different free ports.
pub fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}

/// A broker, with its ports and folder. Dropping it kills the process.
pub struct Broker {
    folder: PathBuf,
    _owned: Option<TempDir>,
    port: u16,
    controller: u16,
    running: Option<(Child, Pid)>,
}

impl Broker {
    /// Creates a broker that is not running.
    pub fn new() -> Self {
        Self::with(|_| BrokerConfig::default())
    }

    /// Creates a broker with additional configuration, which may depend on its folder.
    pub fn with(config: impl FnOnce(&Path) -> BrokerConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let config = config(&path);
        Self::within(path, Some(folder), &config)
    }

    /// Returns the running broker that is shared by the tests that do not stop it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| {
            // Statics are not dropped: the supervisor removes the folder.
            let folder = tempfile::tempdir().unwrap().keep();
            let mut broker = Self::within(folder.clone(), None, &BrokerConfig::default());
            broker.start_and_remove(folder.to_str().unwrap());
            broker
        })
    }

    fn within(folder: PathBuf, owned: Option<TempDir>, config: &BrokerConfig) -> Self {
        let [port, controller] = free_ports();
        let properties = properties(&folder, port, controller, config);
        fs::write(folder.join("server.properties"), properties).unwrap();
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "cHZ6LXRlc3RzLWJyb2tlcg", "-c"]);
        let output = format.arg(folder.join("server.properties")).args(&config.format).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder, _owned: owned, port, controller, running: None }
    }

    /// Returns the bootstrap address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the port of the controller.
    pub fn controller(&self) -> u16 {
        self.controller
    }

    /// Changes the port that the broker listens on from its next start.
    pub fn move_to(&mut self, port: u16) {
        let path = self.folder.join("server.properties");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace(&format!(":{}", self.port), &format!(":{port}"))).unwrap();
        self.port = port;
    }

    /// Limits the size of its files, which simulates a full disk.
    pub fn limit_files(&self, bytes: u64) {
        let (_, pid) = self.running.as_ref().unwrap();
        let limit = Rlimit { current: Some(bytes), maximum: None };
        prlimit(Some(*pid), Resource::Fsize, limit).unwrap();
    }

    /// Returns true if the process runs.
    pub fn is_alive(&self) -> bool {
        self.running.as_ref().is_some_and(|(_, pid)| {
            // A dead process is a zombie until the supervisor has waited for it.
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        })
    }

    /// Starts the broker, and waits until it listens.
    pub fn start(&mut self) {
        self.start_and_remove("");
    }

    fn start_and_remove(&mut self, folder: &str) {
        let mut supervisor = Command::new("sh");
        supervisor.args(["-c", SUPERVISOR, "supervisor"]).arg(libs());
        supervisor.arg(self.folder.join("server.properties")).arg(self.folder.join("broker.log")).arg(folder);
        let supervisor = supervisor.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut supervisor = supervisor.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        self.running = Some((supervisor, pid));
        eventually("the broker listens", || {
            let alive = kill_process(pid, Signal::CONT).is_ok();
            assert!(alive, "{}", fs::read_to_string(self.folder.join("broker.log")).unwrap_or_default());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Kills the broker; [`start`](Self::start) restarts it.
    pub fn kill(&mut self) {
        if let Some((mut supervisor, _)) = self.running.take() {
            drop(supervisor.stdin.take());
            supervisor.wait().unwrap();
        }
    }

    /// Sends SIGTERM, and waits until the broker has stopped.
    pub fn stop(&mut self) {
        if let Some((_, pid)) = &self.running {
            kill_process(*pid, Signal::TERM).unwrap();
            eventually("the broker has stopped", || !self.is_alive());
        }
        self.kill();
    }

    /// Creates a topic with a setting, with Kafka's own tool.
    pub fn create_topic(&self, topic: &str, partitions: usize, setting: &str) {
        let partitions = partitions.to_string();
        self.topic_command(&["--create", "--topic", topic, "--partitions", &partitions, "--config", setting]);
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, topic: &str) {
        self.topic_command(&["--delete", "--topic", topic]);
    }

    /// Gives a topic more partitions.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        self.topic_command(&["--alter", "--topic", topic, "--partitions", &partitions.to_string()]);
    }

    fn topic_command(&self, args: &[&str]) {
        let mut command = java();
        command.args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &self.address()]);
        let output = command.args(args).output().unwrap();
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

    /// Writes a record of one byte in a transaction, with Kafka's performance tool. The
    /// commit marker takes one more offset.
    pub fn write_in_transaction(&self, topic: &str) {
        let mut write = java();
        write.args(["org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", &self.address()]);
        write.args(["--topic", topic, "--transactional-id", topic, "--num-records=1", "--record-size=1"]);
        let output = write.arg("--throughput=-1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns the output of Kafka's console consumer for a number of records.
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

/// A transaction of another producer. It stays open until this is dropped, and for at most a
/// minute, the producer's transaction timeout.
pub struct OpenTransaction(Child);

impl OpenTransaction {
    /// Begins a transaction that writes to a topic, with Kafka's performance tool.
    pub fn begin(broker: &Broker, topic: &str) -> Self {
        let mut write = java();
        write.args(["org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", &broker.address()]);
        write.args(["--topic", topic, "--transactional-id", topic, "--transaction-duration-ms=600000"]);
        write.args(["--num-records=1000000", "--record-size=1", "--throughput=5"]);
        Self(write.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn properties(folder: &Path, port: u16, controller: u16, config: &BrokerConfig) -> String {
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (name, protocol, port, address) in &config.listeners {
        write!(listeners, ",{name}://127.0.0.1:{port}").unwrap();
        write!(advertised, ",{name}://{address}").unwrap();
        write!(protocols, ",{name}:{protocol}").unwrap();
    }
    let mut roles = "broker,controller";
    let (leader, number) = config.controller.unwrap_or((controller, 1));
    if config.controller.is_some() {
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
    text + &config.properties.join("\n")
}

fn java() -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.args(["-cp", &format!("{}/*", libs().display())]).stdin(Stdio::null());
    java
}

/// Returns the folder of Kafka's jars, which Maven fetches once per machine.
fn libs() -> &'static Path {
    static LIBS: OnceLock<PathBuf> = OnceLock::new();
    LIBS.get_or_init(|| {
        let libs = cache().join("kafka-4.2.0");
        fs::create_dir_all(cache()).unwrap();
        // Another test process may be fetching them.
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
    let configured = env::var_os("PVZ_TEST_CACHE").map(PathBuf::from);
    configured.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap()).join(".cache/pvz-tests"))
}
