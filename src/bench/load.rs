//! Unary calls, a fixed number in flight or at a fixed rate.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::BenchError;
use super::measured::Measured;
use super::plan::Pace;
use super::unary_client::UnaryClient;
use super::work::Work;

/// Calls that may be in flight at a fixed rate. Further calls that are due wait
/// for one to end, and the wait counts as latency.
const MAX_IN_FLIGHT: usize = 2_048;

/// A load to run.
#[derive(Debug)]
pub(super) struct UnaryLoad {
    pub work: Arc<Work>,
    pub clients: Vec<UnaryClient>,
    pub pace: Pace,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Ends the run early.
    pub stop: CancellationToken,
}

/// The state that all workers share.
struct Shared {
    load: UnaryLoad,
    next_call: AtomicU64,
    began: Instant,
    /// One for all workers: a histogram takes hundreds of KiB, and thousands of
    /// them would cost more than the contention for this one.
    measured: Mutex<Measured>,
}

impl Shared {
    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnaryLoad {
    /// Makes calls until the time is over or the run is stopped.
    pub(super) async fn run(self) -> Measured {
        let worker_count = match self.pace {
            Pace::InFlight(calls) => calls,
            Pace::Rate(_) => MAX_IN_FLIGHT,
        };
        let (next_call, measured) = (AtomicU64::new(0), Mutex::new(Measured::new()));
        let shared = Arc::new(Shared { load: self, next_call, began: Instant::now(), measured });
        let mut workers = JoinSet::new();
        for number in 0..worker_count {
            workers.spawn(run_worker(Arc::clone(&shared), number));
        }
        let stop = shared.load.stop.clone();
        loop {
            tokio::select! {
                // Only this task watches the token: checking it at every call is too costly.
                () = stop.cancelled() => {
                    workers.shutdown().await;
                    shared.measured().ended_early.get_or_insert_with(|| "interrupted".to_owned());
                    break;
                }
                ended = workers.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => shared.measured().ended_early = Some(error.to_string()),
                    None => break,
                }
            }
        }
        let mut total = mem::replace(&mut *shared.measured(), Measured::new());
        total.took = shared.began.elapsed().saturating_sub(shared.load.warm_up);
        total
    }
}

/// Makes one call after another until the time is over.
async fn run_worker(shared: Arc<Shared>, number: usize) {
    let load = &shared.load;
    let client = &load.clients[number % load.clients.len()];
    let measure_from = shared.began + load.warm_up;
    let end = measure_from + load.duration;
    loop {
        let call = shared.next_call.fetch_add(1, Ordering::Relaxed);
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
        match tokio::time::timeout(client.timeout(), load.work.call(client, call)).await {
            Ok(None) => {
                let why = "no prepared orders are left; prepare more with --orders";
                shared.measured().ended_early = Some(why.to_owned());
                load.stop.cancel();
                return;
            }
            Ok(Some(Ok(orders))) if begins >= measure_from => {
                let latency = begins.elapsed();
                shared.measured().record(latency, orders);
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(status))) => {
                let error = BenchError::call(client.server(), status);
                if shared.measured().fail(&error, begins >= measure_from) {
                    load.stop.cancel();
                    return;
                }
            }
            Err(_) => shared.measured().count_error("DEADLINE_EXCEEDED"),
        }
    }
}

/// Returns when a call at a fixed rate is due, counted from the beginning.
fn due(call: u64, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 calls")]
    let seconds = call as f64 / rate;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_a_rate_are_due_at_even_intervals() {
        assert_eq!(due(0, 50.0), Duration::ZERO);
        assert_eq!(due(50, 50.0), Duration::from_secs(1));
        assert_eq!(due(1, 0.5), Duration::from_secs(2));
    }
}
