//! The event pipeline from commands in PostgreSQL through the relay and Kafka to the
//! consumer's inbox, while one of its components is restarted. Test T6 of
//! `docs/reliability.md`.
//!
//! `PVZ_TEST_PIPELINE_EVENTS` sets the number of events of each scenario.

pub mod consumer;
pub mod consuming;
mod forks;
mod progress;
mod replaced;
mod scenario;
mod unknown_events;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::scenario::{Checked, Component, RestartSignal, Scenario, TestCluster};
use crate::process::TIMEOUT;

/// Returns the number of events of a scenario. Half of them accept an order, half
/// of them issue one.
fn events() -> usize {
    std::env::var("PVZ_TEST_PIPELINE_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

#[test]
fn nothing_is_lost_doubled_or_reordered_by_restarts() {
    let mut cluster = TestCluster::new();
    let mut table = String::from(
        "component signal   relays  restarts  events  in Kafka  duplicates  lost  reordered  seconds\n",
    );
    for relays in [1, 2] {
        for component in [Component::Relay, Component::Consumer, Component::Broker, Component::Database] {
            for signal in [RestartSignal::Kill, RestartSignal::Term] {
                let began = Instant::now();
                let (restarts, checked) = run(&mut cluster, component, signal, relays);
                let duplicates = checked.records - checked.events;
                let _ = writeln!(
                    table,
                    "{:<9} {:<8} {relays:>6}  {restarts:>8}  {:>6}  {:>8}  {duplicates:>10}  {:>4}  {:>9}  {:>7.1}",
                    format!("{component:?}").to_lowercase(),
                    if signal == RestartSignal::Kill { "kill -9" } else { "SIGTERM" },
                    checked.events,
                    checked.records,
                    0,
                    0,
                    began.elapsed().as_secs_f64(),
                );
            }
        }
    }
    // A lost or reordered event has failed the test above, so these are zeros.
    println!("{table}");
}

/// Runs a scenario: restarts a component under load, and checks the results. Returns
/// the number of restarts.
fn run(
    cluster: &mut TestCluster,
    component: Component,
    signal: RestartSignal,
    relays: usize,
) -> (usize, Checked) {
    let mut scenario = Scenario::start(cluster, relays);
    let loaded = AtomicBool::new(false);
    let load = scenario.load(events() / 2);
    let mut restarts = 0;
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            load.run();
            loaded.store(true, Ordering::Relaxed);
        });
        let end = Instant::now() + TIMEOUT;
        while !loaded.load(Ordering::Relaxed) || restarts < 2 {
            assert!(Instant::now() < end, "the load does not end");
            assert!(!loading.is_finished() || loaded.load(Ordering::Relaxed), "the load failed");
            // Varies the time between restarts, so that they interrupt different steps.
            std::thread::sleep(Duration::from_millis(120 + 170 * (restarts as u64 % 4)));
            scenario.restart(cluster, component, signal);
            restarts += 1;
        }
        loading.join().unwrap();
    });
    (restarts, scenario.check(cluster, &load))
}
