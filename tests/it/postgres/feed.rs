//! Property tests of the feed while transactions stay open, end in any order, and roll
//! back: the feed skips no event and keeps the sequence of each order.
//!
//! Test T7 of `docs/reliability.md`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use pvz::adapters::postgres::PostgresStore;
use pvz::ports::{EventLog as _, LoggedEvent, OrderStore as _, Position};
use tokio_postgres::Client;

use super::cluster::{Database, store};
use super::run;
use crate::support::commands::{accept, parcel};
use crate::support::property;
use crate::support::runtime::block_on;

/// The number of concurrent transactions, and of the orders that they share.
const TRANSACTIONS: usize = 4;
const ORDERS: usize = 6;
/// The number of databases, and of the interleavings that run on each in turn.
const DATABASES: u32 = 20;
const INTERLEAVINGS: usize = 50;
/// A limit above the number of events.
const NO_LIMIT: usize = 1_000_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A transaction adds an event to an order, optionally after a savepoint.
    Insert {
        transaction: usize,
        order: usize,
        savepoint: bool,
    },
    /// A transaction rolls back to its last savepoint.
    RollBackToSavepoint {
        transaction: usize,
    },
    Commit {
        transaction: usize,
    },
    RollBack {
        transaction: usize,
    },
    /// Reads the feed.
    Read {
        limit: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..TRANSACTIONS, 0..ORDERS, any::<bool>())
            .prop_map(|(transaction, order, savepoint)| Step::Insert { transaction, order, savepoint }),
        1 => (0..TRANSACTIONS).prop_map(|transaction| Step::RollBackToSavepoint { transaction }),
        3 => (0..TRANSACTIONS).prop_map(|transaction| Step::Commit { transaction }),
        1 => (0..TRANSACTIONS).prop_map(|transaction| Step::RollBack { transaction }),
        4 => (1..6_usize).prop_map(|limit| Step::Read { limit }),
    ]
}

/// The state of a transaction.
#[derive(Default)]
struct Transaction {
    is_open: bool,
    savepoints: usize,
    locked_orders: Vec<usize>,
}

/// A store, the sessions that write to its database, and the readers.
struct Fixture {
    store: Arc<PostgresStore>,
    sessions: Vec<(Client, Transaction)>,
    /// The events that the feed has returned.
    feed: Vec<LoggedEvent>,
    incorrect: IncorrectReaders,
    _database: Database,
}

/// Incorrect readers, run next to the feed. Their errors show that the interleavings
/// contain the hazards that the feed must handle.
struct IncorrectReaders {
    shell: Client,
    /// The positions read with the last seen position as the cursor.
    by_position: Vec<i64>,
    /// Transaction id, position, order id and sequence of the events read with
    /// transaction id and position as the cursor, below the oldest open transaction.
    by_xid: Vec<(i64, i64, String, i64)>,
}

impl IncorrectReaders {
    async fn read(&mut self, limit: i64) {
        let last = self.by_position.last().copied().unwrap_or_default();
        let by_position = "SELECT position FROM order_events WHERE position > $1 ORDER BY position LIMIT $2";
        let rows = self.shell.query(by_position, &[&last, &limit]).await.unwrap();
        self.by_position.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        let (xid, position) = self.by_xid.last().map_or((0, 0), |last| (last.0, last.1));
        let by_xid = "SELECT xid, position, order_id, sequence FROM
                (SELECT xmin::text::bigint AS xid, position, order_id, sequence FROM order_events) AS events
            WHERE xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint AND (xid, position) > ($1, $2)
            ORDER BY xid, position LIMIT $3";
        let rows = self.shell.query(by_xid, &[&xid, &position, &limit]).await.unwrap();
        self.by_xid.extend(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))));
    }

    /// Returns the number of events that the reader by position skipped, and the number
    /// of events that the reader by transaction got out of sequence.
    fn errors(&self, all: usize) -> (usize, usize) {
        let mut last: HashMap<&str, i64> = HashMap::new();
        let reordered = self.by_xid.iter().filter(|(_, _, order_id, sequence)| {
            let before = last.insert(order_id.as_str(), *sequence).unwrap_or_default();
            *sequence != before + 1
        });
        (all - self.by_position.len(), reordered.count())
    }
}

impl Fixture {
    async fn new() -> Self {
        let (store, database) = store().await;
        let commands: Vec<_> = (0..ORDERS).map(|n| accept(parcel(&format!("order-{n}")))).collect();
        run(&*store, &commands).await.unwrap();
        let mut sessions = Vec::new();
        for _ in 0..TRANSACTIONS {
            sessions.push((database.shell().await, Transaction::default()));
        }
        let shell = database.shell().await;
        let incorrect = IncorrectReaders { shell, by_position: Vec::new(), by_xid: Vec::new() };
        Self { store, sessions, feed: Vec::new(), incorrect, _database: database }
    }

    async fn perform(&mut self, step: Step) {
        match step {
            Step::Insert { transaction, order, savepoint } => {
                self.insert(transaction, order, savepoint).await;
            }
            Step::RollBackToSavepoint { transaction } => {
                let (client, state) = &mut self.sessions[transaction];
                if state.savepoints > 0 {
                    client.batch_execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
                }
            }
            Step::Commit { transaction } => self.end(transaction, "COMMIT").await,
            Step::RollBack { transaction } => self.end(transaction, "ROLLBACK").await,
            Step::Read { limit } => self.read(limit).await,
        }
    }

