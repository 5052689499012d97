//! Watchers of an event log that counts its reads. The clock of the runtime is paused; it advances
//! only when every task waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use pvz::adapters::memory::MemoryStore;
use pvz::app::{PageTokens, ReadEvents};
use pvz::domain::{OrderId, Reason, Refusal};
use pvz::ports::{EventLog, LoggedEvent, PortError, Position};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use crate::contract::fixtures::{accepted, event};
use crate::support::time::TestClock;

/// More events than the tailer keeps.
const MANY: usize = 10_000;
/// The most events that a watcher reads at once.
const PAGE: usize = 256;
/// The most events of a watcher's turn.
const TURN: usize = 16;

/// A log in memory. Positions have gaps.
#[derive(Default)]
struct TestLog {
    events: Mutex<Vec<LoggedEvent>>,
    /// Counts the calls.
    reads: AtomicUsize,
    /// The results of the next reads of the feed: true for a failure.
    failures: Mutex<VecDeque<bool>>,
    archived: Mutex<Position>,
    /// The number of times that a read yields before and after it.
    yields: usize,
}

impl TestLog {
    async fn read<T>(&self, read: impl Fn(&[LoggedEvent]) -> T) -> T {
        self.reads.fetch_add(1, Ordering::SeqCst);
        for _ in 0..self.yields {
            yield_now().await;
        }
        let found = read(&self.events.lock().unwrap());
        for _ in 0..self.yields {
            yield_now().await;
        }
        found
    }
}

#[async_trait]
impl EventLog for TestLog {
    async fn history(&self, _: &OrderId, _: i64, _: usize) -> Result<Vec<LoggedEvent>, PortError> {
        Ok(Vec::new())
    }

    async fn feed(&self, after: Position, limit: usize) -> Result<Vec<LoggedEvent>, PortError> {
        if self.failures.lock().unwrap().pop_front() == Some(true) {
            return Err(PortError::unavailable("the log cannot be read", "as planned"));
        }
        let after = after.max(*self.archived.lock().unwrap());
        let page = |events: &[LoggedEvent]| {
            let first = events.partition_point(|logged| logged.position <= after);
            events[first..].iter().take(limit).cloned().collect()
        };
        Ok(self.read(page).await)
    }

    async fn head(&self) -> Result<Position, PortError> {
        Ok(self.read(|events| events.last().map_or(Position(0), |last| last.position)).await)
    }

    async fn oldest(&self) -> Result<Position, PortError> {
        Ok(*self.archived.lock().unwrap())
    }
}

/// Test fixture: the watchers of a log, and its only writer.
struct Fixture {
    log: Arc<TestLog>,
    committed: watch::Sender<u64>,
    drain: CancellationToken,
    reads: ReadEvents,
}

type Events = BoxStream<'static, Result<Position, Refusal>>;

impl Fixture {
    fn new(log: TestLog) -> Self {
        let (log, committed, drain) = (Arc::new(log), watch::Sender::new(0), CancellationToken::new());
        let reads = ReadEvents::new(
            log.clone(),
            Arc::new(MemoryStore::new([7; 32])),
            Arc::new(TestClock::default()),
            PageTokens::new([7; 32]),
            committed.subscribe(),
            drain.clone(),
        );
        Self { log, committed, drain, reads }
    }

    /// Commits events without a notification.
    fn commit_quietly(&self, count: usize) {
        let mut events = self.log.events.lock().unwrap();
        for _ in 0..count {
            let next = position(events.len());
            events.push(LoggedEvent { position: next, event: event(&accepted("order", next.0)) });
        }
    }

    fn commit(&self, count: usize) {
        self.commit_quietly(count);
        self.committed.send_modify(|commits| *commits += 1);
    }

    async fn watch(&self, after: Option<Position>) -> Events {
        let events = self.reads.watch(after).await.unwrap();
        events.map(|item| item.map(|logged| logged.position)).boxed()
    }

    fn reads(&self) -> usize {
        self.log.reads.load(Ordering::SeqCst)
    }

