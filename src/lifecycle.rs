//! Shutdown of the process: a drain after the first signal, an immediate exit
//! after the second, and a non-zero exit code if a task failed.
//!
//! Two cancellation tokens control the tasks. The soft token means drain: accept
//! no new work, finish accepted work. The hard token means abort: the drain
//! deadline has passed. Tasks that accept work from outside observe the soft
//! token. Tasks with an internal queue end when the queue is closed and empty.
//! (The model is matrix-authentication-service's shutdown.)

use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use crate::ports::chain;

/// Time for tasks to return after the hard token was cancelled.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// The error of a failed task.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// A handle to spawn tasks and to shut them down. Clones share the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    tasks: Arc<Mutex<Tasks>>,
}

/// The names of running tasks, for the log when the drain deadline passes.
#[derive(Debug, Default)]
struct Tasks {
    running: Vec<&'static str>,
    failed: bool,
}

/// The result of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All accepted work is finished.
    Finished,
    /// A task failed, or accepted work was aborted at the drain deadline.
    Failed,
    /// A second signal arrived: the process exits without waiting.
    SecondSignal(Signal),
}

impl Exit {
    /// Returns the exit code: 0, 1, or 128 plus the signal number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Failed => 1,
            Self::SecondSignal(Signal::Interrupt) => 130,
            Self::SecondSignal(Signal::Terminate) => 143,
        }
    }
}

/// A signal that ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, or Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

impl Lifecycle {
    /// Returns a lifecycle without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the drain token. When it is cancelled, a task refuses new work,
    /// finishes accepted work and returns.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Returns the abort token. When it is cancelled, a task returns at once.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Resolves when the drain begins.
    pub fn draining(&self) -> WaitForCancellationFutureOwned {
        self.soft.clone().cancelled_owned()
    }

    /// Begins the drain.
    pub fn drain(&self) {
        self.soft.cancel();
    }

    /// Spawns a task that the shutdown waits for. If it returns an error or
    /// panics, the process drains and exits with code 1.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        self.tasks().running.push(name);
        let this = self.clone();
        self.tracker.spawn(async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            // The panic hook logs the panic message.
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(error.into().as_ref())),
                Err(_) => Some("it panicked".to_owned()),
            };
            this.ended(name, failure.as_deref());
        });
    }

    /// Spawns a task that can fail only by a panic.
    pub fn spawn_until_done(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, task.map(Ok::<_, std::convert::Infallible>));
    }

    fn ended(&self, name: &'static str, failure: Option<&str>) {
        let mut tasks = self.tasks();
        if let Some(index) = tasks.running.iter().position(|running| *running == name) {
            tasks.running.swap_remove(index);
        }
        if let Some(failure) = failure {
            tasks.failed = true;
            tracing::error!(task = name, error = failure, "task failed, shutting down");
            self.soft.cancel();
        }
    }

    /// Waits until every task has returned, or until a signal or a failed task
    /// starts a drain and the drain is over. Tasks have `drain_deadline` to
    /// finish. A second signal ends the wait at once. A signal during a drain that
    /// a failed task started counts as the first.
    pub async fn run(self, signals: impl Stream<Item = Signal>, drain_deadline: Duration) -> Exit {
        let mut signals = std::pin::pin!(signals.fuse());
        let mut asked = false;
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => return self.exit(),
            () = self.soft.cancelled() => {}
            Some(signal) = signals.next() => {
                tracing::info!(%signal, "draining: refusing new work, finishing accepted work");
                asked = true;
                self.soft.cancel();
            }
        }
        let mut deadline = std::pin::pin!(tokio::time::sleep(drain_deadline));
        loop {
            tokio::select! {
                () = self.tracker.wait() => return self.exit(),
                () = &mut deadline => return self.abort().await,
                Some(signal) = signals.next() => {
                    if asked {
                        tracing::warn!(%signal, "second signal, exiting without waiting for accepted work");
                        return Exit::SecondSignal(signal);
                    }
                    tracing::info!(%signal, "already draining: finishing accepted work");
                    asked = true;
                }
            }
        }
    }

    async fn abort(&self) -> Exit {
        let running = self.tasks().running.join(", ");
        tracing::error!(tasks = running, "drain deadline exceeded, aborting accepted work");
        self.hard.cancel();
        if tokio::time::timeout(ABORT_GRACE, self.tracker.wait()).await.is_err() {
            let running = self.tasks().running.join(", ");
            tracing::error!(tasks = running, "tasks did not return after the abort, exiting without them");
        }
        Exit::Failed
    }

    fn exit(&self) -> Exit {
        if self.tasks().failed { Exit::Failed } else { Exit::Finished }
    }

    /// Ignores poisoning: every change of the list is complete before a panic can
    /// happen.
    fn tasks(&self) -> std::sync::MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the stream of SIGINT and SIGTERM, and replaces the platform's default
