//! The feed while transactions stay open, end in any order, and are rolled
//! back: it skips nothing and keeps the order of each order's events.
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

/// Transactions at a time, and orders that they share.
const SHELLS: usize = 4;
const ORDERS: usize = 6;
/// Databases, and interleavings that each of them sees, one after another.
const DATABASES: u32 = 20;
const INTERLEAVINGS: usize = 50;
/// More events than there are.
const ALL: usize = 1_000_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A transaction adds an event to an order, with a savepoint before it or
    /// not.
    Insert {
        shell: usize,
        order: usize,
        savepoint: bool,
    },
    /// It takes back what it did since its last savepoint.
    BackToSavepoint {
        shell: usize,
    },
    Commit {
        shell: usize,
    },
    RollBack {
        shell: usize,
    },
    /// The feed is read.
    Read {
        limit: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SHELLS, 0..ORDERS, any::<bool>())
            .prop_map(|(shell, order, savepoint)| Step::Insert { shell, order, savepoint }),
        1 => (0..SHELLS).prop_map(|shell| Step::BackToSavepoint { shell }),
        3 => (0..SHELLS).prop_map(|shell| Step::Commit { shell }),
        1 => (0..SHELLS).prop_map(|shell| Step::RollBack { shell }),
        4 => (1..6_usize).prop_map(|limit| Step::Read { limit }),
    ]
}

/// An open transaction: the orders that it has locked, and since which
/// savepoint each event is there.
#[derive(Default)]
struct Open {
    begun: bool,
    savepoints: usize,
    locked: Vec<usize>,
}

struct Stage {
    store: Arc<PostgresStore>,
    shells: Vec<(Client, Open)>,
    followed: Vec<LoggedEvent>,
    wrong: Wrong,
    _database: Database,
}

/// Readers as they must not be, beside the feed: canaries, which show that the
/// scripts do what the feed has to withstand.
struct Wrong {
    shell: Client,
    /// The positions of one whose cursor is the last position that it saw.
    naive: Vec<i64>,
    /// Transaction, position, order and sequence of one that goes by the
    /// transactions' ids, as far as all of them have ended.
    by_xid: Vec<(i64, i64, String, i64)>,
}

impl Wrong {
    async fn read(&mut self, limit: i64) {
        let last = self.naive.last().copied().unwrap_or_default();
        let naive = "SELECT position FROM order_events WHERE position > $1 ORDER BY position LIMIT $2";
        let rows = self.shell.query(naive, &[&last, &limit]).await.unwrap();
        self.naive.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        let (xid, position) = self.by_xid.last().map_or((0, 0), |last| (last.0, last.1));
        let by_xid = "SELECT xid, position, order_id, sequence FROM
                (SELECT xmin::text::bigint AS xid, position, order_id, sequence FROM order_events) AS events
            WHERE xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint AND (xid, position) > ($1, $2)
            ORDER BY xid, position LIMIT $3";
        let rows = self.shell.query(by_xid, &[&xid, &position, &limit]).await.unwrap();
        self.by_xid.extend(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))));
    }

    /// How many events the naive reader skipped, and how many were out of
    /// sequence for the other one.
    fn mistakes(&self, all: usize) -> (usize, usize) {
        let mut last: HashMap<&str, i64> = HashMap::new();
        let reordered = self.by_xid.iter().filter(|(_, _, order_id, sequence)| {
            let before = last.insert(order_id.as_str(), *sequence).unwrap_or_default();
            *sequence != before + 1
        });
        (all - self.naive.len(), reordered.count())
    }
}