    /// Locks the order's row, increments its version and appends an event, as a batch
    /// does. Does nothing if another transaction has locked the order.
    async fn insert(&mut self, transaction: usize, order: usize, savepoint: bool) {
        let has_lock = |(_, state): &(Client, Transaction)| state.locked_orders.contains(&order);
        if self.sessions.iter().enumerate().any(|(other, session)| other != transaction && has_lock(session))
        {
            return;
        }
        let (client, state) = &mut self.sessions[transaction];
        if !state.is_open {
            client.batch_execute("BEGIN").await.unwrap();
            state.is_open = true;
        }
        if savepoint {
            client.batch_execute("SAVEPOINT s").await.unwrap();
            state.savepoints += 1;
        }
        state.locked_orders.push(order);
        let append = format!(
            "WITH raised AS (UPDATE orders SET version = version + 1 WHERE order_id = 'order-{order}'
                 RETURNING order_id, version)
             INSERT INTO order_events (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body)
             SELECT gen_random_uuid(), order_id, raised.version, type, actor_kind, actor_id, occurred_at, body
             FROM raised JOIN order_events USING (order_id) WHERE sequence = 1"
        );
        client.batch_execute(&append).await.unwrap();
    }

    async fn end(&mut self, transaction: usize, statement: &str) {
        let (client, state) = &mut self.sessions[transaction];
        if state.is_open {
            client.batch_execute(statement).await.unwrap();
            *state = Transaction::default();
        }
    }

    async fn read(&mut self, limit: usize) {
        let after = self.feed.last().map_or(Position(0), |last| last.position);
        self.feed.extend(self.store.feed(after, limit).await.unwrap());
        self.incorrect.read(i64::try_from(limit).unwrap()).await;
    }

    /// Ends all transactions, and checks the events that the feed returned.
    async fn finish(&mut self) {
        for transaction in 0..TRANSACTIONS {
            self.end(transaction, if transaction % 2 == 0 { "COMMIT" } else { "ROLLBACK" }).await;
        }
        self.read(NO_LIMIT).await;
        let all = self.store.feed(Position(0), NO_LIMIT).await.unwrap();
        let positions = |events: &[LoggedEvent]| events.iter().map(|e| e.position).collect::<Vec<_>>();
        assert_eq!(positions(&self.feed), positions(&all), "the feed returned every event");
        let mut last: HashMap<String, i64> = HashMap::new();
        for LoggedEvent { event, .. } in &self.feed {
            let before = last.insert(event.order.order_id.to_string(), event.sequence).unwrap_or_default();
            assert_eq!(event.sequence, before + 1, "{}", event.order.order_id);
        }
        assert_eq!(self.store.head().await.unwrap(), all.last().unwrap().position);
    }
}

#[test]
fn feed_skips_and_reorders_nothing_while_transactions_stay_open() {
    let scripts = prop::collection::vec(prop::collection::vec(step(), 5..40), INTERLEAVINGS);
    let (skipped, reordered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let test = "postgres::feed::feed_skips_and_reorders_nothing_while_transactions_stay_open";
    property::check(test, DATABASES, &scripts, |scripts| {
        block_on(async {
            let mut fixture = Fixture::new().await;
            for script in scripts {
                for step in script {
                    fixture.perform(step).await;
                }
                fixture.finish().await;
            }
            let errors = fixture.incorrect.errors(fixture.feed.len());
            skipped.fetch_add(errors.0, Ordering::Relaxed);
            reordered.fetch_add(errors.1, Ordering::Relaxed);
        });
    });
    let (skipped, reordered) = (skipped.into_inner(), reordered.into_inner());
    println!("cursor by position: {skipped} skipped; by transaction: {reordered} out of sequence");
    assert!(skipped > 0, "no interleaving made the cursor by position skip an event");
    assert!(reordered > 0, "no interleaving made the cursor by transaction reorder events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_transaction_without_events_does_not_delay_the_feed() {
    let (store, database) = store().await;
    let holder = database.shell().await;
    holder.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    assert_eq!(store.feed(Position(0), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feed_waits_for_an_open_transaction_with_a_lower_position() {
    // A cursor by position alone would skip the second event.
    let (store, database) = store().await;
    run(&*store, &[accept(parcel("first"))]).await.unwrap();
    let holder = database.shell().await;
    let insert = "BEGIN; INSERT INTO order_events
            (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body)
        SELECT gen_random_uuid(), order_id, 2, type, actor_kind, actor_id, occurred_at, body FROM order_events";
    holder.batch_execute(insert).await.unwrap();
    run(&*store, &[accept(parcel("second"))]).await.unwrap();
    let visible = database.shell().await.query_one("SELECT max(position) FROM order_events", &[]).await;
    assert_eq!(visible.unwrap().get::<_, i64>(0), 3, "the third event is visible before the second");
    let positions = async || -> Vec<i64> {
        store.feed(Position(0), 10).await.unwrap().iter().map(|event| event.position.0).collect()
    };
    assert_eq!(positions().await, [1]);
    assert_eq!(store.head().await.unwrap(), Position(1));
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(positions().await, [1, 2, 3]);
    store.ping().await.unwrap();
}
