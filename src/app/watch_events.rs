//! Watchers of the event log, and the task that reads the end of the log for all of them.
//!
//! If each watcher read the log after every commit, many watchers would slow the writers down. One
//! task, the tailer, reads new events and keeps the last ones in a window. Watchers take events
//! from the window by position. A watcher whose position is before the window reads the log itself,
//! page by page, until the window contains its position. The tailer never waits for a watcher.
//!
//! Delivering an event to all watchers takes more time than its commit, so watchers take turns of a
//! few events. All other ready tasks run between two turns, so many watchers delay neither commands
//! nor reads.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::Stream;
use tokio::sync::{Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::refuse::STORE_RETRY;
use super::{Committed, refuse};
use crate::domain::Refusal;
use crate::ports::{EventLog, LoggedEvent, PortError, Position, chain};

/// Maximum number of events that are read, or taken from the window, at once.
const PAGE: usize = 256;
/// Maximum number of events in the window.
const WINDOW: usize = 4_096;
/// Maximum number of events in a watcher's turn.
const TURN: usize = 16;
/// Poll interval, because notifications of other replicas may be lost.
const POLL: Duration = Duration::from_secs(1);

/// The watchers of an event log.
pub(super) struct WatchEvents {
    log: Arc<dyn EventLog>,
    committed: Committed,
    /// Cancelled to end the watchers and the tailer.
    drain: CancellationToken,
    /// The window of the running tailer, which owns it.
    window: Mutex<Weak<watch::Sender<Window>>>,
    turn: Semaphore,
}

/// The events after a position, up to the last event that the tailer has read.
struct Window {
    after: Position,
    events: VecDeque<Arc<LoggedEvent>>,
}

impl Window {
    /// Returns a page of the events after a position; `None` if the window begins later.
    fn page(&self, after: Position) -> Option<Vec<Arc<LoggedEvent>>> {
        if after < self.after {
            return None;
        }
        let first = self.events.partition_point(|logged| logged.position <= after);
        Some(self.events.range(first..).take(PAGE).cloned().collect())
    }

    fn append(&mut self, events: Vec<LoggedEvent>) {
        self.events.extend(events.into_iter().map(Arc::new));
        let surplus = self.events.len().saturating_sub(WINDOW);
        if let Some(last) = self.events.drain(..surplus).next_back() {
            self.after = last.position;
        }
    }
}

impl WatchEvents {
    /// Returns the watchers of a log. `committed` wakes the tailer.
    pub(super) fn new(log: Arc<dyn EventLog>, committed: Committed, drain: CancellationToken) -> Arc<Self> {
        Arc::new(Self { log, committed, drain, window: Mutex::default(), turn: Semaphore::new(1) })
    }

    /// Returns a stream of the events after a position.
    pub(super) fn after(
        self: &Arc<Self>,
        after: Position,
    ) -> impl Stream<Item = Result<Arc<LoggedEvent>, Refusal>> + Send + 'static {
        let watcher = Watcher {
            shared: Arc::clone(self),
            window: None,
            after,
            ready: Vec::new().into_iter(),
            ended: false,
        };
        futures::stream::unfold(watcher, |mut watcher| async move {
            let item = watcher.next().await?;
            watcher.ended = item.is_err();
            Some((item, watcher))
        })
    }

    /// Returns the window of the tailer. Starts a tailer at the end of the log if none is running.
    async fn join(&self) -> Result<watch::Receiver<Window>, PortError> {
        let running = self.current().upgrade();
        if let Some(window) = running {
            return Ok(window.subscribe());
        }
        // Marked unchanged before the end of the log is read, so that a commit in between wakes the
        // tailer.
        let mut committed = self.committed.clone();
        committed.mark_unchanged();
        let head = self.log.head().await?;
        let mut current = self.current();
        if let Some(window) = current.upgrade() {
            return Ok(window.subscribe());
        }
        let (window, joined) = watch::channel(Window { after: head, events: VecDeque::new() });
        let window = Arc::new(window);
        *current = Arc::downgrade(&window);
        let tailer = Tailer { log: Arc::clone(&self.log), committed, window, after: head };
        tokio::spawn(self.drain.clone().run_until_cancelled_owned(tailer.run()));
        Ok(joined)
    }

    /// Waits for the turn of a watcher, and lets all other ready tasks run. The permit is released
    /// before the watcher takes events, so no client can hold it.
    async fn turn(&self) {
        // The semaphore is never closed.
        let _place = self.turn.acquire().await;
        yield_now().await;
    }

    /// Ignores poisoning, because the value is always complete.
    fn current(&self) -> std::sync::MutexGuard<'_, Weak<watch::Sender<Window>>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reads the end of the log. Its end closes the window.
struct Tailer {
    log: Arc<dyn EventLog>,
    committed: Committed,
    window: Arc<watch::Sender<Window>>,
    after: Position,
}

impl Tailer {
    /// Reads new events until the last watcher is gone, or until a read fails.
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.window.closed() => return,
                () = next_commit(&mut self.committed) => {}
                () = sleep(POLL) => {}
            }
            if let Err(error) = self.read().await {
                tracing::warn!(cause = chain(&error), "the end of the event log cannot be read for watchers");
                return;
            }
        }
    }

    /// Reads the new events into the window.
    async fn read(&mut self) -> Result<(), PortError> {
        loop {
            self.committed.mark_unchanged();
            let events = self.log.feed(self.after, PAGE).await?;
            let is_full = events.len() == PAGE;
            if let Some(last) = events.last() {
                self.after = last.position;
                self.window.send_modify(|window| window.append(events));
            }
            if !is_full {
                return Ok(());
            }
        }
    }
}

/// Waits for a commit. Never returns if no writer is left.
async fn next_commit(committed: &mut Committed) {
    if committed.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// A watcher at its position.
struct Watcher {
    shared: Arc<WatchEvents>,
    window: Option<watch::Receiver<Window>>,
    after: Position,
    ready: std::vec::IntoIter<Arc<LoggedEvent>>,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Arc<LoggedEvent>, Refusal>> {
        if self.ended {
            return None;
        }
        loop {
            if self.ready.len().is_multiple_of(TURN) {
                self.shared.drain.run_until_cancelled(self.shared.turn()).await;
            }
            if self.shared.drain.is_cancelled() {
                return Some(Err(Refusal::unavailable("the service is stopping", STORE_RETRY)));
            }
            if let Some(logged) = self.ready.next() {
                self.after = logged.position;
                return Some(Ok(logged));
            }
            match self.read().await {
                Ok(events) => self.ready = events.into_iter(),
                Err(error) => return Some(Err(refuse(&error))),
            }
        }
    }

    /// Returns the next events, or none after a wait.
    async fn read(&mut self) -> Result<Vec<Arc<LoggedEvent>>, PortError> {
        let WatchEvents { log, drain, .. } = &*self.shared;
        let window = match &mut self.window {
            Some(window) => window,
            None => self.window.insert(self.shared.join().await?),
        };
        let page = window.borrow_and_update().page(self.after);
        match page {
            Some(events) if events.is_empty() => {
                let changed = drain.run_until_cancelled(window.changed()).await;
                if !matches!(changed, Some(Err(_))) {
                    return Ok(events);
                }
                // The tailer has ended.
                self.window = None;
            }
            Some(events) => return Ok(events),
            None => {}
        }
        let events = log.feed(self.after, PAGE).await?;
        if events.is_empty() && self.window.is_some() {
            // The events before the window were archived.
            drain.run_until_cancelled(sleep(POLL)).await;
        }
        Ok(events.into_iter().map(Arc::new).collect())
    }
}
