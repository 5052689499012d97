//! Turns of the connections of an endpoint.
//!
//! One thread may serve all connections. If a thousand clients connect, send large bodies or open
//! calls at the same moment, all of that is ready at once, and the requests of other clients would
//! wait behind it. So a connection reads a limited number of bytes in each turn, and starts a
//! limited number of requests at once. All other ready tasks run between two turns.
//!
//! A turn is a task of its own. A connection that waits for its turn, and is not polled, holds up
//! nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};

/// The most bytes that a connection reads in a turn. Small enough that the calls in them are
/// opened within a millisecond.
const READ: usize = 4 * 1024;

/// The most requests of all connections that start without a turn.
const STARTS: usize = 128;

/// The turns of an endpoint. Clones share them.
#[derive(Debug, Clone)]
pub struct Turns {
    next: Arc<Semaphore>,
    starts: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { next: Arc::new(Semaphore::new(1)), starts: Arc::new(Semaphore::new(STARTS)) }
    }

    /// Takes a turn, in a task that waits for it and then lets all other ready tasks run.
    fn take(&self) -> JoinHandle<()> {
        let next = Arc::clone(&self.next);
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = next.acquire().await;
            yield_now().await;
        })
    }
}

/// The turns of a connection to read. A new connection waits for its first one, because it costs
/// more than a read.
#[derive(Debug)]
pub(super) struct ReadTurns {
    turns: Turns,
    /// The bytes left of the last turn.
    left: usize,
    waiting: Option<JoinHandle<()>>,
}

impl ReadTurns {
    pub(super) fn new(turns: Turns) -> Self {
        Self { turns, left: 0, waiting: None }
    }

    /// Waits until the connection may read. Returns the most bytes.
    pub(super) fn poll_limit(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        if self.left == 0 {
            let turn = self.waiting.get_or_insert_with(|| self.turns.take());
            // Fails only if the runtime is stopping.
            _ = ready!(Pin::new(turn).poll(context));
            self.waiting = None;
            self.left = READ;
        }
        Poll::Ready(self.left)
    }

    /// Counts bytes that were read.
    pub(super) fn count(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

/// The starts of the requests of a connection.
#[derive(Debug)]
pub(super) struct StartTurns {
    turns: Turns,
    /// The line of the requests without a free start, each of which has a clone. Only its first
    /// request takes a turn, so that connections take turns, however many requests they have.
    line: Arc<Semaphore>,
}

impl StartTurns {
    pub(super) fn new(turns: Turns) -> Self {
        Self { turns, line: Arc::new(Semaphore::new(1)) }
    }

    /// Returns a future that waits until a request, which has arrived now, may start.
    pub(super) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let is_empty = Arc::strong_count(&self.line) == 1;
        let free = is_empty.then(|| Arc::clone(&self.turns.starts).try_acquire_owned().ok()).flatten();
        let waiting = free.is_none().then(|| (Arc::clone(&self.line), self.turns.clone()));
        async move {
            if let Some((line, turns)) = waiting {
                // The semaphore is never closed, and a turn fails only if the runtime is stopping.
                let _first = line.acquire().await;
                _ = turns.take().await;
            }
            drop(free);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;

    use futures::FutureExt as _;
    use tokio::task::JoinSet;

    use super::*;

    /// Takes a turn to read.
    async fn read(connection: &mut ReadTurns) {
        let limit = poll_fn(|context| connection.poll_limit(context)).await;
        connection.count(limit);
    }

    #[tokio::test]
    async fn ready_tasks_run_between_the_turns_of_connections() {
        let turns = Turns::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for name in ["a", "b"] {
            let (mut connection, order) = (ReadTurns::new(turns.clone()), Arc::clone(&order));
            tasks.spawn(async move {
                for _ in 0..2 {
                    read(&mut connection).await;
                    order.lock().unwrap().push(name);
                    let order = Arc::clone(&order);
                    tokio::spawn(async move { order.lock().unwrap().push("other") });
                }
            });
        }
        tasks.join_all().await;
        // The last task may not have run yet.
        assert_eq!(order.lock().unwrap()[..7], ["a", "other", "b", "other", "a", "other", "b"]);
    }

    #[tokio::test]
    async fn a_connection_that_is_not_polled_holds_up_nobody() {
        let turns = Turns::new();
        let mut abandoned = ReadTurns::new(turns.clone());
        assert_eq!(poll_fn(|context| abandoned.poll_limit(context)).now_or_never(), None);
        read(&mut ReadTurns::new(turns)).await;
    }

    #[tokio::test]
    async fn connections_start_requests_in_turn_however_many_they_have() {
        let turns = Turns::new();
        let (many, few) = (StartTurns::new(turns.clone()), StartTurns::new(turns));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for n in 0..STARTS + 4 {
            let (start, order) = (many.wait(), Arc::clone(&order));
            tasks.spawn(async move {
                start.await;
                order.lock().unwrap().push(format!("many {n}"));
            });
        }
        for n in 0..2 {
            let (start, order) = (few.wait(), Arc::clone(&order));
            tasks.spawn(async move {
                start.await;
                order.lock().unwrap().push(format!("few {n}"));
            });
        }
        tasks.join_all().await;
        let waited =
            order.lock().unwrap().iter().skip(STARTS).map(String::as_str).collect::<Vec<_>>().join(", ");
        assert_eq!(waited, "many 128, few 0, many 129, few 1, many 130, many 131");
    }

    #[tokio::test]
    async fn no_request_overtakes_an_earlier_one_of_its_connection() {
        let connection = StartTurns::new(Turns::new());
        let free: Vec<_> = (0..STARTS).map(|_| connection.wait()).collect();
        let waiting = tokio::spawn(connection.wait());
        drop(free);
        assert_eq!(connection.wait().now_or_never(), None, "a later request waits too");
        waiting.await.unwrap();
        assert_eq!(connection.wait().now_or_never(), Some(()), "the line is empty again");
    }
}
