//! A clock and ids that a test controls.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use pvz::domain::{EventId, Timestamp};
use pvz::ports::{Clock, Ids};

pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;
/// The initial time of [`TestClock`]: 2026-11-01T00:00:00Z in microseconds.
pub const START: i64 = 1_793_491_200 * SECOND;

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("an instant of the years 1 to 9999")
}

/// A clock that changes only when a test sets it. Counts its reads.
#[derive(Debug)]
pub struct TestClock {
    micros: AtomicI64,
    reads: AtomicU64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { micros: AtomicI64::new(START), reads: AtomicU64::new(0) }
    }
}

impl TestClock {
    pub fn set(&self, micros: i64) {
        self.micros.store(micros, Ordering::SeqCst);
    }

    pub fn advance(&self, micros: i64) {
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Returns the time in microseconds, without counting as a read.
    pub fn micros(&self) -> i64 {
        self.micros.load(Ordering::SeqCst)
    }

    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.reads.fetch_add(1, Ordering::SeqCst);
        at(self.micros())
    }
}

/// Ids that count up from 1.
#[derive(Debug, Default)]
pub struct SequentialIds(AtomicU64);

impl Ids for SequentialIds {
    fn event_id(&self, _at: Timestamp) -> EventId {
        EventId(u128::from(self.0.fetch_add(1, Ordering::SeqCst) + 1))
    }

    fn correlation_id(&self) -> String {
        format!("correlation-{}", self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}
