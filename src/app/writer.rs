//! The writer pool: waiting commands share a durable commit. A lone command commits at once;
//! under load a commit holds hundreds of commands.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::queue::{Claim, Claims, Queue, claims};
use super::refuse::{STORE_RETRY, refuse, unavailable};
use super::{BatchDecider, Caller, Entry, PublishChanges};
use crate::domain::{Command, Policy, Refusal, RequestId};
use crate::ports::{Clock, ErrorKind, Ids, OrderStore, Outcome, PortError, chain};

/// Retry delay for a caller that found the queue full.
const OVERLOADED_RETRY: Duration = Duration::from_millis(250);
/// Pause before a failed batch is retried, doubled each time up to the maximum.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// The limits of the pool.
#[derive(Debug, Clone, Copy)]
pub struct WriterLimits {
    /// Maximum number of waiting commands.
    pub queue: usize,
    /// Maximum number of commands in a commit.
    pub batch: usize,
    /// Time for which a failed batch is retried, within the deadlines of its commands.
    pub retry_budget: Duration,
}

/// The behaviour of a command when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The command is refused with `OVERLOADED`.
    Immediate,
    /// The command waits for a place. Such commands hold the places of one batch, and at most half
    /// of the queue, so that a command of the pickup point waits behind few rows of imports.
    Wait,
}

/// The number of answered batches, whether or not they changed anything. Watchers of the log
/// wait for it to change.
pub type Committed = watch::Receiver<u64>;

/// The writer pool. Clones share it.
#[derive(Clone)]
pub struct Writer(Arc<Pool>);

struct Pool {
    store: Arc<dyn OrderStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    policy: Arc<Policy>,
    limits: WriterLimits,
    changes: PublishChanges,
    permits: Arc<Semaphore>,
    waiting_permits: Arc<Semaphore>,
    state: Mutex<WriterState>,
    wake: Notify,
    committed: watch::Sender<u64>,
}

#[derive(Default)]
struct WriterState {
    queue: Queue<Job>,
    closed: bool,
}

/// The next step of a worker.
enum Next {
    Batch(Vec<Job>),
    /// A batch is due after this time.
    In(Duration),
    /// The queue is empty, or every job waits for a running batch.
    Unknown,
    End,
}

/// A command in the queue.
struct Job {
    entry: Arc<Entry>,
    claims: Vec<Claim>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Outcome, Refusal>>,
    /// Released when the batch starts.
    _permit: QueuePermit,
}

struct QueuePermit {
    _queue: OwnedSemaphorePermit,
    _waiting: Option<OwnedSemaphorePermit>,
}

impl Claims for Job {
    fn claims(&self) -> &[Claim] {
        &self.claims
    }
}

impl Writer {
    /// Returns a pool without workers. Spawn [`Writer::work`] once per worker.
    pub fn new(
        store: Arc<dyn OrderStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        policy: Arc<Policy>,
        limits: WriterLimits,
        changes: PublishChanges,
    ) -> Self {
        Self(Arc::new(Pool {
            store,
            clock,
            ids,
            policy,
            limits,
            changes,
            permits: Arc::new(Semaphore::new(limits.queue)),
            waiting_permits: Arc::new(Semaphore::new(limits.batch.min(limits.queue / 2).max(1))),
            state: Mutex::default(),
            wake: Notify::new(),
            committed: watch::Sender::new(0),
        }))
    }

    /// Returns a receiver that changes after every answered batch.
    pub fn committed(&self) -> Committed {
        self.0.committed.subscribe()
    }

    /// Returns the sender, to report commits of other replicas.
    pub fn commit_counter(&self) -> watch::Sender<u64> {
        self.0.committed.clone()
    }

    /// Returns the changes of its batches, for the other replicas.
    pub fn changes(&self) -> PublishChanges {
        self.0.changes.clone()
    }

    /// Runs a command in the next batch and returns its outcome after the commit
    /// is durable.
    ///
    /// # Errors
    /// After `OVERLOADED`, nothing happened. After `DEADLINE_EXCEEDED`,
    /// `UNAVAILABLE` or `INTERNAL`, the command may have taken effect.
    pub async fn submit(
        &self,
        command: Command,
        caller: &Caller,
        request_id: Option<RequestId>,
        admission: Admission,
    ) -> Result<Outcome, Refusal> {
        let answer = self.enqueue_and_wait(command, caller, request_id, admission);
        timeout_at(caller.deadline, answer).await.unwrap_or_else(|_| Err(Refusal::deadline_exceeded()))
    }

