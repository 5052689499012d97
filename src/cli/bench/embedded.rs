//! A server of our own, as a process of its own: what it costs is told apart
//! from what the load costs, and it is the server that `pvz serve` is.

use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::client::{Failure, fresh_request_id};

/// How long the server may take to end before it is ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ticks a second in /proc; the kernel shows programs this many whatever its
/// own clock does.
const TICKS: u64 = 100;

/// What a server has cost since it started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub cpu: Duration,
    /// The most memory that it ever had, in bytes.
    pub peak_rss: u64,
}

/// A folder of the run's own; it goes with this value.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("pvz-bench-{}", fresh_request_id()));
        fs::create_dir(&folder).map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The server; it ends with this value.
#[derive(Debug)]
pub(super) struct Embedded {
    process: Child,
    address: String,
}

impl Embedded {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(folder: &Path, store: &str, events: &str) -> Result<Self, Failure> {
        let (folder, store, events) = (folder.to_owned(), store.to_owned(), events.to_owned());
        tokio::task::spawn_blocking(move || start(&folder, &store, &events))
            .await
            .map_err(|error| Failure::usage(format!("starting a server broke off: {error}")))?
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What it has cost; `None` where the platform does not say.
    pub(super) fn cost(&self) -> Option<Cost> {
        cost(&self.process)
    }

    /// Ends it in good order, or else at once.
    pub(super) async fn stop(mut self) {
        let stopped = tokio::task::spawn_blocking(move || {
            terminate(&self.process);
            let began = Instant::now();
            while began.elapsed() < PATIENCE && matches!(self.process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        // Dropping it does the rest.
        let _ = stopped.await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a process has cost until now.
fn cost(process: &Child) -> Option<Cost> {
    let files = PathBuf::from(format!("/proc/{}", process.id()));
    let stat = fs::read_to_string(files.join("stat")).ok()?;
    // The name, which may hold anything, ends with the last bracket; user
    // and system time are the 12th and 13th of what follows it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let cpu = Duration::from_millis((ticks()? + ticks()?) * 1_000 / TICKS);
    let status = fs::read_to_string(files.join("status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak_rss = peak.split_whitespace().next()?.parse::<u64>().ok()? * 1_024;
    Some(Cost { cpu, peak_rss })
}

fn start(folder: &Path, store: &str, events: &str) -> Result<Embedded, Failure> {
    let broken = |error: std::io::Error| Failure::usage(format!("no server can be started: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(broken)?);
    command
        .args(["serve", "--migrate", "--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0"])
        .args(["--admin-addr=127.0.0.1:0", "--events", events, "--store", store])
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let process = command.spawn().map_err(broken)?;
    let mut embedded = Embedded { process, address: String::new() };
    let banner = embedded.process.stdout.take().map(BufReader::new);
    for line in banner.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        if let Some(address) = line.trim_start().strip_prefix("gRPC") {
            address.trim().clone_into(&mut embedded.address);
        } else if line.trim_start().starts_with("data") {
            return Ok(embedded);
        }
    }
    Err(Failure::usage("the server did not start; it says why above"))
}

#[cfg(unix)]
fn terminate(process: &Child) {
    if let Some(pid) = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(_: &Child) {}

/// What a consumer did.
#[derive(Debug)]
pub(super) struct ConsumedAll {
    /// How many events it read that it did not know.
    pub fresh: u64,
    pub cost: Option<Cost>,
}

/// Runs a consumer to the end of the events.
pub(super) async fn consume(folder: &Path, events: &str, inbox: &str) -> Result<ConsumedAll, Failure> {
    let (folder, events, inbox) = (folder.to_owned(), events.to_owned(), inbox.to_owned());
    tokio::task::spawn_blocking(move || consume_all(&folder, &events, &inbox))
        .await
        .map_err(|error| Failure::usage(format!("consuming broke off: {error}")))?
}

fn consume_all(folder: &Path, events: &str, inbox: &str) -> Result<ConsumedAll, Failure> {
    let broken = |error: std::io::Error| Failure::usage(format!("no consumer can be started: {error}"));
    let program = std::env::current_exe().map_err(broken)?;
    if inbox.starts_with("postgres") {
        let mut migrate = Command::new(&program);
        let migrated = migrate.args(["migrate", "--store", inbox]).stdout(Stdio::null()).status();
        if !migrated.map_err(broken)?.success() {
            return Err(Failure::usage("the inbox has no schema, and it could not be made"));
        }
    }
    let mut command = Command::new(program);
    command
        .args(["consume", "--once", "--events", events, "--inbox", inbox, "--admin-addr=127.0.0.1:0"])
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::null())
        // A line an event, which it writes in earnest too.
        .stderr(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = command.spawn().map_err(broken)?;
    let mut spent = None;
    let ended = loop {
        spent = cost(&process).filter(|cost| cost.peak_rss > 0).or(spent);
        if let Some(ended) = process.try_wait().map_err(broken)? {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    if let Some(mut stdout) = process.stdout.take() {
        stdout.read_to_string(&mut said).map_err(broken)?;
    }
    // "read 5 records: 5 new events, …"
    let fresh = said.split_once(": ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    match fresh {
        Some(fresh) if ended.success() => Ok(ConsumedAll { fresh, cost: spent }),
        _ => Err(Failure::usage(format!(
            "the consumer failed with {ended}; it says why in: pvz consume --once --events={events} --inbox={inbox}"
        ))),
    }
}
