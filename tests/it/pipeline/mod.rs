//! The whole way of an event: from a command in PostgreSQL over the relay and
//! Kafka into the consumer's inbox, while one of the parts is bounced (T6).
//!
//! `PVZ_TEST_PIPELINE_EVENTS` sets how many events each cell of the matrix has.

mod consumer;
mod consuming;
mod stage;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::stage::{Bounce, Cell, Stage, Victim};
use crate::process::TIMEOUT;

/// Events of a cell: as many are accepted as are issued.
fn events() -> usize {
    std::env::var("PVZ_TEST_PIPELINE_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

#[test]
fn nothing_is_lost_doubled_or_reordered_whatever_is_bounced() {
    let mut stage = Stage::new();
    let mut table = String::from(
        "victim    bounce   relays  bounces  events  in Kafka  duplicates  lost  reordered  seconds\n",
    );
    for relays in [1, 2] {
        for victim in [Victim::Relay, Victim::Consumer, Victim::Broker, Victim::Database] {
            for bounce in [Bounce::Kill, Bounce::Term] {
                let began = Instant::now();
                let (bounces, checked) = run(&mut stage, victim, bounce, relays);
                let duplicates = checked.records - checked.events;
                let _ = writeln!(
                    table,
                    "{:<9} {:<8} {relays:>6}  {bounces:>7}  {:>6}  {:>8}  {duplicates:>10}  {:>4}  {:>9}  {:>7.1}",
                    format!("{victim:?}").to_lowercase(),
                    if bounce == Bounce::Kill { "kill -9" } else { "SIGTERM" },
                    checked.events,
                    checked.records,
                    0,
                    0,
                    began.elapsed().as_secs_f64(),
                );
            }
        }
    }
    // What was lost or reordered has failed above: the zeros are what is left.
    println!("{table}");
}

/// Loads a cell while its victim is bounced, and checks what came of it.
fn run(stage: &mut Stage, victim: Victim, bounce: Bounce, relays: usize) -> (usize, stage::Checked) {
    let mut cell = Cell::start(stage, relays);
    let loaded = AtomicBool::new(false);
    let load = cell.load(events() / 2);
    let mut bounces = 0;
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            load.run();
            loaded.store(true, Ordering::Relaxed);
        });
        let end = Instant::now() + TIMEOUT;
        while !loaded.load(Ordering::Relaxed) || bounces < 2 {
            assert!(Instant::now() < end, "the load does not end");
            assert!(!loading.is_finished() || loaded.load(Ordering::Relaxed), "the load failed");
            // Another moment each time: what is under way then is what counts.
            std::thread::sleep(Duration::from_millis(120 + 170 * (bounces as u64 % 4)));
            cell.bounce(stage, victim, bounce);
            bounces += 1;
        }
        loading.join().unwrap();
    });
    (bounces, cell.check(stage, &load))
}