    async fn enqueue_and_wait(
        &self,
        command: Command,
        caller: &Caller,
        request_id: Option<RequestId>,
        admission: Admission,
    ) -> Result<Outcome, Refusal> {
        let pool = &self.0;
        let deadline = caller.deadline;
        let permit = pool.permit(admission, deadline).await?;
        let entry = Entry::new(command, caller.actor.clone(), &caller.scope, request_id, &pool.policy);
        let entry = entry.traced(caller.traceparent.clone());
        let claims = claims(&entry);
        let (reply, answer) = oneshot::channel();
        pool.enqueue(Job { entry: Arc::new(entry), claims, deadline, reply, _permit: permit })?;
        let stopped = || Refusal::unavailable("the service stopped before it answered", STORE_RETRY);
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Closes the queue. Workers end after they have run the waiting commands.
    pub fn close(&self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
    }

    /// Runs a worker, until the pool is closed and the queue is empty.
    pub async fn work(self) {
        let pool = &self.0;
        loop {
            // Registered before the queue is read, so that no wake-up is lost.
            let woken = pool.wake.notified();
            // Yields once, so that commands which have already arrived share the commit.
            yield_now().await;
            let batch = match pool.next() {
                Next::Batch(batch) => batch,
                Next::In(time) => {
                    // Woken or timed out: the queue is read again.
                    let _ = timeout(time, woken).await;
                    continue;
                }
                Next::Unknown => {
                    woken.await;
                    continue;
                }
                Next::End => {
                    pool.wake.notify_one();
                    return;
                }
            };
            pool.wake_another();
            let claims: Vec<Claim> = batch.iter().flat_map(Claims::claims).copied().collect();
            let jobs = batch.len();
            pool.run(batch).await;
            pool.state().queue.release(jobs, &claims);
        }
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next {
        let mut state = self.state();
        match state.queue.due_in() {
            None if state.closed && state.queue.is_empty() => Next::End,
            None => Next::Unknown,
            Some(time) if !time.is_zero() && !state.closed => Next::In(time),
            Some(_) => {
                let batch = state.queue.take(self.limits.batch);
                if batch.is_empty() { Next::Unknown } else { Next::Batch(batch) }
            }
        }
    }

    /// Wakes another worker, because further batches or skipped jobs may wait.
    fn wake_another(&self) {
        if !self.state().queue.is_empty() {
            self.wake.notify_one();
        }
    }

    async fn permit(&self, admission: Admission, deadline: Instant) -> Result<QueuePermit, Refusal> {
        let stopped = |_: AcquireError| Refusal::unavailable("the service is stopping", STORE_RETRY);
        match admission {
            Admission::Immediate => {
                let queue = Arc::clone(&self.permits).try_acquire_owned();
                let queue = queue.map_err(|_| Refusal::overloaded(OVERLOADED_RETRY))?;
                Ok(QueuePermit { _queue: queue, _waiting: None })
            }
            Admission::Wait => {
                let waiting = Arc::clone(&self.waiting_permits).acquire_owned();
                let queue = Arc::clone(&self.permits).acquire_owned();
                let permits = timeout_at(deadline, async { Ok((waiting.await?, queue.await?)) }).await;
                let (waiting, queue) = permits.map_err(|_| Refusal::deadline_exceeded())?.map_err(stopped)?;
                Ok(QueuePermit { _queue: queue, _waiting: Some(waiting) })
            }
        }
    }

    fn enqueue(&self, job: Job) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.closed {
            return Err(Refusal::unavailable("the service is stopping", STORE_RETRY));
        }
        let tell = state.queue.push(job);
        drop(state);
        if tell {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Runs a batch and answers its jobs.
    async fn run(&self, batch: Vec<Job>) {
        let now = Instant::now();
        let mut waiting = Vec::with_capacity(batch.len());
        for job in batch {
            // The caller is gone or the deadline has passed, so the command is dropped.
            if job.reply.is_closed() {
                continue;
            }
            if job.deadline <= now {
                answer(job.reply, Err(Refusal::deadline_exceeded()));
                continue;
            }
            waiting.push(Waiting { entry: job.entry, deadline: job.deadline, reply: job.reply });
        }
        self.run_until_answered(waiting).await;
    }

    /// Retries a batch with backoff while the store fails, within the retry budget and the
    /// deadlines. Logs one line for all failed attempts.
    async fn run_until_answered(&self, mut waiting: Vec<Waiting>) {
        let give_up = Instant::now() + self.limits.retry_budget;
        let mut backoff = FIRST_BACKOFF;
        let (mut failures, mut refused, mut cause) = (0_u32, 0, String::new());
        while !waiting.is_empty() {
            let error = match self.attempt(&waiting).await {
                Ok(outcomes) => {
                    if failures > 0 {
                        tracing::warn!(cause, failures, refused, "batch committed after failed attempts");
                    }
                    return self.deliver(waiting, outcomes);
                }
                Err(error) => error,
            };
            // If it ran again, a command without a `request_id` would see its own effect.
            if error.kind() == ErrorKind::InDoubt {
                return refuse_all(waiting, &refuse(&error));
            }
            if !error.retryable() {
                return self.isolate(waiting, &error).await;
            }
            let next = Instant::now() + backoff;
            let budget_left = next < give_up;
            let (retry, spent): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|job| budget_left && job.deadline > next);
            failures += 1;
            refused += spent.len();
            cause = chain(&error);
            refuse_all(spent, &unavailable());
            waiting = retry.into_iter().filter(|job| !job.reply.is_closed()).collect();
            if !waiting.is_empty() {
                tracing::debug!(cause, commands = waiting.len(), "batch failed, retrying");
                sleep(backoff).await;
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
        if failures > 0 {
            tracing::warn!(cause, failures, refused, "batch failed, its commands were refused");
        }
    }

    async fn attempt(&self, waiting: &[Waiting]) -> Result<Vec<Outcome>, PortError> {
        let entries = waiting.iter().map(|job| Arc::clone(&job.entry)).collect();
        let (policy, clock, ids) = (Arc::clone(&self.policy), Arc::clone(&self.clock), Arc::clone(&self.ids));
        let decider = Arc::new(BatchDecider::new(entries, policy, clock, ids));
        let batch = decider.batch();
        let order_ids = batch.order_ids.clone();
        let fence = self.changes.begin(&order_ids);
        let transact = self.store.transact(batch, Arc::<BatchDecider>::clone(&decider));
        let done = match AssertUnwindSafe(transact).catch_unwind().await {
            Ok(Ok(outcomes)) if outcomes.len() == waiting.len() => Ok(outcomes),
            Ok(Ok(_)) => Err(PortError::inconsistent("the store returned a wrong number of outcomes")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(PortError::inconsistent("the store panicked")),
        };
        match &done {
            Ok(_) => self.changes.committed(&fence, decider.take_decided()).await,
            Err(_) => self.changes.failed(&order_ids).await,
        }
        done
    }

    /// A failure that is not retryable is caused by one command. Each command is run alone, so
    /// that only this one fails.
    async fn isolate(&self, waiting: Vec<Waiting>, error: &PortError) {
        if let [_] = waiting.as_slice() {
            return refuse_all(waiting, &refuse(error));
        }
        for job in waiting {
            let alone = vec![job];
            match self.attempt(&alone).await {
                Ok(outcomes) => self.deliver(alone, outcomes),
                Err(error) => refuse_all(alone, &refuse(&error)),
            }
        }
    }

    fn deliver(&self, waiting: Vec<Waiting>, outcomes: Vec<Outcome>) {
        // Wakes watchers before the answers are sent, so that a caller with an answer finds its
        // event in the log.
        self.committed.send_modify(|batches| *batches += 1);
        for (job, outcome) in waiting.into_iter().zip(outcomes) {
            answer(job.reply, Ok(outcome));
        }
    }
}

/// A job whose batch has started.
struct Waiting {
    entry: Arc<Entry>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Outcome, Refusal>>,
}

fn refuse_all(jobs: Vec<Waiting>, refusal: &Refusal) {
    for job in jobs {
        answer(job.reply, Err(refusal.clone()));
    }
}

/// Sends the answer. The caller may be gone.
fn answer(reply: oneshot::Sender<Result<Outcome, Refusal>>, outcome: Result<Outcome, Refusal>) {
    let _ = reply.send(outcome);
}
