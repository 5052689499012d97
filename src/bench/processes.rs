//! Servers and consumers as processes of their own, so that their cost is
//! measured apart from that of the load, and on the program that users run.

use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::BenchError;
use crate::config::redact;

/// Longest wait for the server to drain before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Clock ticks per second in `/proc`: always 100 for user space, whatever the
/// kernel's own tick rate is.
const TICKS_PER_SECOND: u64 = 100;

/// The cost of a process since it started.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessCost {
    /// User and system time.
    pub cpu: Duration,
    /// Peak resident memory, in bytes.
    pub peak_rss: u64,
}

/// A temporary folder; dropping it removes the folder.
#[derive(Debug)]
pub(super) struct TempFolder(PathBuf);

impl TempFolder {
    /// Creates it.
    pub(super) fn new(run_id: &str) -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("pvz-bench-{run_id}"));
        match fs::create_dir(&folder) {
            Ok(()) => Ok(Self(folder)),
            Err(error) => {
                Err(BenchError::Failed(format!("cannot create the folder {}: {error}", folder.display())))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server process; dropping it kills the process.
#[derive(Debug)]
pub(super) struct ServerProcess {
    process: Child,
    address: String,
}

impl ServerProcess {
    /// Starts a server and waits until it is ready.
    pub(super) async fn start(folder: &Path, store: &str, events: &str) -> Result<Self, BenchError> {
        let (folder, store, events) = (folder.to_owned(), store.to_owned(), events.to_owned());
        tokio::task::spawn_blocking(move || start(&folder, &store, &events))
            .await
            .map_err(|error| BenchError::Failed(format!("the server could not be started: {error}")))?
    }

    /// Returns its gRPC address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns its cost; `None` on a platform without `/proc`.
    pub(super) fn cost(&self) -> Option<ProcessCost> {
        cost(&self.process)
    }

    /// Stops it with SIGTERM, and kills it if it does not end in time.
    pub(super) async fn stop(mut self) {
        let waited = tokio::task::spawn_blocking(move || {
            terminate(&self.process);
            let began = Instant::now();
            while began.elapsed() < STOP_TIMEOUT && matches!(self.process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        // If that fails, dropping the process kills it.
        let _ = waited.await;
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the cost of a process from `/proc`.
fn cost(process: &Child) -> Option<ProcessCost> {
    let folder = PathBuf::from(format!("/proc/{}", process.id()));
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The program's name may contain any character, so skip to the last parenthesis. User and
    // system time are the 12th and 13th field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let cpu = Duration::from_millis((ticks()? + ticks()?) * 1_000 / TICKS_PER_SECOND);
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak_rss = peak.split_whitespace().next()?.parse::<u64>().ok()? * 1_024;
    Some(ProcessCost { cpu, peak_rss })
}

fn start(folder: &Path, store: &str, events: &str) -> Result<ServerProcess, BenchError> {
    let failed =
        |error: std::io::Error| BenchError::Failed(format!("the server could not be started: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args(["serve", "--migrate", "--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0"])
        .args(["--admin-addr=127.0.0.1:0", "--events", events])
        // Not as a flag, because it may have a password.
        .env("PVZ_STORE", store)
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let process = command.spawn().map_err(failed)?;
    let mut embedded = ServerProcess { process, address: String::new() };
    let banner = embedded.process.stdout.take().map(BufReader::new);
    for line in banner.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        if let Some(address) = line.trim_start().strip_prefix("gRPC") {
            address.trim().clone_into(&mut embedded.address);
        } else if line.trim_start().starts_with("data") {
            return Ok(embedded);
        }
    }
    Err(BenchError::Failed("the server did not start; its error is printed above".to_owned()))
}

#[cfg(unix)]
fn terminate(process: &Child) {
    if let Some(pid) = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(_: &Child) {}

/// The result of a consumer process.
#[derive(Debug)]
pub(super) struct ConsumerRun {
    /// Events that were not in its inbox before.
    pub new_events: u64,
    pub cost: Option<ProcessCost>,
}

/// Runs a consumer until it has read every event.
pub(super) async fn consume(folder: &Path, events: &str, inbox: &str) -> Result<ConsumerRun, BenchError> {
    let (folder, events, inbox) = (folder.to_owned(), events.to_owned(), inbox.to_owned());
    tokio::task::spawn_blocking(move || consume_all(&folder, &events, &inbox))
        .await
        .map_err(|error| BenchError::Failed(format!("the consumer could not be started: {error}")))?
}

fn consume_all(folder: &Path, events: &str, inbox: &str) -> Result<ConsumerRun, BenchError> {
    let failed =
        |error: std::io::Error| BenchError::Failed(format!("the consumer could not be started: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    if inbox.starts_with("postgres") {
        let mut migrate = Command::new(&program);
        let migrated = migrate.arg("migrate").env("PVZ_STORE", inbox).stdout(Stdio::null()).status();
        if !migrated.map_err(failed)?.success() {
            return Err(BenchError::Failed("the schema of the inbox could not be created".to_owned()));
        }
    }
    let mut command = Command::new(program);
    command
        .args(["consume", "--once", "--events", events, "--admin-addr=127.0.0.1:0"])
        .env("PVZ_CONSUMER_STORE", inbox)
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::null())
        // It logs a line for each event.
        .stderr(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = command.spawn().map_err(failed)?;
    let mut last_cost = None;
    let exit = loop {
        last_cost = cost(&process).filter(|cost| cost.peak_rss > 0).or(last_cost);
        if let Some(exit) = process.try_wait().map_err(failed)? {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut summary = String::new();
    if let Some(mut stdout) = process.stdout.take() {
        stdout.read_to_string(&mut summary).map_err(failed)?;
    }
    // The summary of `pvz consume --once`: "read 5 records: 5 new events, …"
    let new_events = summary.split_once(": ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    match new_events {
        Some(new_events) if exit.success() => Ok(ConsumerRun { new_events, cost: last_cost }),
        _ => Err(BenchError::Failed(format!(
            "the consumer failed with {exit}; to see why, run: pvz consume --once --events={events} --inbox={}",
            redact(inbox)
        ))),
    }
}
