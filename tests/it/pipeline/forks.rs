//! Two histories of the same orders: a store that was restored from a backup.

use serde_json::Value;

use super::consumer::{Consumer, once};
use super::consuming::{days, inbox, total, wait_until_published};
use crate::process::{Server, eventually};

/// Accepts an order with a price, so that two histories of it have different sums.
fn accept(server: &Server, order_id: &str, price: &str) {
    let args = ["accept", "--order-id", order_id, "--customer-id=7", "--storage-until=2027-06-01T00:00:00Z"];
    server.json(&[&args[..], &["--price", price]].concat());
}

#[test]
fn events_of_a_fork_are_put_aside_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let journal = format!("journal:{}", dir.path().join("published").display());
    let events = format!("--events={journal}");
    let first = Server::start_with(dir.path(), &[&events]);
    for order_id in ["a", "b", "c"] {
        accept(&first, order_id, "10");
    }
    wait_until_published(&first);
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert!(printed.starts_with("read 3 records: 3 new events, 0 duplicates"), "{printed}");
    first.stop();
    // Another store with the same orders, as if an empty store had been restored and accepted by
    // the operator.
    let restored = tempfile::tempdir().unwrap();
    let variable = format!("PVZ_CONSUMER_STORE={}", inbox(dir.path()));
    let second = Server::start_with_env(restored.path(), &[&events, "--allow-empty-store"], &[&variable]);
    for order_id in ["b", "c", "d"] {
        accept(&second, order_id, "70");
    }
    wait_until_published(&second);
    let printed = once(dir.path(), &journal, &inbox(dir.path()), &[]);
    assert_eq!(
        printed,
        "read 3 records: 1 new events, 0 duplicates, 0 of unknown types, 0 undecodable, 2 in conflict with \
         applied events (see the log)\n"
    );
    assert_eq!(total(&days(&second), "accepted"), 4);
    assert_eq!(total(&days(&second), "acceptedMinor"), 3 * 1_000 + 7_000);
    let statistics: Value = second.json(&["stats"]);
    assert_eq!(statistics["conflicts"], "2");
    let printed = second.cli(&["stats"]).output().unwrap();
    let warning = String::from_utf8(printed.stderr).unwrap();
    assert!(printed.status.success() && warning.contains("warning: 2 events were put aside"), "{warning}");
    // The consumer stays ready, and reports the first conflict.
    let consumer = Consumer::start(dir.path(), &journal, &inbox(dir.path()));
    let mut said = String::new();
    eventually("readiness names the conflicts", || {
        said = consumer.readyz();
        said.contains("conflicts: 2 events put aside")
    });
    assert!(said.contains(" 200 OK") && said.contains("the first: order b, sequence 1"), "{said}");
    consumer.stop();
    second.stop();
}
