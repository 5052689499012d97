//! A journal that is replaced by the journal of another store.

use super::consumer::{consume, once};
use super::consuming::{inbox, wait_until_published};
use crate::faults::test_service::TestService;
use crate::process::{Server, eventually};

/// Starts a server with an empty store, and publishes the accept events of that many orders.
fn publish(events: &str, orders: usize) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &[events]);
    for number in 0..orders {
        let order_id = format!("order-{number}");
        let args =
            ["accept", "--order-id", &order_id, "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"];
        server.json(&args);
    }
    wait_until_published(&server);
    server.stop();
}

#[test]
fn the_consumer_stops_at_another_journal_until_it_is_rewound() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("published");
    let journal = format!("journal:{}", folder.display());
    let events = format!("--events={journal}");
    publish(&events, 2);
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert!(printed.starts_with("read 2 records: 2 new events"), "{printed}");
    std::fs::rename(&folder, dir.path().join("old")).unwrap();
    publish(&events, 5);
    for flags in [&[][..], &["--once"]] {
        let output = consume(dir.path(), &journal, &inbox(dir.path())).args(flags).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("published is not the log that was consumed before"), "{log}");
        assert!(log.contains("start the consumer once with --rewind"), "{log}");
    }
    // A server with an in-process consumer continues, and reports the stopped consumer.
    let (server, inbox_url) = (dir.path().join("server"), inbox(dir.path()));
    std::fs::create_dir(&server).unwrap();
    let in_process = format!(
        "[store]\nallow_empty = true\n[events]\nurl = \"{journal}\"\n\
         [consumer]\nin_process = true\nstore = \"{inbox_url}\"\n"
    );
    let service = TestService::start(&server, &in_process);
    eventually("readiness names the stopped consumer", || {
        service.readyz().is_some_and(|text| text.starts_with("ready\nconsumer stopped: "))
    });
    drop(service);
    // The first two orders belong to another history.
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &["--rewind"]);
    assert_eq!(
        printed,
        "read 5 records: 3 new events, 0 duplicates, 0 of unknown types, 0 undecodable, 2 in conflict with \
         applied events (see the log)\n"
    );
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert!(printed.starts_with("read 0 records"), "{printed}");
}
