//! What the same database does for a service that is written the usual way,
//! and what it could do at most: the measure of `pvz bench`.
//!
//! Both write to tables of their own that are made like the real ones, with
//! their indexes and checks, and are dropped afterwards. They have no triggers
//! and no partitions, which is to the baselines' advantage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::Error;

use super::connect::{ConnectOptions, Purpose};
use super::options::PostgresOptions;
use crate::ports::PortError;

/// Orders a second that were written durably.
#[derive(Debug, Clone, Copy)]
pub struct Baseline {
    /// One transaction a command, with a statement for each thing it does.
    pub per_command: f64,
    /// 200 orders and their events a statement, and nothing else, over one
    /// connection.
    pub raw_alone: f64,
    /// The same over as many connections as write for the service.
    pub raw: f64,
}

/// How many orders a raw statement inserts.
const ROWS: u64 = 200;
/// How many connections insert raw together: as many as write for the service.
const RAW_CONNECTIONS: usize = 2;
/// About as long as a stored event, and as a stored answer.
const BODY: [u8; 150] = [7; 150];

const SET_UP: &str = "\
DROP SCHEMA IF EXISTS pvz_bench CASCADE;
CREATE SCHEMA pvz_bench;
CREATE TABLE pvz_bench.orders (LIKE orders INCLUDING ALL);
CREATE TABLE pvz_bench.order_events (LIKE order_events INCLUDING ALL);
CREATE SEQUENCE pvz_bench.positions;
ALTER TABLE pvz_bench.order_events ALTER COLUMN position SET DEFAULT nextval('pvz_bench.positions');
CREATE TABLE pvz_bench.idempotency (LIKE idempotency INCLUDING ALL);";
const TEAR_DOWN: &str = "DROP SCHEMA IF EXISTS pvz_bench CASCADE;";

const SELECT: &str = "SELECT version FROM pvz_bench.orders WHERE order_id = $1 FOR UPDATE";
const INSERT_ORDER: &str = "\
INSERT INTO pvz_bench.orders (order_id, customer_id, pickup_point_id, state, storage_until, accepted_at,
    weight_grams, price_minor, surcharge_minor, currency, packaging, version)
VALUES ($1::text, $2::text, 'main', 'STORED', 1800000000000000, $3::bigint, 1500, 19990, 2100, 'RUB', 'box+film', 1)";
const INSERT_EVENT: &str = "\
INSERT INTO pvz_bench.order_events (event_id, order_id, sequence, type, actor_kind, actor_id, request_id,
    occurred_at, body)
VALUES (gen_random_uuid(), $1, 1, 'ORDER_ACCEPTED', 'operator', 'anonymous', $1, $2, $3)";
const INSERT_RECORD: &str = "\
INSERT INTO pvz_bench.idempotency (scope, request_id, method, hashes, answer, created_at)
VALUES ('operator:anonymous', $1::text, 'AcceptOrder', $2::bytea, $3, $4)";
const INSERT_RAW: &str = "\
WITH fresh AS (
    INSERT INTO pvz_bench.orders (order_id, customer_id, pickup_point_id, state, storage_until, accepted_at,
        weight_grams, price_minor, surcharge_minor, currency, packaging, version)
    SELECT order_id, customer_id, 'main', 'STORED', 1800000000000000, $3::bigint, 1500, 19990, 2100, 'RUB',
        'box+film', 1
    FROM unnest($1::text[], $2::text[]) AS given (order_id, customer_id)
)
INSERT INTO pvz_bench.order_events (event_id, order_id, sequence, type, actor_kind, actor_id, request_id,
    occurred_at, body)
SELECT gen_random_uuid(), order_id, 1, 'ORDER_ACCEPTED', 'operator', 'anonymous', order_id, $3, body
FROM unnest($1::text[], $4::bytea[]) AS given (order_id, body)";

