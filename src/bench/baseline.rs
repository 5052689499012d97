//! The baselines: the throughput of the same database for a service written in
//! the usual way, and its upper limit.
//!
//! Both write to tables of their own that are created like the real ones, with
//! their indexes and checks, and are dropped afterwards. They have no triggers
//! and no partitions, which favours the baselines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::Error;

use super::error::BenchError;
use crate::compose;
use crate::config::Config;

/// Orders per second that were written durably.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline {
    /// One transaction per command, with a statement for each step.
    pub per_command: f64,
    /// 200 orders and their events per statement, and nothing else, over one
    /// connection.
    pub raw_alone: f64,
    /// The same over as many connections as write for the service.
    pub raw: f64,
}

/// Orders in one raw statement.
const ROWS_PER_STATEMENT: u64 = 200;
/// Connections of the raw baseline: as many as the service writes with.
const RAW_CONNECTIONS: usize = 2;
/// A body about as long as a stored event or a stored answer.
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
const INSERT_IDEMPOTENCY_RECORD: &str = "\
INSERT INTO pvz_bench.idempotency (scope, request_id, method, hashes, answer, created_at)
VALUES ('operator:anonymous', $1::text, 'AcceptOrder', $2::bytea, $3, $4)";
const INSERT_RAW: &str = "\
WITH inserted AS (
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

/// Connections of the baseline with one transaction per command.
const COMMAND_CONNECTIONS: usize = 32;

/// Measures each baseline for `duration`, on the store of the configuration.
pub(super) async fn measure(config: &Config, duration: Duration) -> Result<Baseline, BenchError> {
    let failed = |error: &dyn std::error::Error| {
        let mut message = format!("the baseline could not be measured: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        BenchError::Failed(message)
    };
    let mut clients = Vec::new();
    for _ in 0..COMMAND_CONNECTIONS {
        match compose::postgres_client(config).await {
            Ok(Some(client)) => clients.push(client),
            Ok(None) => return Err(BenchError::Failed("the baseline needs a PostgreSQL store".to_owned())),
            Err(error) => return Err(failed(&error)),
        }
    }
    measure_on(&clients, duration).await.map_err(|error| failed(&error))
}

async fn measure_on(clients: &[Client], duration: Duration) -> Result<Baseline, Error> {
    clients[0].batch_execute(SET_UP).await?;
    // Shared, so that no order id is used twice.
    let next_id = AtomicU64::new(0);
    let per_command =
        rate(clients, duration, async |client, end| per_command(client, &next_id, end).await).await;
    let raw_alone = rate(&clients[..1], duration, async |client, end| raw(client, &next_id, end).await).await;
    let raw =
        rate(&clients[..RAW_CONNECTIONS], duration, async |client, end| raw(client, &next_id, end).await)
            .await;
    clients[0].batch_execute(TEAR_DOWN).await?;
    Ok(Baseline { per_command: per_command?, raw_alone: raw_alone?, raw: raw? })
}

/// Runs `insert` on every connection at once until the time is over, and
/// returns the orders per second.
async fn rate(
    clients: &[Client],
    duration: Duration,
    insert: impl AsyncFn(&Client, Instant) -> Result<u64, Error>,
) -> Result<f64, Error> {
    let began = Instant::now();
    let end = began + duration;
    let inserts = clients.iter().map(|client| insert(client, end));
    let orders: u64 = futures::future::try_join_all(inserts).await?.into_iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 orders")]
    Ok(orders as f64 / began.elapsed().as_secs_f64())
}

async fn per_command(client: &Client, next_id: &AtomicU64, end: Instant) -> Result<u64, Error> {
    let select = client.prepare(SELECT).await?;
    let order = client.prepare(INSERT_ORDER).await?;
    let event = client.prepare(INSERT_EVENT).await?;
    let record = client.prepare(INSERT_IDEMPOTENCY_RECORD).await?;
    let mut done = 0;
    while Instant::now() < end {
        let number = next_id.fetch_add(1, Ordering::Relaxed);
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

async fn raw(client: &Client, next_id: &AtomicU64, end: Instant) -> Result<u64, Error> {
    let insert = client.prepare(INSERT_RAW).await?;
    let bodies = vec![BODY.as_slice(); usize::try_from(ROWS_PER_STATEMENT).unwrap_or_default()];
    let mut done = 0;
    while Instant::now() < end {
        let first = next_id.fetch_add(ROWS_PER_STATEMENT, Ordering::Relaxed);
        let ids: Vec<String> =
            (first..first + ROWS_PER_STATEMENT).map(|number| format!("raw-{number}")).collect();
        let customers: Vec<String> =
            (first..first + ROWS_PER_STATEMENT).map(|number| format!("customer-{}", number / 10)).collect();
        client.execute(&insert, &[&ids, &customers, &accepted_at(first), &bodies]).await?;
        done += ROWS_PER_STATEMENT;
    }
    Ok(done)
}

/// Returns an instant in late 2026 that grows with the number.
fn accepted_at(number: u64) -> i64 {
    1_796_000_000_000_000_i64.saturating_add(i64::try_from(number).unwrap_or(i64::MAX))
}
