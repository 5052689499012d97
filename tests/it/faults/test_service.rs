//! A running server with its log, its addresses, and faults that are injected from
//! outside.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use pvz::proto::v1::order_service_client::OrderServiceClient;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tonic::transport::{Channel, Endpoint};

use crate::process::{Server, TIMEOUT, pvz};

/// The generated client.
pub type Client = OrderServiceClient<Channel>;

/// `pvz serve` on free ports, with its data and its configuration in one folder.
/// Dropping it kills the process.
pub struct TestService {
    child: Child,
    dir: PathBuf,
    pub grpc: String,
    pub http: String,
    pub admin: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl TestService {
    /// Starts the server with the content of a configuration file, and waits for its
    /// banner.
    pub fn start(dir: &Path, config: &str) -> Self {
        Self::start_with(dir, config, &[]).unwrap_or_else(|log| panic!("no banner: {log:?}"))
    }

    /// Like [`Self::start`], with environment variables. Returns the log if the server
    /// exits before its banner. `dir` is the working directory.
    pub fn start_with(dir: &Path, config: &str, variables: &[(String, String)]) -> Result<Self, Vec<String>> {
        let file = dir.join("pvz.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Server::spawn_in(dir, &[&format!("--config={}", file.display())], variables);
        let log = Arc::new(Mutex::new(Vec::new()));
        collect_lines(child.stderr.take().unwrap(), Arc::clone(&log));
        let (sender, banner) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let entry = |name: &str| {
            let end = Instant::now() + TIMEOUT;
            loop {
                let line = banner.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
                if let Some(value) = line.trim_start().strip_prefix(name) {
                    return Some(value.trim().to_owned());
                }
            }
        };
        let host = |url: String| url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let addresses =
            || Some((entry("gRPC")?, host(entry("REST")?), host(entry("admin")?), entry("data")?));
        let Some((grpc, http, admin, _)) = addresses() else {
            let _ = child.kill();
            child.wait().unwrap();
            return Err(log.lock().unwrap().clone());
        };
        Ok(Self { child, dir: dir.to_owned(), grpc, http, admin, log })
    }

    /// Returns a client with its own connection.
    pub async fn client(&self) -> Client {
        OrderServiceClient::new(self.channel().await)
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    /// Returns the state of `/readyz`, or `None` if the admin port is closed.
    pub fn ready(&self) -> Option<bool> {
        Some(self.readyz()?.starts_with("ready"))
    }

    /// Returns the text of `/readyz`, or `None` if the admin port is closed.
    pub fn readyz(&self) -> Option<String> {
        let mut stream = std::net::TcpStream::connect(&self.admin).ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\n\r\n").ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let (status, text) = (response.split(' ').nth(1)?, response.split_once("\r\n\r\n")?.1);
        let expected = if text.starts_with("ready") { "200" } else { "503" };
        assert_eq!(status, expected, "{response}");
        Some(text.to_owned())
    }

    /// Returns the lines logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Limits the size of the server's files, as a full disk would. `None` removes the
    /// limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        self.limit(Resource::Fsize, Rlimit { current: bytes, maximum: None });
    }

    /// Sets a resource limit of the running server.
    pub fn limit(&self, resource: Resource, limit: Rlimit) {
        prlimit(Some(self.pid()), resource, limit).unwrap();
    }

    /// Returns the peak memory of the server since its start or
    /// [`Self::reset_peak_memory`], in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sets the peak memory to the present memory.
    pub fn reset_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Takes the write lock of the store's file, as another program would. Dropping the
    /// connection releases it.
    pub fn foreign_lock(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(self.store().to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE").unwrap();
        connection
    }

    /// Returns the path of the store's file.
    pub fn store(&self) -> PathBuf {
        self.dir.join("pvz.db")
    }

    /// Returns true if the process has exited.
    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the process exits. Returns its exit code and its log.
    pub fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let end = Instant::now() + TIMEOUT;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(Instant::now() < end, "the server does not exit: {:?}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        (code, self.log())
    }

    /// Kills the process, as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and checks that the server exits with 0 and leaves a consistent
    /// store.
    pub fn stop(self) {
        let dir = self.dir.clone();
        self.assert_no_panic();
        self.signal(Signal::TERM);
        let (code, log) = self.wait();
        assert_eq!(code, Some(0), "{log:#?}");
        assert_verified(&dir);
    }

    /// Checks that the log has no panic, no error, and no INTERNAL refusal.
    pub fn assert_no_panic(&self) {
        let bad = |line: &&String| {
            line.contains("panicked")
                || line.contains("\"ERROR\"")
                || line.contains("\"reason\":\"INTERNAL\"")
        };
        let log = self.log();
        assert_eq!(log.iter().find(bad), None);
    }
}

impl Drop for TestService {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect_lines(stream: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

/// Checks that `pvz verify` succeeds.
pub fn assert_verified(dir: &Path) {
    let mut verify = pvz();
    verify.arg("verify").arg(format!("--data-dir={}", dir.display()));
    let config = dir.join("pvz.toml");
    if config.exists() {
        verify.arg(format!("--config={}", config.display()));
    }
    let output = verify.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until a condition holds. [`crate::process::eventually`] is the blocking
/// variant.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !condition().await {
        assert!(Instant::now() < end, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
