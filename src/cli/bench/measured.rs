//! What was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tonic::Status;

use crate::adapters::status::{Reason, status_codes};
use crate::cli::client::{Failure, plain};

/// The longest time that is told apart, in microseconds.
pub(super) const LONGEST: u64 = 600_000_000;

/// What came of the calls of one stream, or of all.
#[derive(Debug)]
pub(super) struct Measured {
    /// The time of every call that was answered, in microseconds.
    pub times: Histogram<u64>,
    /// How many orders the answered calls were about.
    pub orders: u64,
    pub errors: BTreeMap<String, u64>,
    /// How long the measurement took.
    pub took: Duration,
    /// Why it ended before its time.
    pub ended: Option<String>,
    /// The server was not there any more.
    pub is_gone: bool,
}

impl Measured {
    pub(super) fn new() -> Self {
        let times = Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that the library allows");
        Self { times, orders: 0, errors: BTreeMap::new(), took: Duration::ZERO, ended: None, is_gone: false }
    }

    /// An answer.
    pub(super) fn answered(&mut self, time: Duration, orders: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(LONGEST);
        self.times.saturating_record(micros.max(1));
        self.orders += orders;
    }

    /// An error. Whether the connection is gone.
    pub(super) fn refused(&mut self, server: &str, status: &Status, counts: bool) -> bool {
        let failure = Failure::from_status(server, status);
        if counts {
            self.error(&failure.refusal().reason);
        }
        let gone = std::error::Error::source(status).is_some();
        if gone {
            self.is_gone = true;
            self.ended = Some(plain(&failure.refusal().message).into_owned());
        }
        gone
    }

    /// An error, by its reason.
    pub(super) fn error(&mut self, reason: &str) {
        *self.errors.entry(plain(reason).into_owned()).or_default() += 1;
    }

    /// Takes in what another stream measured.
    pub(super) fn add(&mut self, other: Self) {
        // Both have the same bounds.
        let _ = self.times.add(&other.times);
        self.orders += other.orders;
        for (reason, count) in other.errors {
            *self.errors.entry(reason).or_default() += count;
        }
        self.is_gone |= other.is_gone;
        self.ended = self.ended.take().or(other.ended);
    }

    /// How the command ends.
    pub(super) fn exit_code(&self) -> u8 {
        if self.is_gone {
            status_codes(Reason::Unavailable).exit
        } else if self.errors.is_empty() {
            0
        } else {
            status_codes(Reason::OrderAlreadyExists).exit
        }
    }
}
