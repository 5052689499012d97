//! `pvz consume` as a process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::pvz;

/// A running consumer. Dropped, it is killed.
pub struct Consumer(Child);

/// The command, with its files in `dir`.
pub fn consume(dir: &Path, events: &str, inbox: &str) -> Command {
    let mut command = pvz();
    command.arg("consume").arg(format!("--data-dir={}", dir.display())).arg("--admin-addr=127.0.0.1:0");
    command.arg(format!("--events={events}")).arg(format!("--inbox={inbox}"));
    // Leases end soon, so that who was killed is soon replaced.
    command.env("PVZ_CONSUMER_LEASE", "900ms").env("PVZ_LOG_FILTER", "warn");
    command
}

/// Reads everything there is, and answers the summary.
pub fn once(dir: &Path, events: &str, inbox: &str, flags: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        consume(dir, events, inbox).arg("--once").args(flags).output().unwrap();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

impl Consumer {
    /// Starts it, and waits for its banner.
    pub fn start(dir: &Path, events: &str, inbox: &str) -> Self {
        let mut command = consume(dir, events, inbox);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = child.stderr.take().unwrap();
        let mut banner = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = banner.find(|line| line.as_ref().is_ok_and(|line| line.contains("admin")));
        if last.is_none() {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut log, &mut text).unwrap();
            panic!("no banner: {text}");
        }
        // Keeps the pipes from filling up, and shows what went wrong.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        std::thread::spawn(move || banner.count());
        Self(child)
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to stop, and expects it to do so cleanly.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
