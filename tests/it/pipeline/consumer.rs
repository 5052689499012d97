//! `pvz consume` processes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::pvz;

/// A running consumer. Dropped, it is killed.
pub struct Consumer {
    child: Child,
    /// The address of its admin server.
    admin: String,
}

/// Returns the command, with its data directory.
pub fn consume(dir: &Path, events: &str, inbox: &str) -> Command {
    let mut command = pvz();
    command.arg("consume").arg(format!("--data-dir={}", dir.display())).arg("--admin-addr=127.0.0.1:0");
    command.arg(format!("--events={events}")).arg(format!("--inbox={inbox}"));
    // Short leases, so that a killed consumer is soon replaced.
    command.env("PVZ_CONSUMER_LEASE", "900ms").env("PVZ_LOG_FILTER", "warn");
    command
}

/// Runs the consumer with `--once`, and returns the summary that it prints.
pub fn once(dir: &Path, events: &str, inbox: &str, flags: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        consume(dir, events, inbox).arg("--once").args(flags).output().unwrap();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

impl Consumer {
    /// Starts a consumer, and waits for its banner.
    pub fn start(dir: &Path, events: &str, inbox: &str) -> Self {
        let mut command = consume(dir, events, inbox);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = child.stderr.take().unwrap();
        let mut banner = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = banner.find(|line| line.as_ref().is_ok_and(|line| line.contains("admin")));
        let Some(Ok(last)) = last else {
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            panic!("no banner: {text}");
        };
        let admin = last.split_once("http://").and_then(|(_, url)| url.split_once('/')).unwrap().0.to_owned();
        // Full pipes would block the consumer.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        std::thread::spawn(move || banner.count());
        Self { child, admin }
    }

    /// Returns the answer of `/readyz`, with its status line.
    pub fn readyz(&self) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Kills the consumer.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and expects exit code 0.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
