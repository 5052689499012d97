//! A store next to a journal with events that the store does not have: it was restored from a
//! backup, or it is the wrong store. Test T28 of `docs/reliability.md`; with Kafka in
//! `kafka::tail`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use crate::process::{Server, eventually};

/// Accepts an order.
pub fn accept(server: &Server, order_id: &str) {
    server.json(&[
        "accept",
        "--order-id",
        order_id,
        "--customer-id=7",
        "--storage-until=2027-06-01T00:00:00Z",
    ]);
}

pub fn wait_until_published(server: &Server) {
    eventually("the events are published", || server.json(&["outbox", "status"])["lagEvents"] == "0");
}

/// Returns the reason why publishing has stopped.
pub fn stopped(server: &Server) -> Option<String> {
    server.json(&["outbox", "status"])["stopped"].as_str().map(str::to_owned)
}

/// Returns the answer of the admin port.
fn admin(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(&server.admin).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: pvz\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the order of each event in a journal.
fn journal(data: &Path) -> Vec<String> {
    let events = crate::journal::read(&data.join("events"));
    events.iter().map(|event| event["order"]["orderId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn restored_store_stops_publishing_until_an_operator_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup.db"));
    let server = Server::start(&data);
    accept(&server, "before");
    wait_until_published(&server);
    server.stop();
    fs::copy(data.join("pvz.db"), &backup).unwrap();
    let server = Server::start(&data);
    accept(&server, "lost");
    wait_until_published(&server);
    server.stop();

    fs::copy(&backup, data.join("pvz.db")).unwrap();
    let server = Server::start(&data);
    accept(&server, "after");
    eventually("publishing stops", || stopped(&server).is_some());
    let reason = stopped(&server).unwrap();
    assert!(reason.contains("(order lost, sequence 1), which this store does not have"), "{reason}");
    let status = server.cli(&["outbox", "status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("pvz outbox accept-fork"));
    eventually("readiness names the reason", || {
        let answer = admin(&server, "/readyz");
        answer.starts_with("HTTP/1.1 200") && answer.contains(&reason)
    });
    assert!(admin(&server, "/metrics").contains("\npvz_relay_stopped 1\n"));
    server.stop();
    assert_eq!(journal(&data), ["before", "lost"], "nothing is published, also not at the end");

    let server = Server::start(&data);
    eventually("publishing stops", || stopped(&server).is_some());
    assert_eq!(server.json(&["outbox", "accept-fork"])["accepted"], "1");
    wait_until_published(&server);
    assert_eq!(journal(&data), ["before", "lost", "after"]);
    assert_eq!(stopped(&server), None);
    server.json(&["outbox", "republish", "--from=2"]);
    eventually("the events are published again", || journal(&data).len() == 4);
    assert_eq!(journal(&data)[3], "after");
    wait_until_published(&server);
    let refused =
        [("--from=3", "must be at most 2"), ("--from=0", "must be at least 1"), ("--from=x", "cursor")];
    for (from, reason) in refused {
        let output = server.cli(&["outbox", "republish", from]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(reason), "{text}");
    }
    server.stop();
}

#[test]
fn empty_store_next_to_a_journal_with_events_is_refused_unless_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    accept(&server, "before");
    wait_until_published(&server);
    server.stop();
    let elsewhere = format!("--store=sqlite:{}", folder.path().join("new.db").display());
    let mut refused = Server::spawn(folder.path(), &[&elsewhere]);
    assert_eq!(refused.wait().unwrap().code(), Some(1));
    let mut text = String::new();
    refused.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("this store has no events") && text.contains("--allow-empty-store"), "{text}");

    let server = Server::start_with(folder.path(), &[&elsewhere, "--allow-empty-store"]);
    eventually("the journal is accepted", || {
        server.log().iter().any(|line| line.contains("store.allow_empty is set"))
    });
    server.stop();
    // The journal stays accepted, although the store is still empty.
    let server = Server::start_with(folder.path(), &[&elsewhere]);
    accept(&server, "after");
    wait_until_published(&server);
    assert_eq!(journal(folder.path()), ["before", "after"]);
    server.stop();
}
