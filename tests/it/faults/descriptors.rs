//! The limit of open files, and its exhaustion.
//!
//! Test T29 of `docs/reliability.md`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit};
use tokio::net::TcpStream;

use super::requests::{CommandRequest, parcel};
use super::test_service::{TestService, wait_until};

/// Connected clients are served while no new connection can be accepted. New
/// connections are accepted again once descriptors are free.
#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_descriptor_limit_wait_without_affecting_others() {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let client = service.client().await;
    // All connections of the store are open at this point.
    wait_until("the service is ready", async || service.ready() == Some(true)).await;
    assert!(CommandRequest::Accept(parcel("before", "7")).send(&client).await.unwrap().result.is_ok());
    // The server has the hard limit of the test.
    let before = getrlimit(Resource::Nofile);
    service.limit(Resource::Nofile, Rlimit { current: Some(64), ..before });
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(&service.grpc).await.unwrap());
    }
    for n in 0..20 {
        let reply = CommandRequest::Accept(parcel(&format!("during-{n}"), "7")).send(&client).await.unwrap();
        assert!(reply.result.is_ok(), "{reply:?}");
    }
    drop(idle);
    let later = service.client().await;
    assert!(CommandRequest::Accept(parcel("after", "7")).send(&later).await.unwrap().result.is_ok());
    service.limit(Resource::Nofile, before);
    service.stop();
}

/// The server raises a low limit, as shells and service managers set it.
#[test]
fn the_limit_of_open_files_is_raised_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pvz"), "serve"])
        .args(["--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"])
        .arg(format!("--data-dir={}", dir.path().display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let banner = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = banner.map_while(Result::ok).any(|line| line.trim_start().starts_with("data "));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert!(started && soft == hard && soft != "256", "{line}");
}
