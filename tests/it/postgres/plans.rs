//! Tests that the store's statements use indexes on large tables, by the server's scan
//! counters.

use std::collections::BTreeSet;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::{BatchMode, StateName};
use pvz::ports::{EventLog as _, OrderFilter, OrderStore as _, Page, Position};
use tokio_postgres::Client;

use super::cluster::store;
use super::run;
use crate::process::TIMEOUT;
use crate::support::commands::{accept, accept_return, customer, issue, order, parcel, point, to_courier};
use crate::support::time::{DAY, START, at};

/// Adds 60,000 past orders: 1 % are stored, 1 % returned, and the others issued.
pub const FILL: &str = "
    INSERT INTO orders
    SELECT 'old-' || n, 'customer-' || n % 2000, 'point-' || n % 20,
           CASE WHEN n % 100 = 0 THEN 'STORED' WHEN n % 100 = 1 THEN 'RETURNED' ELSE 'ISSUED' END,
           1793491200000000 + n, 1790000000000000 + n,
           CASE WHEN n % 100 > 0 THEN 1791000000000000 + n END,
           CASE WHEN n % 100 = 1 THEN 1792000000000000 + n END,
           NULL, 1000, 100, 0, 'RUB', '', CASE WHEN n % 100 = 0 THEN 1 WHEN n % 100 = 1 THEN 3 ELSE 2 END
    FROM generate_series(1, 60000) n;
    INSERT INTO order_events (event_id, order_id, sequence, type, actor_kind, actor_id, occurred_at, body)
    SELECT gen_random_uuid(), 'old-' || n, 1, 'ORDER_ACCEPTED', 'courier', 'c', 0, ''
    FROM generate_series(1, 60000) n;
    INSERT INTO idempotency
    SELECT '', 'old-' || n, 'AcceptOrder', '', '', n FROM generate_series(1, 60000) n;
    ANALYZE";

/// Returns SQL that adds 80,000 past orders of 2,000 customers at one pickup point. Each state
/// except `majority` has 1 % of them, and the first 100 are past their deadline at [`START`].
pub fn fill_one_point(majority: &str) -> String {
    format!(
        "INSERT INTO orders
         SELECT 'old-' || n, 'customer-' || n % 2000, 'point-7', state,
                {START} + CASE WHEN n <= 100 THEN -1 ELSE 1 END, 1790000000000000 + n,
                CASE WHEN state IN ('ISSUED', 'RETURNED') THEN 1791000000000000 + n END,
                CASE WHEN state = 'RETURNED' THEN 1792000000000000 + n END,
                CASE WHEN state = 'HANDED_TO_COURIER' THEN 1792000000000000 + n END,
                1000, 100, 0, 'RUB', '', 1
         FROM (SELECT n, CASE n % 100 WHEN 1 THEN 'STORED' WHEN 2 THEN 'ISSUED' WHEN 3 THEN 'RETURNED'
                             WHEN 4 THEN 'HANDED_TO_COURIER' ELSE '{majority}' END AS state
               FROM generate_series(1, 80000) n) AS numbered;
         ANALYZE"
    )
}

/// Runs the lists with every combination of filters, for the first page and one in the middle.
pub async fn run_every_list(store: &PostgresStore) {
    let all = [StateName::Stored, StateName::Issued, StateName::Returned, StateName::HandedToCourier];
    let below = Some((at(1_790_000_000_000_000 + 40_000), order("old-40000")));
    for page in [Page { below: None, limit: 5 }, Page { below, limit: 5 }] {
        for (customer_id, pickup_point_id) in [
            (None, None),
            (None, Some(point("point-7"))),
            (Some(customer("customer-7")), None),
            (Some(customer("customer-7")), Some(point("point-7"))),
        ] {
            for set in 0..1 << all.len() {
                let states: BTreeSet<_> =
                    (0..all.len()).filter(|bit| set >> bit & 1 == 1).map(|bit| all[bit]).collect();
                for expired in [None, Some((false, at(START))), Some((true, at(START)))] {
                    let filter = OrderFilter {
                        customer_id: customer_id.clone(),
                        pickup_point_id: pickup_point_id.clone(),
                        states: states.clone(),
                        expired,
                    };
                    store.orders(&filter, &page).await.unwrap();
                }
            }
            if customer_id.is_none() {
                store.returns(pickup_point_id.as_ref(), &page).await.unwrap();
            }
        }
    }
}

/// Returns the numbers of sequential scans and of index entries read. Waits until all
/// stores are closed, because a session may report its counts only when it ends.
async fn scan_counts(shell: &Client) -> (i64, i64) {
    let sessions_ended = async {
        let sessions = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pvz'";
        while shell.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, sessions_ended).await.unwrap();
    let query = "SELECT (SELECT sum(seq_scan) FROM pg_stat_user_tables
            WHERE relname ~ '^(orders|order_events.*|idempotency)$')::bigint,
        (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
            WHERE relname ~ '^(orders|order_events.*|idempotency)$')::bigint";
    let row = shell.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Runs every statement of the store, with new ids for each round. Returns the number