    /// Waits until only the fixture uses the log, so the tailer has ended.
    async fn wait_for_the_end(&self, users: usize) {
        while Arc::strong_count(&self.log) > users {
            yield_now().await;
        }
    }
}

/// Returns the position of the event at an index.
fn position(index: usize) -> Position {
    Position(3 * i64::try_from(index).unwrap() + 1)
}

async fn assert_next(events: &mut Events, index: usize) {
    assert_eq!(events.next().await.unwrap().unwrap(), position(index));
}

/// Polls a watcher until it waits for an event.
async fn assert_waits(events: &mut Events) {
    for _ in 0..8 {
        assert!(events.next().now_or_never().is_none());
        yield_now().await;
    }
}

async fn assert_ends(mut events: Events) {
    assert_eq!(events.next().await.unwrap().unwrap_err().reason, Reason::Unavailable);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn watchers_at_the_end_of_the_log_share_its_reads() {
    const WATCHERS: usize = 100;
    const COMMITS: usize = 50;
    let fixture = Fixture::new(TestLog::default());
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let mut events = fixture.watch(None).await;
        assert_waits(&mut events).await;
        watchers.push(events);
    }
    let before = fixture.reads();
    assert!(before <= 2 * WATCHERS, "{before} reads to begin");
    for index in 0..COMMITS {
        fixture.commit(1);
        for events in &mut watchers {
            assert_next(events, index).await;
        }
    }
    let shared = fixture.reads() - before;
    assert!(shared <= 2 * COMMITS, "{shared} reads for {COMMITS} commits");
}

