//! Tests of the `pvz` binary on a PostgreSQL store.

use std::process::Command;

use crate::process::{Server, pvz};
use crate::support::runtime::block_on;

use super::cluster::cluster;

#[test]
fn binary_migrates_serves_and_verifies() {
    let database = block_on(cluster().database(false));
    let url = format!("postgres://pvz:secret@127.0.0.1:{}/{}", database.port, database.name);
    let store = format!("--store={url}");
    let folder = tempfile::tempdir().unwrap();

    let refused = Server::spawn(folder.path(), &[&store]).wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(!error.contains("secret"), "{error}");
    // The last line is the command to type.
    let command = error.lines().next_back().unwrap().split_once("; run: ").unwrap().1;
    let without_password = url.replace(":secret@", "@");
    assert_eq!(command, format!("PGPASSWORD='…' pvz migrate --store={without_password}"));

    let stdout_of = |arguments: &[&str]| {
        let output = pvz().args(arguments).arg(&store).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let pending = stdout_of(&["migrate", "status"]);
    assert!(pending.contains("pending 20261123000001_orders"), "{pending}");
    assert!(pending.ends_with(&format!("run: {command}\n")), "{pending}");
    let typed = command.replace("pvz migrate", &format!("{} migrate", env!("CARGO_BIN_EXE_pvz")));
    let output = Command::new("sh").args(["-c", &typed.replace('…', "secret")]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let migrated = String::from_utf8(output.stdout).unwrap();
    for step in ["20261123000001_orders", "20261126000001_outbox", "20261126000010_traceparent"] {
        assert!(migrated.contains(&format!("{step}\n")), "{migrated}");
    }
    assert!(migrated.ends_with("\nthe schema is up to date\n"), "{migrated}");
    assert_eq!(stdout_of(&["migrate"]), "the schema is up to date\n");
    assert!(stdout_of(&["migrate", "status"]).contains("applied 20261123000001_orders"));

    let one = Server::start_with(folder.path(), &[&store]);
    // Replicas share a database, but not a folder.
    let other_folder = tempfile::tempdir().unwrap();
    let other = Server::start_with(other_folder.path(), &[&store, "--migrate"]);
    let deadline = "--storage-until=2027-10-01T10:00:00Z";
    let accept = ["accept", "--order-id=1", "--customer-id=123", deadline, "--request-id=key"];
    let first = one.json(&accept);
    assert_eq!(other.json(&accept), first, "another replica replays the answer");
    other.json(&["issue", "--order-ids=1"]);
    assert_eq!(one.json(&["get", "1"])["state"], "ORDER_STATE_ISSUED");
    one.stop();
    other.kill();
    assert_eq!(stdout_of(&["verify"]), "verified 1 orders, 2 events: 0 differ\n");
}