impl Stage {
    async fn new() -> Self {
        let (store, database) = store().await;
        let asks: Vec<_> = (0..ORDERS).map(|n| accept(parcel(&format!("order-{n}")))).collect();
        run(&*store, &asks).await.unwrap();
        let mut shells = Vec::new();
        for _ in 0..SHELLS {
            shells.push((database.shell().await, Open::default()));
        }
        let wrong = Wrong { shell: database.shell().await, naive: Vec::new(), by_xid: Vec::new() };
        Self { store, shells, followed: Vec::new(), wrong, _database: database }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Insert { shell, order, savepoint } => self.insert(shell, order, savepoint).await,
            Step::BackToSavepoint { shell } => {
                let (client, open) = &mut self.shells[shell];
                if open.savepoints > 0 {
                    client.batch_execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
                }
            }
            Step::Commit { shell } => self.end(shell, "COMMIT").await,
            Step::RollBack { shell } => self.end(shell, "ROLLBACK").await,
            Step::Read { limit } => self.read(limit).await,
        }
    }

    /// By hand, as a batch does it: the order's row is locked, then its version
    /// is raised and the event appended.
    async fn insert(&mut self, shell: usize, order: usize, savepoint: bool) {
        let locked = |(_, open): &(Client, Open)| open.locked.contains(&order);
        if self.shells.iter().enumerate().any(|(other, held)| other != shell && locked(held)) {
            return;
        }
        let (client, open) = &mut self.shells[shell];
        if !open.begun {
            client.batch_execute("BEGIN").await.unwrap();
            open.begun = true;
        }
        if savepoint {
            client.batch_execute("SAVEPOINT s").await.unwrap();
            open.savepoints += 1;
        }
        open.locked.push(order);
        let append = format!(
            "WITH raised AS (UPDATE orders SET version = version + 1 WHERE order_id = 'order-{order}'
                 RETURNING order_id, version)
             INSERT INTO order_events (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body)
             SELECT gen_random_uuid(), order_id, raised.version, type, actor_kind, actor_id, occurred_at, body
             FROM raised JOIN order_events USING (order_id) WHERE sequence = 1"
        );
        client.batch_execute(&append).await.unwrap();
    }

    async fn end(&mut self, shell: usize, how: &str) {
        let (client, open) = &mut self.shells[shell];
        if open.begun {
            client.batch_execute(how).await.unwrap();
            *open = Open::default();
        }
    }

    async fn read(&mut self, limit: usize) {
        let after = self.followed.last().map_or(Position(0), |last| last.position);
        self.followed.extend(self.store.feed(after, limit).await.unwrap());
        self.wrong.read(i64::try_from(limit).unwrap()).await;
    }

    async fn finish(&mut self) {
        for shell in 0..SHELLS {
            self.end(shell, if shell % 2 == 0 { "COMMIT" } else { "ROLLBACK" }).await;
        }
        self.read(ALL).await;
        let all = self.store.feed(Position(0), ALL).await.unwrap();
        let positions = |events: &[LoggedEvent]| events.iter().map(|e| e.position).collect::<Vec<_>>();
        assert_eq!(positions(&self.followed), positions(&all), "followed is all that there is");
        let mut last: HashMap<String, i64> = HashMap::new();
        for LoggedEvent { event, .. } in &self.followed {
            let before = last.insert(event.order.order_id.to_string(), event.sequence).unwrap_or_default();
            assert_eq!(event.sequence, before + 1, "{}", event.order.order_id);
        }
        assert_eq!(self.store.head().await.unwrap(), all.last().unwrap().position);
    }
}

#[test]
fn it_neither_skips_nor_reorders_whatever_stays_open() {
    let scripts = prop::collection::vec(prop::collection::vec(step(), 5..40), INTERLEAVINGS);
    let (skipped, reordered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let test = "postgres::feed::it_neither_skips_nor_reorders_whatever_stays_open";
    property::check(test, DATABASES, &scripts, |scripts| {
        block_on(async {
            let mut stage = Stage::new().await;
            for script in scripts {
                for step in script {
                    stage.take(step).await;
                }
                stage.finish().await;
            }
            let mistakes = stage.wrong.mistakes(stage.followed.len());
            skipped.fetch_add(mistakes.0, Ordering::Relaxed);
            reordered.fetch_add(mistakes.1, Ordering::Relaxed);
        });
    });
    let (skipped, reordered) = (skipped.into_inner(), reordered.into_inner());
    println!("the last position as a cursor: {skipped} skipped; by transaction: {reordered} out of sequence");
    assert!(skipped > 0, "nothing happened that a naive cursor would not survive");
    assert!(reordered > 0, "nothing happened that a cursor by transaction would not survive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_without_events_holds_nobody_up() {
    let (store, database) = store().await;
    let holder = database.shell().await;
    holder.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    run(&*store, &[accept(parcel("one"))]).await.unwrap();
    assert_eq!(store.feed(Position(0), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_naive_cursor_would_have_skipped() {
    // The canary: what the low-water mark is there for does happen.
    let (store, database) = store().await;
    run(&*store, &[accept(parcel("first"))]).await.unwrap();
    let holder = database.shell().await;
    let insert = "BEGIN; INSERT INTO order_events
            (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body)
        SELECT gen_random_uuid(), order_id, 2, type, actor_kind, actor_id, occurred_at, body FROM order_events";
    holder.batch_execute(insert).await.unwrap();
    run(&*store, &[accept(parcel("second"))]).await.unwrap();
    let visible = database.shell().await.query_one("SELECT max(position) FROM order_events", &[]).await;
    assert_eq!(visible.unwrap().get::<_, i64>(0), 3, "the third is visible, and the second is still to come");
    let positions = async || -> Vec<i64> {
        store.feed(Position(0), 10).await.unwrap().iter().map(|event| event.position.0).collect()
    };
    assert_eq!(positions().await, [1]);
    assert_eq!(store.head().await.unwrap(), Position(1));
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(positions().await, [1, 2, 3]);
    store.ping().await.unwrap();
}