#[tokio::test(start_paused = true)]
async fn watchers_miss_and_repeat_nothing_under_concurrent_commits() {
    const TOTAL: usize = 15_000;
    for yields in 0..3 {
        let fixture = Fixture::new(TestLog { yields, ..TestLog::default() });
        let committed = || fixture.log.events.lock().unwrap().len();
        fixture.commit(5_000);
        let mut watchers = Vec::new();
        for number in 0..20 {
            // Positions of the oldest event, of events before, within and at the edges of the
            // window, and of the next event.
            let back = [committed(), 5_000, 4_097, 4_096, 1_000, 257, 1, 0][number % 8];
            let first = committed().saturating_sub(back);
            let after = first.checked_sub(1).map_or(Position(0), position);
            let mut events = fixture.watch(Some(after)).await;
            watchers.push(tokio::spawn(async move {
                for index in first..TOTAL {
                    assert_next(&mut events, index).await;
                    if number % 5 == 0 {
                        // This watcher is slower than the commits, so it falls behind the window.
                        yield_now().await;
                    }
                }
            }));
            for step in 0..20 {
                fixture.commit(1 + step * number % 30);
                // The notification of these commits is lost.
                fixture.commit_quietly(step % 3);
                yield_now().await;
            }
        }
        fixture.commit(TOTAL - committed());
        for watcher in watchers {
            watcher.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_falls_behind_reads_pages_itself_and_returns() {
    let fixture = Fixture::new(TestLog::default());
    let (mut slow, mut quick) = (fixture.watch(None).await, fixture.watch(None).await);
    fixture.commit(1);
    assert_next(&mut slow, 0).await;
    assert_next(&mut quick, 0).await;
    for index in 1..=MANY {
        fixture.commit(1);
        assert_next(&mut quick, index).await;
    }
    let before = fixture.reads();
    for index in 1..=MANY {
        assert_next(&mut slow, index).await;
    }
    let alone = fixture.reads() - before;
    assert!((1..=MANY / PAGE).contains(&alone), "{alone} reads");
    let before = fixture.reads();
    fixture.commit(1);
    assert_next(&mut slow, MANY + 1).await;
    assert_next(&mut quick, MANY + 1).await;
    assert_eq!(fixture.reads() - before, 1, "both take the event from the window");
}

#[tokio::test(start_paused = true)]
async fn other_tasks_run_between_the_turns_of_watchers() {
    const WATCHERS: usize = 100;
    let fixture = Fixture::new(TestLog::default());
    fixture.commit(MANY);
    let delivered = Arc::new(AtomicUsize::new(0));
    // Half of the watchers read the log themselves, and half take the events from the window.
    for number in 0..WATCHERS {
        let first = [1, MANY - 2_000][number % 2];
        let mut events = fixture.watch(Some(position(first - 1))).await;
        let delivered = Arc::clone(&delivered);
        tokio::spawn(async move {
            while events.next().await.is_some_and(|item| item.is_ok()) {
                delivered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let all = WATCHERS / 2 * (MANY - 1 + 2_000);
    let (mut before, mut most) = (0, 0);
    while before < all {
        yield_now().await;
        let after = delivered.load(Ordering::SeqCst);
        most = most.max(after - before);
        before = after;
    }
    assert!(most <= 2 * TURN, "{most} events without a pause");
}

#[tokio::test(start_paused = true)]
async fn commits_without_a_notification_are_found() {
    let fixture = Fixture::new(TestLog::default());
    let mut events = fixture.watch(None).await;
    assert_waits(&mut events).await;
    fixture.commit_quietly(1);
    assert_next(&mut events, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_continues_after_events_that_were_archived() {
    let fixture = Fixture::new(TestLog::default());
    fixture.commit(MANY);
    let mut events = fixture.watch(Some(Position(0))).await;
    assert_next(&mut events, 0).await;
    *fixture.log.archived.lock().unwrap() = position(MANY - 1);
    for index in 1..PAGE {
        assert_next(&mut events, index).await;
    }
    let next = tokio::spawn(async move { events.next().await });
    yield_now().await;
    fixture.commit(1);
    assert_eq!(next.await.unwrap().unwrap().unwrap(), position(MANY));
}

#[tokio::test(start_paused = true)]
async fn watchers_outlive_a_failed_read_of_the_tailer() {
    let fixture = Fixture::new(TestLog::default());
    let mut watchers = [fixture.watch(None).await, fixture.watch(None).await];
    for events in &mut watchers {
        assert_waits(events).await;
    }
    fixture.log.failures.lock().unwrap().push_back(true);
    for index in 0..3 {
        fixture.commit(1);
        for events in &mut watchers {
            assert_next(events, index).await;
        }
    }
    assert!(fixture.log.failures.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_ends_its_watchers() {
    let fixture = Fixture::new(TestLog::default());
    let (mut first, mut second) = (fixture.watch(None).await, fixture.watch(None).await);
    assert_waits(&mut first).await;
    assert_waits(&mut second).await;
    let watchers = [first, second].map(|events| tokio::spawn(assert_ends(events)));
    fixture.log.failures.lock().unwrap().extend([true; 3]);
    fixture.commit(1);
    for watcher in watchers {
        watcher.await.unwrap();
    }
    let mut events = fixture.watch(Some(Position(0))).await;
    for index in 0..3 {
        assert_next(&mut events, index).await;
        fixture.commit(1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_tailer_ends_with_its_last_watcher() {
    let fixture = Fixture::new(TestLog::default());
    let idle = Arc::strong_count(&fixture.log);
    for index in 0..3 {
        let (mut events, other) = (fixture.watch(None).await, fixture.watch(None).await);
        assert_waits(&mut events).await;
        fixture.commit(1);
        assert_next(&mut events, index).await;
        drop((events, other));
        fixture.wait_for_the_end(idle).await;
    }
    let before = fixture.reads();
    fixture.commit(1);
    yield_now().await;
    assert_eq!(fixture.reads(), before, "nobody reads a log without watchers");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_watchers_and_tailer() {
    let fixture = Fixture::new(TestLog::default());
    let idle = Arc::strong_count(&fixture.log);
    fixture.commit(MANY);
    // One watcher waits for an event, and the other has events that it has not taken.
    let mut waiting = fixture.watch(None).await;
    assert_waits(&mut waiting).await;
    let mut behind = fixture.watch(Some(Position(0))).await;
    assert_next(&mut behind, 0).await;
    fixture.drain.cancel();
    assert_ends(waiting).await;
    assert_ends(behind).await;
    fixture.wait_for_the_end(idle).await;
}