/// of calls.
pub async fn run_every_statement(store: &PostgresStore, round: usize) -> i64 {
    let ids: Vec<String> = (0..20).map(|n| format!("new-{round}-{n}")).collect();
    let key = |prefix: &str, id: &String| format!("{prefix}-{id}");
    let accepts: Vec<_> = ids.iter().map(|id| accept(parcel(id)).key(&key("accept", id))).collect();
    let issues: Vec<_> =
        ids.iter().map(|id| issue(&[id], BatchMode::Atomic).key(&key("issue", id))).collect();
    let returns: Vec<_> =
        ids.iter().map(|id| accept_return(id, "c1", None).key(&key("return", id))).collect();
    let hand_overs: Vec<_> = ids.iter().map(|id| to_courier(&[id], None, BatchMode::Atomic)).collect();
    for batch in [accepts, issues, returns, hand_overs] {
        let outcomes = run(store, &batch).await.unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.answer.is_ok()), "{outcomes:?}");
    }
    let mut calls = 4;
    let below = Some((at(1_790_000_000_000_000 + 30_000), order("old-30000")));
    for page in [Page { below: None, limit: 5 }, Page { below, limit: 5 }] {
        for customer_id in [None, Some(customer("customer-7"))] {
            for pickup_point_id in [None, Some(point("point-7"))] {
                let states = [vec![], vec![StateName::Issued], vec![StateName::Issued, StateName::Returned]];
                for states in states {
                    for expired in [None, Some((false, at(START)))] {
                        let filter = OrderFilter {
                            customer_id: customer_id.clone(),
                            pickup_point_id: pickup_point_id.clone(),
                            states: states.iter().copied().collect(),
                            expired,
                        };
                        store.orders(&filter, &page).await.unwrap();
                        calls += 1;
                    }
                }
            }
        }
        for at in [None, Some(point("point-1"))] {
            store.returns(at.as_ref(), &page).await.unwrap();
            calls += 1;
        }
    }
    store.history(&order(&ids[0]), 0, 10).await.unwrap();
    let head = store.head().await.unwrap();
    store.feed(Position(head.0 - 10), 5).await.unwrap();
    store.audit(Some(&order("new")), 5).await.unwrap();
    store.expire_idempotency_records(at(3 * i64::try_from(round).unwrap()), 10).await.unwrap();
    assert!(store.order(&order(&ids[0])).await.unwrap().is_some());
    calls + 5
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_scans_a_growing_table() {
    let (store, database) = store().await;
    // The server caches plans while the tables are empty.
    for round in 0..8 {
        run_every_statement(&store, round).await;
    }
    let shell = database.shell().await;
    shell.batch_execute(FILL).await.unwrap();
    let mut calls = 0;
    for round in 8..12 {
        calls += run_every_statement(&store, round).await;
    }
    drop(store);
    let (scans, entries) = scan_counts(&shell).await;
    assert_eq!(scans, 0, "sequential scans");
    assert!(entries / calls < 400, "{} index entries a call", entries / calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_orders_are_found_without_reading_past_ones() {
    let (store, database) = store().await;
    let shell = database.shell().await;
    shell.batch_execute(FILL).await.unwrap();
    let stored = |expired: bool, at_point: bool| OrderFilter {
        pickup_point_id: at_point.then(|| point("point-0")),
        states: [StateName::Stored].into(),
        expired: expired.then(|| (true, at(START + DAY))),
        ..OrderFilter::default()
    };
    let page = Page { below: None, limit: 1_000 };
    assert_eq!(store.orders(&stored(true, true), &page).await.unwrap().len(), 600);
    assert_eq!(store.orders(&stored(false, true), &page).await.unwrap().len(), 600);
    assert_eq!(store.orders(&stored(true, false), &page).await.unwrap().len(), 600);
    drop(store);
    let before = scan_counts(&shell).await;
    let fresh = database.open().await;
    fresh.orders(&stored(true, true), &page).await.unwrap();
    drop(fresh);
    let after = scan_counts(&shell).await;
    assert_eq!(after.0 - before.0, 0, "sequential scans");
    assert!(after.1 - before.1 < 4 * 700, "{} index entries", after.1 - before.1);
}

/// Statistics lag behind the data. If they contain no returned order of a large table,
/// a sort of all returned orders looks cheaper than an index scan of the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returned_orders_are_not_sorted_with_stale_statistics() {
    let (store, database) = store().await;
    drop(store);
    let shell = database.shell().await;
    // No order was returned before, so the indexes have no dead entries. VACUUM keeps those while any other
    // transaction, even one of autovacuum, may still see them.
    let none_returned = FILL.replace("n % 100 = 1", "false").replace("'point-' || n % 20", "'point-1'");
    for statement in [
        "ALTER TABLE orders SET (autovacuum_enabled = off)",
        &none_returned,
        "UPDATE orders SET state = 'RETURNED', returned_at = issued_at WHERE order_id LIKE 'old-%01'",
    ] {
        shell.batch_execute(statement).await.unwrap();
    }
    let before = scan_counts(&shell).await;
    let fresh = database.open().await;
    let later = Some((at(1_793_000_000_000_000), order("old")));
    // Often enough for custom plans and for a generic one.
    for _ in 0..8 {
        for below in [None, later.clone()] {
            for at in [None, Some(point("point-1"))] {
                let page = Page { below: below.clone(), limit: 5 };
                assert_eq!(fresh.returns(at.as_ref(), &page).await.unwrap().len(), 5);
            }
        }
    }
    drop(fresh);
    let after = scan_counts(&shell).await;
    assert_eq!(after.0 - before.0, 0, "sequential scans");
    assert!(after.1 - before.1 < 32 * 10, "{} index entries", after.1 - before.1);
}
