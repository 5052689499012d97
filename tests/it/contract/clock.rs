//! What every clock must do.

use std::time::UNIX_EPOCH;

use pvz::adapters::system::SystemClock;
use pvz::domain::Timestamp;
use pvz::ports::Clock;

use crate::support::time::TestClock;

fn is_a_clock(clock: &dyn Clock) {
    let (first, second) = (clock.now(), clock.now());
    assert_eq!(Timestamp::from_micros(first.micros()), Some(first), "within the years 1 to 9999");
    assert!(second >= first || first.micros() - second.micros() < 60_000_000, "about the same time");
}

#[test]
fn clocks_tell_an_instant_that_there_is() {
    is_a_clock(&SystemClock);
    is_a_clock(&TestClock::default());
}

#[test]
fn the_machines_clock_agrees_with_its_files() {
    let before = SystemClock.now();
    let file = tempfile::NamedTempFile::new().unwrap();
    let modified = file.as_file().metadata().unwrap().modified().unwrap();
    let modified = modified.duration_since(UNIX_EPOCH).unwrap().as_micros();
    let apart = i64::try_from(modified).unwrap() - before.micros();
    assert!(apart.abs() < 60_000_000, "{apart} µs between the clock and a file made after it was read");
}
