//! The released binary as a process: a server on free ports, and CLI commands.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Timeout of every wait, long enough for a slow machine.
pub const TIMEOUT: Duration = Duration::from_mins(2);

/// Returns a `pvz` command without the `PVZ_` variables of the environment.
pub fn pvz() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvz"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PVZ_") {
            command.env_remove(name);
        }
    }
    command.env("TZ", "UTC").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    pub grpc: String,
    /// Host and port of REST.
    pub http: String,
    /// Host and port of the admin server.
    pub admin: String,
    banner: String,
    log: Arc<Mutex<Log>>,
}

/// The lines logged so far.
#[derive(Default)]
struct Log {
    calls: Vec<String>,
    others: Vec<String>,
}

impl Server {
    /// Starts `pvz serve` on free ports with its data in `dir`, and waits for its
    /// banner.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub fn start_with(dir: &Path, flags: &[&str]) -> Self {
        Self::start_with_env(dir, flags, &[])
    }

    /// Like [`Self::start_with`], with environment variables as `NAME=value`.
    pub fn start_with_env(dir: &Path, flags: &[&str], variables: &[&str]) -> Self {
        let mut command = Self::command(dir, flags);
        command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
        let mut child = command.spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let mut banner = Vec::new();
        let end = Instant::now() + TIMEOUT;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => banner.push(line),
                Err(error) => {
                    let _ = child.kill();
                    let output = child.wait_with_output().unwrap();
                    let log = String::from_utf8_lossy(&output.stderr).into_owned();
                    panic!("no banner ({error}): {banner:?}\n{log}");
                }
            }
            if banner.last().unwrap().trim_start().starts_with("data ") {
                break;
            }
        }
        let log = collect_log(child.stderr.take().unwrap());
        let grpc = banner_value(&banner, "gRPC");
        let host = |url: String| url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let (http, admin) = (host(banner_value(&banner, "REST")), host(banner_value(&banner, "admin")));
        Self { child, grpc, http, admin, banner: banner.join("\n"), log }
    }

    /// Starts `pvz serve` without waiting for its banner; all output is piped.
    pub fn spawn(dir: &Path, flags: &[&str]) -> Child {
        Self::command(dir, flags).spawn().unwrap()
    }

    /// Like [`Self::spawn`], with `dir` as the working directory and with environment
    /// variables.
    pub fn spawn_in(dir: &Path, flags: &[&str], variables: &[(String, String)]) -> Child {
        let mut command = Self::command(dir, flags);
        command.current_dir(dir).envs(variables.iter().map(|(name, value)| (name, value)));
        command.spawn().unwrap()
    }

    fn command(dir: &Path, flags: &[&str]) -> Command {
        let mut command = pvz();
        command
            .arg("serve")
            .args(["--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"])
            .arg(format!("--data-dir={}", dir.display()))
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Returns the lines logged so far, without those of `pvz::calls`.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().others.clone()
    }

    /// Returns the text that the server printed when it was ready.
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// Returns the lines of `pvz::calls` logged so far.
    pub fn calls(&self) -> Vec<String> {
        self.log.lock().unwrap().calls.clone()
    }

    /// Returns a client command for this server.
    pub fn cli(&self, args: &[&str]) -> Command {
        let mut command = pvz();
        command.args(args).env("PVZ_SERVER", &self.grpc);
        command
    }

    /// Runs a client command that must succeed, and returns its JSON output.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.cli(args).arg("--output=json").output().unwrap();
        let (code, text) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(code, Some(0), "pvz {args:?}: {text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until the process exits, and returns its exit code.
    pub fn wait(mut self) -> Option<i32> {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "the server does not exit");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the process, as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and checks that the server exits with 0.
    pub fn stop(self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.wait(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the value of a line of the banner.
fn banner_value(banner: &[String], name: &str) -> String {
    let line = banner.iter().find(|line| line.trim_start().starts_with(name)).unwrap();
    line.trim_start()[name.len()..].trim().split(' ').next().unwrap().to_owned()
}

fn lines(stream: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Reads a log to its end in a thread, so that the pipe never fills.
fn collect_log(stream: impl std::io::Read + Send + 'static) -> Arc<Mutex<Log>> {
    let log = Arc::new(Mutex::new(Log::default()));
    let lines = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = lines.lock().unwrap();
            let kind =
                if line.contains("\"target\":\"pvz::calls\"") { &mut log.calls } else { &mut log.others };
            kind.push(line);
        }
    });
    log
}

/// Waits until a condition holds.
/// [`wait_until`](crate::faults::test_service::wait_until) is the async variant.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < end, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a file, and returns its path as text.
pub fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}
