//! The writer pool: commands that wait share one durable commit. A lone command
//! commits at once; under load hundreds go together.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::queue::{Claim, Claims, Queue, claims};
use super::refuse::{STORE_RETRY, refuse};
use super::{BatchDecider, Caller, Entry};
use crate::domain::{Command, Policy, Refusal, RequestId};
use crate::ports::{Clock, ErrorKind, Ids, OrderStore, Outcome, PortError, chain};

/// How long a caller that found the queue full should wait.
const OVERLOADED_RETRY: Duration = Duration::from_millis(250);
/// The pause before a batch is tried again, doubled each time up to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// The size of the pool.
#[derive(Debug, Clone, Copy)]
pub struct WriterLimits {
    /// How many commands may wait.
    pub queue: usize,
    /// How many commands share a commit at most.
    pub batch: usize,
    /// How long a batch is tried again after a failure of the store, within
    /// the deadlines of its commands.
    pub retry_budget: Duration,
}

/// How a command gets its place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// At once, or it is refused with `OVERLOADED`.
    Immediate,
    /// It waits for one; at most half of the places go to such commands, so
    /// that an import never crowds out the counter.
    Patient,
}

/// Counts the batches that were answered, whether they changed something or
/// not; who watches the log waits on it.
pub type Committed = watch::Receiver<u64>;

/// The pool. Clones share it.
#[derive(Clone)]
pub struct Writer(Arc<Pool>);

struct Pool {
    store: Arc<dyn OrderStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    policy: Arc<Policy>,
    limits: WriterLimits,
    places: Arc<Semaphore>,
    patient_places: Arc<Semaphore>,
    state: Mutex<WriterState>,
    wake: Notify,
    committed: watch::Sender<u64>,
}

#[derive(Default)]
struct WriterState {
    queue: Queue<Job>,
    closed: bool,
}

/// What a worker does next.
enum Next {
    Batch(Vec<Job>),
    /// What waits is to be taken after that time.
    In(Duration),
    /// Nothing waits, or only what stands behind a batch that is under way.
    Unknown,
    End,
}

/// A command that waits for its batch.
struct Job {
    entry: Arc<Entry>,
    claims: Vec<Claim>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Outcome, Refusal>>,
    /// Given back when the batch begins.
    _permit: QueuePermit,
}

struct QueuePermit {
    _queue: OwnedSemaphorePermit,
    _patient: Option<OwnedSemaphorePermit>,
}

impl Claims for Job {
    fn claims(&self) -> &[Claim] {
        &self.claims
    }
}

impl Writer {
    /// A pool without workers; spawn [`Writer::work`] as often as workers are
    /// wanted.
    pub fn new(
        store: Arc<dyn OrderStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        policy: Arc<Policy>,
        limits: WriterLimits,
    ) -> Self {
        Self(Arc::new(Pool {
            store,
            clock,
            ids,
            policy,
            limits,
            places: Arc::new(Semaphore::new(limits.queue)),
            patient_places: Arc::new(Semaphore::new((limits.queue / 2).max(1))),
            state: Mutex::default(),
            wake: Notify::new(),
            committed: watch::Sender::new(0),
        }))
    }

    /// Tells of every batch that was answered.
    pub fn committed(&self) -> Committed {
        self.0.committed.subscribe()
    }

    /// For whoever knows of commits elsewhere, and wakes for them as well.
    pub fn commit_counter(&self) -> watch::Sender<u64> {
        self.0.committed.clone()
    }

    /// Runs a command in the next batch, and answers when it is durable.
    ///
    /// # Errors
    /// `OVERLOADED` and a passed deadline before the batch began: nothing
    /// happened. `UNAVAILABLE`, `INTERNAL`, and a deadline that passed later:
    /// it may have.
    pub async fn submit(
        &self,
        command: Command,
        caller: &Caller,
        request_id: Option<RequestId>,
        admission: Admission,
    ) -> Result<Outcome, Refusal> {
        let answer = self.enter(command, caller, request_id, admission);
        timeout_at(caller.deadline, answer).await.unwrap_or_else(|_| Err(Refusal::deadline_exceeded()))
    }

