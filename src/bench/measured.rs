//! The counts and latencies of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::error::BenchError;

/// Longest latency that the histogram can hold, in microseconds; longer ones
/// count as this one.
const MAX_MICROS: u64 = 600_000_000;

/// Latencies in microseconds, to three digits.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_MICROS, 3).expect("bounds that the library allows"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MAX_MICROS);
        self.0.saturating_record(micros.max(1));
    }

    pub(super) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// The results of one stream of calls, or of all together.
#[derive(Debug)]
pub(super) struct Measured {
    /// Latencies of the calls that succeeded.
    pub latencies: Latencies,
    /// Orders in the calls that succeeded.
    pub orders: u64,
    /// Failed calls by reason.
    pub errors: BTreeMap<String, u64>,
    /// Time of the measurement, without the warm-up.
    pub took: Duration,
    /// The cause if the run ended early.
    pub ended_early: Option<String>,
    /// The connection to the server was lost.
    pub is_disconnected: bool,
}

impl Measured {
    pub(super) fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            orders: 0,
            errors: BTreeMap::new(),
            took: Duration::ZERO,
            ended_early: None,
            is_disconnected: false,
        }
    }

    /// Counts a call that succeeded.
    pub(super) fn record(&mut self, latency: Duration, orders: u64) {
        self.latencies.record(latency);
        self.orders += orders;
    }

    /// Records a failed call, and counts it unless it belongs to the warm-up.
    /// Returns true if the connection is lost.
    pub(super) fn fail(&mut self, error: &BenchError, is_measured: bool) -> bool {
        if is_measured {
            self.count_error(&error.reason());
        }
        if error.is_disconnected() {
            self.is_disconnected = true;
            self.ended_early = Some(error.to_string());
        }
        error.is_disconnected()
    }

    /// Counts a failed call under its reason.
    pub(super) fn count_error(&mut self, reason: &str) {
        *self.errors.entry(reason.to_owned()).or_default() += 1;
    }

    /// Adds the measurements of another stream.
    pub(super) fn add(&mut self, other: Self) {
        // It cannot fail: both have the same bounds.
        let _ = self.latencies.0.add(&other.latencies.0);
        self.orders += other.orders;
        for (reason, count) in other.errors {
            *self.errors.entry(reason).or_default() += count;
        }
        self.is_disconnected |= other.is_disconnected;
        self.ended_early = self.ended_early.take().or(other.ended_early);
    }
}
