//! Calls, so many at once or so many a second.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::line::BenchClient;
use super::measured::Measured;
use super::work::Work;

/// How many calls of a rate may be under way. When all are, those that are due
/// wait, and the wait counts.
const OPEN: usize = 2_048;

/// When a call begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// When one of so many ended.
    InFlight(usize),
    /// So many a second.
    Rate(f64),
}

/// A measurement to be made.
#[derive(Debug)]
pub(super) struct Load {
    pub work: Arc<Work>,
    pub lines: Vec<BenchClient>,
    pub pace: Pace,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Ends it early.
    pub stop: CancellationToken,
}

/// What all workers share.
struct Shared {
    load: Load,
    next: AtomicU64,
    began: Instant,
    /// One for all: a histogram has hundreds of KiB, and thousands of them would
    /// be slower than their turn at this one.
    measured: Mutex<Measured>,
}

impl Shared {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Makes the calls.
    pub(super) async fn run(self) -> Measured {
        let workers = match self.pace {
            Pace::InFlight(workers) => workers,
            Pace::Rate(_) => OPEN,
        };
        let (next, measured) = (AtomicU64::new(0), Mutex::new(Measured::new()));
        let shared = Arc::new(Shared { load: self, next, began: Instant::now(), measured });
        let mut running = JoinSet::new();
        for number in 0..workers {
            running.spawn(work(Arc::clone(&shared), number));
        }
        let stop = shared.load.stop.clone();
        loop {
            tokio::select! {
                // A call asks nothing of the token, of which there is one for all.
                () = stop.cancelled() => {
                    running.shutdown().await;
                    shared.measured().ended.get_or_insert_with(|| "interrupted".to_owned());
                    break;
                }
                ended = running.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => shared.measured().ended = Some(error.to_string()),
                    None => break,
                }
            }
        }
        let mut all = mem::replace(&mut *shared.measured(), Measured::new());
        all.took = shared.began.elapsed().saturating_sub(shared.load.warm_up);
        all
    }
}

/// One call after another, until the time is over.
async fn work(shared: Arc<Shared>, number: usize) {
    let load = &shared.load;
    let line = &load.lines[number % load.lines.len()];
    let (measuring, end) = (shared.began + load.warm_up, shared.began + load.warm_up + load.duration);
    loop {
        let call = shared.next.fetch_add(1, Ordering::Relaxed);
        let begins = match load.pace {
            Pace::InFlight(_) => Instant::now(),
            Pace::Rate(rate) => shared.began + due(call, rate),
        };
        if begins >= end {
            return;
        }
        if matches!(load.pace, Pace::Rate(_)) {
            tokio::time::sleep_until(begins.into()).await;
        }
        match tokio::time::timeout(line.timeout, load.work.call(line, call)).await {
            Ok(None) => {
                shared.measured().ended = Some("no orders were left; --orders gives more".to_owned());
                load.stop.cancel();
                return;
            }
            Ok(Some(Ok(orders))) if begins >= measuring => {
                let time = begins.elapsed();
                shared.measured().answered(time, orders);
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(status))) => {
                if shared.measured().refused(&line.server, &status, begins >= measuring) {
                    load.stop.cancel();
                    return;
                }
            }
            Err(_) => shared.measured().error("DEADLINE_EXCEEDED"),
        }
    }
}

/// When a call of a rate is due, after the beginning.
fn due(call: u64, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 calls")]
    let seconds = call as f64 / rate;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_rate_are_due_at_even_distances() {
        assert_eq!(due(0, 50.0), Duration::ZERO);
        assert_eq!(due(50, 50.0), Duration::from_secs(1));
        assert_eq!(due(1, 0.5), Duration::from_secs(2));
    }
}
