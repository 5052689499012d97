//! The contract suite of `Clock`.

use std::time::UNIX_EPOCH;

use pvz::adapters::system::SystemClock;
use pvz::domain::Timestamp;
use pvz::ports::Clock;

use crate::support::time::TestClock;

fn returns_valid_instants(clock: &dyn Clock) {
    let (first, second) = (clock.now(), clock.now());
    assert_eq!(Timestamp::from_micros(first.micros()), Some(first), "within the years 1 to 9999");
    assert!(
        second >= first || first.micros() - second.micros() < 60_000_000,
        "runs backwards by less than a minute"
    );
}

#[test]
fn clocks_return_valid_instants() {
    returns_valid_instants(&SystemClock);
    returns_valid_instants(&TestClock::default());
}

#[test]
fn system_clock_agrees_with_file_timestamps() {
    let before = SystemClock.now();
    let file = tempfile::NamedTempFile::new().unwrap();
    let modified = file.as_file().metadata().unwrap().modified().unwrap();
    let modified = modified.duration_since(UNIX_EPOCH).unwrap().as_micros();
    let difference = i64::try_from(modified).unwrap() - before.micros();
    assert!(difference.abs() < 60_000_000, "the file is {difference} µs newer than the clock");
}

#[test]
fn system_clock_advances() {
    let first = SystemClock.now();
    // The contract lets a clock run backwards, but not stand still.
    while SystemClock.now() == first {
        std::thread::yield_now();
    }
}
