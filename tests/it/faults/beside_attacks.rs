//! A normal client during each attack: its calls succeed, and take little longer than without the
//! attack.
//!
//! `just soak` measures for longer. It prints the figures of `docs/reliability.md`.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use pvz::adapters::system::raise_open_files;
use pvz::proto::v1;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::attacks::{Attack, POINT, Target};
use super::requests::parcel;
use super::test_service::{Client, TestService};
use crate::support::runtime::block_on;

/// The number of orders in the store, enough for pages of 1,000.
const ORDERS: usize = 20_000;
/// The time between two calls of the normal client.
const CALL_INTERVAL: Duration = Duration::from_millis(5);
/// The target for the p99 during an attack, as a multiple of the p99 before it.
const TARGET: u32 = 2;
/// The test allows five times the target, plus the delay that other tests on the same cores can
/// cause.
const ALLOWED: u32 = 5 * TARGET;
const ALLOWED_ON_A_BUSY_MACHINE: Duration = Duration::from_millis(500);
/// The number of repetitions of an attack during which the client was too slow.
const ATTEMPTS: usize = 3;

/// Latencies of calls.
struct Latencies(Vec<Duration>);

impl Latencies {
    /// Measures calls of the normal client: half of them read an order, the others accept one or
    /// list a page. Each call starts at its scheduled time, however long the others take.
    async fn measure(client: &Client, duration: Duration, name: &str) -> Self {
        let mut calls = JoinSet::new();
        let mut due = interval(CALL_INTERVAL);
        for n in 0..duration.as_micros() / CALL_INTERVAL.as_micros() {
            let at = due.tick().await;
            let (client, order_id) = (client.clone(), format!("{name}-{n}"));
            calls.spawn(async move {
                call(client, n, order_id).await;
                at.elapsed()
            });
        }
        let mut latencies = calls.join_all().await;
        latencies.sort_unstable();
        Self(latencies)
    }

    fn p99(&self) -> Duration {
        self.0[self.0.len() * 99 / 100]
    }

    fn max(&self) -> Duration {
        self.0[self.0.len() - 1]
    }
}

async fn call(mut client: Client, n: u128, order_id: String) {
    match n % 4 {
        0 => drop(client.accept_order(v1::AcceptOrderRequest { ..at_point(&order_id) }).await.unwrap()),
        1 => {
            let page = v1::ListOrdersRequest { customer_id: Some("7".to_owned()), ..Default::default() };
            drop(client.list_orders(page).await.unwrap());
        }
        _ => {
            let order_id = format!("order-{}", n % ORDERS as u128);
            drop(client.get_order(v1::GetOrderRequest { order_id }).await.unwrap());
        }
    }
}

fn at_point(order_id: &str) -> v1::AcceptOrderRequest {
    v1::AcceptOrderRequest { pickup_point_id: Some(POINT.to_owned()), ..parcel(order_id, "7") }
}

async fn import_orders(client: &Client) {
    let rows = (0..ORDERS).map(|n| v1::ImportOrdersRequest { order: Some(at_point(&format!("order-{n}"))) });
    let results = client.clone().import_orders(stream::iter(rows)).await.unwrap().into_inner();
    assert_eq!(results.map(Result::unwrap).count().await, ORDERS);
}

/// Returns the duration of each measurement.
fn duration() -> Duration {
    let seconds = std::env::var("PVZ_TEST_ATTACK_SECONDS").map(|seconds| seconds.parse().unwrap());
    seconds.map_or(Duration::from_millis(500), Duration::from_secs_f64)
}

#[test]
fn calls_beside_an_attack_succeed_and_stay_fast() {
    raise_open_files();
    // The client must not wait for attackers that share its thread.
    let attackers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    block_on(measure_attacks(&attackers));
}

async fn measure_attacks(attackers: &Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let target = Target { grpc: service.grpc.clone(), http: service.http.clone() };
    let client = service.client().await;
    import_orders(&client).await;
    println!("| attack | p99 before | p99 beside | ratio | longest | memory |\n|---|---|---|---|---|---|");
    for attack in Attack::ALL {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let name = format!("{attack:?}-{attempt}");
            let calm = Latencies::measure(&client, duration(), &format!("{name}-calm")).await;
            service.reset_peak_memory();
            let attack_started = attackers.spawn(attack.start(target.clone()));
            let beside = Latencies::measure(&client, duration(), &name).await;
            let hostile_clients = attack_started.await.unwrap();
            drop(hostile_clients);
            println!(
                "| {} | {:.1} ms | {:.1} ms | {:.1} | {:.1} ms | {} MiB |",
                attack.description(),
                millis(calm.p99()),
                millis(beside.p99()),
                millis(beside.p99()) / millis(calm.p99()),
                millis(beside.max()),
                service.peak_memory() / 1024,
            );
            if beside.p99() <= (calm.p99() * ALLOWED).max(ALLOWED_ON_A_BUSY_MACHINE) {
                break;
            }
            assert!(
                attempt < ATTEMPTS,
                "{}: p99 {:?} instead of {:?}",
                attack.description(),
                beside.p99(),
                calm.p99()
            );
        }
    }
    service.stop();
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
