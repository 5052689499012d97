//! Tests docs/cdc.md: reads `order_events` by logical decoding, through the publication
//! on that page.

use std::collections::HashMap;
use std::path::Path;

use pvz::adapters::postgres::{PostgresStore, migrate};
use pvz::domain::BatchMode;
use tokio_postgres::Client;

use super::cluster::Cluster;
use super::run;
use crate::support::commands::{accept, issue, parcel};

/// Returns the first SQL block of the page.
fn publication() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cdc.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, sql) = page.split_once("```sql\n").unwrap();
    sql.split_once("```").unwrap().0.to_owned()
}

/// Reads the new changes from the slot (`pgoutput`, version 1). Returns order id,
/// sequence and position of each inserted row. Asserts that every change names the
/// root table, not a partition.
async fn decode(shell: &Client) -> Vec<(String, i64, i64)> {
    let messages = shell
        .query(
            "SELECT data FROM pg_logical_slot_get_binary_changes('pvz_events', NULL, NULL,
                 'proto_version', '1', 'publication_names', 'pvz_events')",
            &[],
        )
        .await
        .unwrap();
    let (mut tables, mut rows) = (HashMap::new(), Vec::new());
    for message in messages {
        let message: Vec<u8> = message.get(0);
        match message[0] {
            b'B' | b'C' => {}
            // A relation: OID, schema, name.
            b'R' => {
                let mut names = message[5..].split(|byte| *byte == 0);
                assert_eq!(names.next().unwrap(), b"public");
                tables.insert(message[1..5].to_vec(), names.next().unwrap().to_vec());
            }
            b'I' => {
                assert_eq!(tables[&message[1..5]], b"order_events");
                rows.push(inserted(&message));
            }
            other => panic!("unexpected message {:?}", char::from(other)),
        }
    }
    rows
}

/// Decodes an insert: relation OID, `N`, number of columns, and each column as text.
fn inserted(message: &[u8]) -> (String, i64, i64) {
    let (mut rest, mut columns) = (&message[8..], Vec::new());
    while let [kind, more @ ..] = rest {
        rest = more;
        if *kind == b't' {
            let (length, more) = rest.split_first_chunk::<4>().unwrap();
            let (text, more) = more.split_at(u32::from_be_bytes(*length) as usize);
            columns.push(String::from_utf8(text.to_vec()).unwrap());
            rest = more;
        } else {
            columns.push(String::new());
        }
    }
    assert_eq!(columns.len(), 11, "the publication lists 11 columns: {columns:?}");
    (columns[2].clone(), columns[3].parse().unwrap(), columns[0].parse().unwrap())
}

/// Inserts an event, in the open transaction if there is one.
async fn insert(shell: &Client, order_id: &str) {
    let sql = "INSERT INTO order_events
            (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body)
        VALUES (gen_random_uuid(), $1, 1, 'ORDER_ACCEPTED', 'operator', 'x', 0, '')";
    shell.execute(sql, &[&order_id]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logical_decoding_matches_the_documentation() {
    let cluster = Cluster::start();
    let database = cluster.database(false).await;
    migrate(&database.options()).await.unwrap();
    let admin = database.shell().await;
    admin.batch_execute("ALTER SYSTEM SET wal_level = logical").await.unwrap();
    drop(admin);
    tokio::task::block_in_place(|| {
        cluster.crash();
        cluster.run();
    });
    let shell = database.shell().await;
    shell.batch_execute(&publication()).await.unwrap();
    shell.batch_execute("SELECT pg_create_logical_replication_slot('pvz_events', 'pgoutput')").await.unwrap();

    // The service writes the events of an order in sequence.
    let store: PostgresStore = database.open().await;
    run(&store, &[accept(parcel("one")), accept(parcel("two"))]).await.unwrap();
    run(&store, &[issue(&["two", "one"], BatchMode::Atomic)]).await.unwrap();
    let rows = decode(&shell).await;
    let ids: Vec<(&str, i64)> = rows.iter().map(|(id, sequence, _)| (id.as_str(), *sequence)).collect();
    assert_eq!(ids[..2], [("one", 1), ("two", 1)]);
    assert_eq!(ids.len(), 4);

    // Changes arrive in commit order, not in the order of positions. A rollback leaves
    // a gap.
    let (early, late) = (database.shell().await, database.shell().await);
    early.batch_execute("BEGIN").await.unwrap();
    insert(&early, "early").await;
    late.batch_execute("BEGIN").await.unwrap();
    insert(&late, "undone").await;
    late.batch_execute("ROLLBACK").await.unwrap();
    insert(&late, "late").await;
    early.batch_execute("COMMIT").await.unwrap();
    let rows = decode(&shell).await;
    assert_eq!(rows, [("late".to_owned(), 1, 7), ("early".to_owned(), 1, 5)]);

    // Partitions attached later are published too.
    let next_partition = "SELECT setval('order_events_position_seq', 40000000), order_events_make_room(2)";
    shell.batch_execute(next_partition).await.unwrap();
    insert(&shell, "later").await;
    assert_eq!(decode(&shell).await, [("later".to_owned(), 1, 40_000_001)]);
}
