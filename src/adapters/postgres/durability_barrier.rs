//! A barrier that makes what is visible durable.
//!
//! With a synchronous standby, a commit that is visible may not be on the standby
//! yet: its backend was ended while it waited for the standby, or the server
//! restarted. A later transaction that writes to the WAL waits for the standby
//! as every commit does, and the WAL is replicated in order, so when that
//! transaction has committed, everything that was visible before it is durable.
//!
//! All concurrent callers share one transaction. It is never abandoned, because
//! each abandoned one would leave a backend that waits for the standby.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::connect::{ConnectOptions, with_cause};

/// Writes a WAL record under a transaction id. COMMIT waits for a standby only if
/// the transaction has both.
pub(super) const WRITE_WAL: &str = "SELECT pg_logical_emit_message(true, 'pvz', '')";
/// Pause after a failed attempt.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The barrier of a process.
#[derive(Debug, Clone)]
pub(super) struct DurabilityBarrier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connect_options: ConnectOptions,
    state: Mutex<State>,
    /// The last call whose transaction has committed.
    passed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// The last call.
    called: u64,
    /// True while a task runs the transactions.
    running: bool,
    /// The cause of the last failure.
    failure: Option<String>,
}

impl DurabilityBarrier {
    /// Returns a barrier. The connections must have the `synchronous_commit` of
    /// those that write.
    pub(super) fn new(connect_options: ConnectOptions) -> Self {
        let (state, passed) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Shared { connect_options, state, passed }))
    }

    /// Waits until everything that is visible now is durable.
    ///
    /// # Errors
    /// It was not known to be durable by `give_up`; the error is the cause.
    pub(super) async fn pass(&self, give_up: Instant) -> Result<(), String> {
        let shared = &self.0;
        let mut passed = shared.passed.subscribe();
        let call = shared.call();
        if let Ok(Ok(_)) = timeout_at(give_up, passed.wait_for(|passed| *passed >= call)).await {
            return Ok(());
        }
        let waits = || "a transaction waits for the synchronous standby".to_owned();
        Err(shared.state().failure.clone().unwrap_or_else(waits))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of a call; starts the task if it does not run.
    fn call(self: &Arc<Self>) -> u64 {
        let mut state = self.state();
        state.called += 1;
        if !state.running {
            state.running = true;
            tokio::spawn(Arc::clone(self).run());
        }
        state.called
    }

    /// Runs transactions until no caller waits.
    async fn run(self: Arc<Self>) {
        while let Some(call) = self.next() {
            let failure = self.write().await.err();
            let failed = failure.is_some();
            self.state().failure = failure.as_ref().map(with_cause);
            if failed {
                sleep(RETRY_DELAY).await;
            } else {
                self.passed.send_replace(call);
            }
        }
    }

    /// Returns the last call that the next transaction covers; `None` if no
    /// caller waits.
    fn next(&self) -> Option<u64> {
        let mut state = self.state();
        state.running = state.called > *self.passed.borrow() && self.passed.receiver_count() > 0;
        state.running.then_some(state.called)
    }

    async fn write(&self) -> Result<(), tokio_postgres::Error> {
        self.connect_options.client().await?.batch_execute(WRITE_WAL).await
    }
}