/// Measures both, each for that long, the first with so many connections.
///
/// # Errors
/// The database cannot be reached, has not our schema, or refuses.
pub async fn baseline(
    options: &PostgresOptions,
    connections: usize,
    duration: Duration,
) -> Result<Baseline, PortError> {
    let connect_options = ConnectOptions::new(&options.server, Purpose::Write, options.timeout);
    let measured = measure(&connect_options, connections, duration).await;
    measured.map_err(|error| PortError::unavailable("the baseline could not be measured", error))
}

async fn measure(
    connect_options: &ConnectOptions,
    connections: usize,
    duration: Duration,
) -> Result<Baseline, Error> {
    let keeper = connect_options.client().await?;
    keeper.batch_execute(SET_UP).await?;
    // No id is used twice.
    let next = Arc::new(AtomicU64::new(0));
    let per_command = all(connect_options, &next, connections, duration, Way::PerCommand).await;
    let raw_alone = all(connect_options, &next, 1, duration, Way::Raw).await;
    let raw = all(connect_options, &next, RAW_CONNECTIONS, duration, Way::Raw).await;
    keeper.batch_execute(TEAR_DOWN).await?;
    Ok(Baseline { per_command: per_command?, raw_alone: raw_alone?, raw: raw? })
}

#[derive(Debug, Clone, Copy)]
enum Way {
    PerCommand,
    Raw,
}

/// So many connections at once.
async fn all(
    connect_options: &ConnectOptions,
    next: &Arc<AtomicU64>,
    connections: usize,
    duration: Duration,
    way: Way,
) -> Result<f64, Error> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(connect_options.client().await?);
    }
    let began = Instant::now();
    let running = clients.into_iter().map(|client| {
        let next = Arc::clone(next);
        tokio::spawn(async move {
            match way {
                Way::PerCommand => per_command(&client, &next, began + duration).await,
                Way::Raw => raw(&client, &next, began + duration).await,
            }
        })
    });
    let mut orders = 0;
    for ended in futures::future::join_all(running).await.into_iter().flatten() {
        orders += ended?;
    }
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 orders")]
    Ok(orders as f64 / began.elapsed().as_secs_f64())
}

async fn per_command(client: &Client, next: &AtomicU64, end: Instant) -> Result<u64, Error> {
    let select = client.prepare(SELECT).await?;
    let order = client.prepare(INSERT_ORDER).await?;
    let event = client.prepare(INSERT_EVENT).await?;
    let record = client.prepare(INSERT_RECORD).await?;
    let mut done = 0;
    while Instant::now() < end {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (id, customer) = (format!("command-{number}"), format!("customer-{}", number / 10));
        let (now, hashes, body) = (accepted_at(number), [0_u8; 96].as_slice(), BODY.as_slice());
        client.batch_execute("BEGIN").await?;
        client.query_opt(&select, &[&id]).await?;
        client.execute(&order, &[&id, &customer, &now]).await?;
        client.execute(&event, &[&id, &now, &body]).await?;
        client.execute(&record, &[&id, &hashes, &body, &now]).await?;
        client.batch_execute("COMMIT").await?;
        done += 1;
    }
    Ok(done)
}

async fn raw(client: &Client, next: &AtomicU64, end: Instant) -> Result<u64, Error> {
    let insert = client.prepare(INSERT_RAW).await?;
    let bodies = vec![BODY.as_slice(); usize::try_from(ROWS).unwrap_or_default()];
    let mut done = 0;
    while Instant::now() < end {
        let first = next.fetch_add(ROWS, Ordering::Relaxed);
        let ids: Vec<String> = (first..first + ROWS).map(|number| format!("raw-{number}")).collect();
        let customers: Vec<String> =
            (first..first + ROWS).map(|number| format!("customer-{}", number / 10)).collect();
        client.execute(&insert, &[&ids, &customers, &accepted_at(first), &bodies]).await?;
        done += ROWS;
    }
    Ok(done)
}

/// Instants that grow, as they do in life: late 2026.
fn accepted_at(number: u64) -> i64 {
    1_796_000_000_000_000_i64.saturating_add(i64::try_from(number).unwrap_or(i64::MAX))
}
