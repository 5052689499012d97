//! How the process ends: softly when it is asked to, at once when it is asked
//! twice, and never silently after a task of it has crashed.
//!
//! Two tokens tell the tasks. The soft one means drain: take no new work, finish
//! what was accepted. The hard one means abort: the drain deadline has passed.
//! Only who takes work from outside listens to the soft one; who is given work
//! from within ends when its queue is closed, after the last of it.
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

/// How long tasks may take to notice the hard token. They only have to return.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// What a task fails with.
pub type TaskError = Box<dyn Error + Send + Sync>;

/// The handle that tasks and their makers share.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    tasks: Arc<Mutex<Tasks>>,
}

/// Who runs, to be named when the deadline cuts them, and who failed.
#[derive(Debug, Default)]
struct Tasks {
    running: Vec<&'static str>,
    failed: bool,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was accepted is finished.
    Finished,
    /// A task failed, or the deadline cut accepted work.
    Failed,
    /// A second signal: nobody was waited for.
    Impatient(Signal),
}

impl Exit {
    /// The exit code: 0, 1, or 128 and the signal's number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Failed => 1,
            Self::Impatient(Signal::Interrupt) => 130,
            Self::Impatient(Signal::Terminate) => 143,
        }
    }
}

/// A wish to end the process.
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
    /// A process that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token of the drain: when it is cancelled, refuse new work, finish
    /// what was accepted, and return.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// The token of the abort: when it is cancelled, return at once.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Resolves when the drain begins, for servers that want a future.
    pub fn draining(&self) -> WaitForCancellationFutureOwned {
        self.soft.clone().cancelled_owned()
    }

    /// Begins the drain.
    pub fn drain(&self) {
        self.soft.cancel();
    }

    /// Runs a task that the end of the process waits for. If it returns an error
    /// or panics, the process drains and its exit code says so.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        self.tasks().running.push(name);
        let this = self.clone();
        self.tracker.spawn(async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            // A panic's text is logged by the panic hook.
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(error.into().as_ref())),
                Err(_) => Some("it panicked".to_owned()),
            };
            this.ended(name, failure.as_deref());
        });
    }

    /// The same for a task that cannot fail but by a panic.
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
            tracing::error!(task = name, error = failure, "a task failed, so the process ends");
            self.soft.cancel();
        }
    }

    /// Waits for the end: until every task has returned by itself, or a drain
    /// was asked for and is over. Tasks have `drain_deadline` for it. A second
    /// signal ends the wait at once; one that comes while the process drains
    /// because a task failed is still the first.
    pub async fn run(self, signals: impl Stream<Item = Signal>, drain_deadline: Duration) -> Exit {
        let mut signals = std::pin::pin!(signals.fuse());
        let mut asked = false;
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => return self.exit(),
            () = self.soft.cancelled() => {}
            Some(signal) = signals.next() => {
                tracing::info!(%signal, "draining: new work is refused, accepted work finishes");
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
                        tracing::warn!(%signal, "a second signal: ending at once");
                        return Exit::Impatient(signal);
                    }
                    tracing::info!(%signal, "draining already: accepted work finishes");
                    asked = true;
                }
            }
        }
    }

    async fn abort(&self) -> Exit {
        let running = self.tasks().running.join(", ");
        tracing::error!(tasks = running, "the drain deadline has passed: cutting accepted work");
        self.hard.cancel();
        if tokio::time::timeout(ABORT_GRACE, self.tracker.wait()).await.is_err() {
            let running = self.tasks().running.join(", ");
            tracing::error!(tasks = running, "some tasks did not return: leaving them behind");
        }
        Exit::Failed
    }

    fn exit(&self) -> Exit {
        if self.tasks().failed { Exit::Failed } else { Exit::Finished }
    }

    /// The list stays true whatever happened while it was locked.
    fn tasks(&self) -> std::sync::MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signals of the process, from now on; the platform's own handling of them
/// is off.
///
/// A write beyond a limit on the size of files (`ulimit -f`) is a full disk: an
/// error to be answered, not the end of the process, which its signal would be.
///
/// # Errors
/// When the platform refuses to tell.
#[cfg(unix)]
pub fn signals() -> std::io::Result<impl Stream<Item = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};

    // Handled is as good as ignored, and it stays so when the handle is gone.
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

/// The signals of the process, from now on: Ctrl-C is all there is here.
///
/// # Errors
/// Never on this platform.
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
    async fn it_ends_when_every_task_has_returned() {
        let life = Lifecycle::new();
        life.spawn("work", async { Ok::<(), io::Error>(()) });
        assert_eq!(life.run(no_signal(), NEVER_REACHED).await, Exit::Finished);
    }

    #[tokio::test]
    async fn a_signal_drains_and_waits_for_accepted_work() {
        let life = Lifecycle::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        let draining = life.draining();
        life.spawn("work", async move {
            draining.await;
            tokio::task::yield_now().await;
            done.send(()).map_err(|()| io::Error::other("nobody listens"))
        });
        let hard = life.hard().clone();
        assert_eq!(life.run(then_quiet(&[Signal::Terminate]), NEVER_REACHED).await, Exit::Finished);
        assert_eq!(finished.await, Ok(()));
        assert!(!hard.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_fails_drains_the_others_and_shows_in_the_exit_code() {
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
    async fn a_panic_counts_as_a_failure() {
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
    async fn the_first_signal_after_a_failure_cuts_nothing() {
        let life = Lifecycle::new();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        life.spawn("work", told);
        life.spawn("broken", async { Err(io::Error::other("no more")) });
        let draining = life.draining();
        let signals = stream::once(async move {
            draining.await;
            Signal::Terminate
        });
        // The stream is asked again only after its signal was dealt with.
        let signals = signals.chain(stream::once(async move {
            assert_eq!(tell.send(()), Ok(()));
            std::future::pending().await
        }));
        assert_eq!(life.run(signals, NEVER_REACHED).await, Exit::Failed);
    }

    #[tokio::test]
    async fn a_second_signal_waits_for_nobody() {
        for (second, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
            let life = Lifecycle::new();
            life.spawn("stuck", std::future::pending::<io::Result<()>>());
            let exit = life.run(then_quiet(&[Signal::Terminate, second]), NEVER_REACHED).await;
            assert_eq!((exit, exit.code()), (Exit::Impatient(second), code));
        }
    }

    #[tokio::test]
    async fn the_deadline_cuts_what_still_runs_and_says_so() {
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
