//! Start and shutdown of the released binary.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::Server;

/// Reads the log of a process to its end.
fn read_log(child: &mut Child) -> Vec<serde_json::Value> {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

#[test]
fn sigterm_and_sigint_drain_and_every_log_line_is_json() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Server::spawn(dir.path(), &[]);
        let mut banner = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(banner.by_ref().any(|line| line.unwrap().trim_start().starts_with("data ")));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let log = read_log(&mut child);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{log:?}");
        assert!(log.iter().any(|line| line["signal"] == name), "{log:?}");
    }
}

#[test]
fn an_open_stream_does_not_delay_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let until = format!("--storage-until={}", in_a_month());
    server.json(&["accept", "--order-id=1", "--customer-id=7", &until]);
    let mut follow = server.cli(&["events", "--follow", "--after=0", "--output=ndjson"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(follow.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("EVENT_TYPE_ORDER_ACCEPTED"), "{first}");
    server.stop();
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the server under test has the machine's clock")]
fn in_a_month() -> String {
    (chrono::Utc::now() + chrono::Duration::days(30)).to_rfc3339()
}

#[test]
fn an_invalid_configuration_exits_with_2_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("unused");
    let mut child = Server::spawn(&data, &["--cache=redis://cache", "--config=/nonexistent.toml"]);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(errors.contains("cache.url") && errors.contains("/nonexistent.toml"), "{errors}");
    assert!(!data.exists());
}

#[test]
fn a_missing_data_directory_is_created() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join(".local/share/pvz");
    let server = Server::start(&data);
    server.stop();
    assert!(data.join("pvz.db").exists());
}