/// handling of both.
///
/// Also handles SIGXFSZ, so that a write beyond the file size limit
/// (`ulimit -f`) is an I/O error instead of the end of the process.
///
/// # Errors
/// Returns an error if a signal handler cannot be installed.
#[cfg(unix)]
pub fn signals() -> std::io::Result<impl Stream<Item = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};

    // The handler stays installed after the handle is dropped.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(futures::stream::poll_fn(move |context| {
        if interrupt.poll_recv(context).is_ready() {
            return std::task::Poll::Ready(Some(Signal::Interrupt));
        }
        terminate.poll_recv(context).map(|received| received.map(|()| Signal::Terminate))
    }))
}

/// Returns the stream of Ctrl-C events, the only signal on this platform.
///
/// # Errors
/// Does not fail on this platform.
#[cfg(not(unix))]
pub fn signals() -> std::io::Result<impl Stream<Item = Signal>> {
    Ok(futures::stream::unfold((), |()| async {
        tokio::signal::ctrl_c().await.ok().map(|()| (Signal::Interrupt, ()))
    }))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use futures::{StreamExt as _, stream};

    use super::{Exit, Lifecycle, Signal};

    const NEVER_REACHED: Duration = Duration::from_hours(1);

    fn no_signal() -> impl futures::Stream<Item = Signal> {
        stream::pending()
    }

    fn then_quiet(signals: &[Signal]) -> impl futures::Stream<Item = Signal> + use<> {
        stream::iter(signals.to_vec()).chain(stream::pending())
    }

    #[tokio::test]
    async fn finishes_when_every_task_has_returned() {
        let life = Lifecycle::new();
        life.spawn("work", async { Ok::<(), io::Error>(()) });
        assert_eq!(life.run(no_signal(), NEVER_REACHED).await, Exit::Finished);
    }

    #[tokio::test]
    async fn signal_drains_and_waits_for_accepted_work() {
        let life = Lifecycle::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        let draining = life.draining();
        life.spawn("work", async move {
            draining.await;
            tokio::task::yield_now().await;
            done.send(()).map_err(|()| io::Error::other("the receiver is gone"))
        });
        let hard = life.hard().clone();
        assert_eq!(life.run(then_quiet(&[Signal::Terminate]), NEVER_REACHED).await, Exit::Finished);
        assert_eq!(finished.await, Ok(()));
        assert!(!hard.is_cancelled());
    }

    #[tokio::test]
    async fn failed_task_drains_the_others_and_sets_the_exit_code() {
        let life = Lifecycle::new();
        let draining = life.draining();
        life.spawn("other", async move {
            draining.await;
            Ok::<(), io::Error>(())
        });
        life.spawn("broken", async { Err(io::Error::other("no more")) });
        let exit = life.run(no_signal(), NEVER_REACHED).await;
        assert_eq!((exit, exit.code()), (Exit::Failed, 1));
    }

    #[tokio::test]
    async fn panic_is_a_failure() {
        let life = Lifecycle::new();
        let draining = life.draining();
        life.spawn("other", async move {
            draining.await;
            Ok::<(), io::Error>(())
        });
        life.spawn::<_, io::Error>("broken", async { panic!("on purpose") });
        assert_eq!(life.run(no_signal(), NEVER_REACHED).await, Exit::Failed);
    }

    #[tokio::test]
    async fn first_signal_after_a_failure_aborts_nothing() {
        let life = Lifecycle::new();
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        life.spawn("work", finished);
        life.spawn("broken", async { Err(io::Error::other("no more")) });
        let draining = life.draining();
        let signals = stream::once(async move {
            draining.await;
            Signal::Terminate
        });
        // The stream is polled again only after its signal was handled.
        let signals = signals.chain(stream::once(async move {
            assert_eq!(finish.send(()), Ok(()));
            std::future::pending().await
        }));
        assert_eq!(life.run(signals, NEVER_REACHED).await, Exit::Failed);
    }

    #[tokio::test]
    async fn second_signal_exits_without_waiting() {
        for (second, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
            let life = Lifecycle::new();
            life.spawn("stuck", std::future::pending::<io::Result<()>>());
            let exit = life.run(then_quiet(&[Signal::Terminate, second]), NEVER_REACHED).await;
            assert_eq!((exit, exit.code()), (Exit::SecondSignal(second), code));
        }
    }

    #[tokio::test]
    async fn drain_deadline_aborts_running_tasks() {
        let life = Lifecycle::new();
        let hard = life.hard().clone();
        life.spawn("slow", async move {
            hard.cancelled().await;
            Ok::<(), io::Error>(())
        });
        let aborted = life.hard().clone();
        let exit = life.run(then_quiet(&[Signal::Terminate]), Duration::from_millis(1)).await;
        assert_eq!(exit, Exit::Failed);
        assert!(aborted.is_cancelled());
    }
}