    /// The same for whoever counts down to the deadline already: a timer for
    /// each command would be 1 % of the server's CPU time.
    ///
    /// # Errors
    /// Those of [`Writer::submit`], but that nothing ends the wait once the
    /// batch has begun.
    pub async fn enter(
        &self,
        command: Command,
        caller: &Caller,
        request_id: Option<RequestId>,
        admission: Admission,
    ) -> Result<Outcome, Refusal> {
        let pool = &self.0;
        let deadline = caller.deadline;
        // Before the rest, so that a future that waits for its answer holds that
        // and little else.
        let place = pool.permit(admission, deadline).await?;
        let entry = Entry::new(command, caller.actor.clone(), &caller.scope, request_id, &pool.policy);
        let entry = entry.traced(caller.traceparent.clone());
        let claims = claims(&entry);
        let (reply, answer) = oneshot::channel();
        pool.enqueue(Job { entry: Arc::new(entry), claims, deadline, reply, _permit: place })?;
        let stopped = || Refusal::unavailable("the service stopped before it answered", STORE_RETRY);
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Takes no more commands; workers end when they have done what waits.
    pub fn close(&self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
    }

    /// A worker. It ends once the pool is closed and nothing waits.
    pub async fn work(self) {
        let pool = &self.0;
        loop {
            // Registered before the queue is looked at, so that no wake-up is
            // lost in between.
            let woken = pool.wake.notified();
            // Whatever has arrived gets its place first: no time passes by, but
            // at a busy hour each commit is shared by more.
            yield_now().await;
            let batch = match pool.next() {
                Next::Batch(batch) => batch,
                Next::In(time) => {
                    // Woken or not, the queue is looked at again.
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

    /// More than one batch may wait, or jobs that the last taker had to leave.
    fn wake_another(&self) {
        if !self.state().queue.is_empty() {
            self.wake.notify_one();
        }
    }

    async fn permit(&self, admission: Admission, deadline: Instant) -> Result<QueuePermit, Refusal> {
        let stopped = |_: AcquireError| Refusal::unavailable("the service is stopping", STORE_RETRY);
        match admission {
            Admission::Immediate => {
                let queue = Arc::clone(&self.places).try_acquire_owned();
                let queue = queue.map_err(|_| Refusal::overloaded(OVERLOADED_RETRY))?;
                Ok(QueuePermit { _queue: queue, _patient: None })
            }
            Admission::Patient => {
                let patient = Arc::clone(&self.patient_places).acquire_owned();
                let queue = Arc::clone(&self.places).acquire_owned();
                let places = timeout_at(deadline, async { Ok((patient.await?, queue.await?)) }).await;
                let (patient, queue) = places.map_err(|_| Refusal::deadline_exceeded())?.map_err(stopped)?;
                Ok(QueuePermit { _queue: queue, _patient: Some(patient) })
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

    /// Runs a batch, and answers every job in it.
    async fn run(&self, batch: Vec<Job>) {
        let now = Instant::now();
        let mut waiting = Vec::with_capacity(batch.len());
        for job in batch {
            // Nobody waits for it, so it is not begun.
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

    /// Tries a batch again while the store fails, with backoff, as long as its
    /// budget and the deadlines last.
    async fn run_until_answered(&self, mut waiting: Vec<Waiting>) {
        let give_up = Instant::now() + self.limits.retry_budget;
        let mut backoff = FIRST_BACKOFF;
        while !waiting.is_empty() {
            let error = match self.attempt(&waiting).await {
                Ok(outcomes) => return self.deliver(waiting, outcomes),
                Err(error) => error,
            };
            // Run again, a command without a key would be answered for what it
            // may have done itself.
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
            if !spent.is_empty() {
                refuse_all(spent, &refuse(&error));
            }
            waiting = retry.into_iter().filter(|job| !job.reply.is_closed()).collect();
            if !waiting.is_empty() {
                tracing::warn!(cause = chain(&error), commands = waiting.len(), "a batch is tried again");
                sleep(backoff).await;
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    async fn attempt(&self, waiting: &[Waiting]) -> Result<Vec<Outcome>, PortError> {
        let entries = waiting.iter().map(|job| Arc::clone(&job.entry)).collect();
        let (policy, clock, ids) = (Arc::clone(&self.policy), Arc::clone(&self.clock), Arc::clone(&self.ids));
        let decider = Arc::new(BatchDecider::new(entries, policy, clock, ids));
        let batch = decider.batch();
        let done = AssertUnwindSafe(self.store.transact(batch, decider)).catch_unwind().await;
        match done {
            Ok(Ok(outcomes)) if outcomes.len() == waiting.len() => Ok(outcomes),
            Ok(Ok(_)) => Err(PortError::inconsistent("the store answered another number of commands")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(PortError::inconsistent("the store panicked")),
        }
    }

    /// A failure that repeating does not mend is somebody's: each command is
    /// run alone, so that only that one fails.
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
        // Before the answers, so that whoever has one finds the log awake.
        self.committed.send_modify(|batches| *batches += 1);
        for (job, outcome) in waiting.into_iter().zip(outcomes) {
            answer(job.reply, Ok(outcome));
        }
    }
}

/// A job whose batch has begun.
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

/// Answers, unless the caller has gone: then there is nobody to tell.
fn answer(reply: oneshot::Sender<Result<Outcome, Refusal>>, outcome: Result<Outcome, Refusal>) {
    let _ = reply.send(outcome);
}
