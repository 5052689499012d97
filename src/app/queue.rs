//! The command queue. A worker takes all waiting commands, up to a limit. Commands on the same
//! order, or with the same idempotency key, are never in two batches at once, and run in order
//! of arrival.
//!
//! If no batch is running, a command is taken at once. While a batch is running, the next one is
//! closed late: stores commit batches one after the other, so a batch that is closed early only
//! waits in the store, and commands that arrive later wait for the batch after it. A batch that
//! is closed when it is nearly as large as the running one is ready when that one is done, and
//! larger (benches/README.md).

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

use super::Entry;

/// A claim: the hash of an order id or of an idempotency key. Entries with the same claim run in
/// order. A collision only makes a command wait.
pub type Claim = u64;

/// Returns the claims of an entry.
pub fn claims(entry: &Entry) -> Vec<Claim> {
    let orders = entry.order_ids().iter().map(hash);
    orders.chain(entry.idempotency_key().map(hash)).collect()
}

fn hash(value: &impl Hash) -> Claim {
    /// Random keys, so that clients cannot choose colliding ids.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(value)
}

/// The next batch is closed when it has three quarters of the average size of the running
/// batches.
const CLOSE_RATIO: (usize, usize) = (3, 4);
/// Maximum time that a command waits for the batch to fill. A batch of a hundred takes about as
/// long.
const MAX_WAIT: Duration = Duration::from_millis(2);

/// A job with its claims.
pub trait Claims {
    /// Returns the claims.
    fn claims(&self) -> &[Claim];
}

/// The waiting jobs, and the claims of the running batches.
#[derive(Debug)]
pub struct Queue<J> {
    waiting: VecDeque<J>,
    claimed: HashSet<Claim, BuildHasherDefault<Hashed>>,
    /// The number of running batches, and of the jobs in them.
    batches_running: usize,
    jobs_running: usize,
    /// The instant since which a job waits that may be taken.
    waiting_since: Option<Instant>,
}

/// A hasher for claims, which are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, claim: u64) {
        self.0 ^= claim;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            claimed: HashSet::default(),
            batches_running: 0,
            jobs_running: 0,
            waiting_since: None,
        }
    }
}

impl<J: Claims> Queue<J> {
    /// Appends a job. Returns true if a worker must be woken: because the batch is due, or
    /// because no worker waits for it to become due.
    pub fn push(&mut self, job: J) -> bool {
        self.waiting.push_back(job);
        let first = self.waiting_since.is_none();
        if first {
            self.waiting_since = Some(Instant::now());
        }
        first || self.is_due()
    }

    /// Returns the time until the next batch is due; zero if it is due now, `None` if the queue
    /// is empty or every job waits for a running batch.
    pub fn due_in(&self) -> Option<Duration> {
        let since = self.waiting_since?;
        Some(if self.is_due() { Duration::ZERO } else { MAX_WAIT.saturating_sub(since.elapsed()) })
    }

    fn is_due(&self) -> bool {
        let (numerator, denominator) = CLOSE_RATIO;
        self.waiting.len() * self.batches_running * denominator >= self.jobs_running * numerator
    }

    /// Returns true if the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes up to `limit` jobs that share no claim with a running batch, in order of arrival. A
    /// job that must wait keeps back every later job that shares a claim with it.
    pub fn take(&mut self, limit: usize) -> Vec<J> {
        let batch: Vec<J> = if self.claimed.is_empty() {
            let count = limit.min(self.waiting.len());
            self.waiting.drain(..count).collect()
        } else {
            self.take_free(limit)
        };
        self.claimed.extend(batch.iter().flat_map(Claims::claims));
        self.batches_running += usize::from(!batch.is_empty());
        self.jobs_running += batch.len();
        self.waiting_since =
            if batch.is_empty() || self.waiting.is_empty() { None } else { Some(Instant::now()) };
        batch
    }

    fn take_free(&mut self, limit: usize) -> Vec<J> {
        let mut blocked = self.claimed.clone();
        let mut batch = Vec::new();
        let mut left = VecDeque::with_capacity(self.waiting.len());
        for job in self.waiting.drain(..) {
            let free = batch.len() < limit && job.claims().iter().all(|claim| !blocked.contains(claim));
            if free {
                batch.push(job);
            } else {
                blocked.extend(job.claims());
                left.push_back(job);
            }
        }
        self.waiting = left;
        batch
    }

    /// Ends a batch: releases its jobs and claims.
    pub fn release<'a>(&mut self, jobs: usize, claims: impl IntoIterator<Item = &'a Claim>) {
        self.batches_running -= 1;
        self.jobs_running -= jobs;
        for claim in claims {
            self.claimed.remove(claim);
        }
        // Jobs that waited for this batch may be free now.
        if self.waiting_since.is_none() && !self.waiting.is_empty() {
            self.waiting_since = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Job(u32, Vec<Claim>);

    impl Claims for Job {
        fn claims(&self) -> &[Claim] {
            &self.1
        }
    }

    fn names(batch: &[Job]) -> Vec<u32> {
        batch.iter().map(|job| job.0).collect()
    }

    #[test]
    fn takes_all_waiting_jobs_up_to_the_limit() {
        let mut queue = Queue::default();
        for n in 0..5 {
            queue.push(Job(n, vec![u64::from(n)]));
        }
        assert_eq!(names(&queue.take(3)), [0, 1, 2]);
        assert_eq!(names(&queue.take(3)), [3, 4]);
        assert!(queue.take(3).is_empty());
    }

    #[test]
    fn two_commands_on_one_order_share_a_batch() {
        let mut queue = Queue::default();
        queue.push(Job(0, vec![7]));
        queue.push(Job(1, vec![7]));
        assert_eq!(names(&queue.take(8)), [0, 1]);
    }

    #[test]
    fn jobs_with_a_running_claim_wait_and_keep_their_order() {
        let mut queue = Queue::default();
        queue.push(Job(0, vec![1]));
        let first = queue.take(8);
        queue.push(Job(1, vec![1, 2]));
        queue.push(Job(2, vec![2]));
        queue.push(Job(3, vec![3]));
        assert_eq!(names(&queue.take(8)), [3], "2 shares a claim with 1, which waits for 0");
        assert!(queue.take(8).is_empty());
        assert_eq!(queue.due_in(), None, "every job waits for a running batch");
        assert!(queue.push(Job(4, vec![4])), "this job shares no claim, so a worker is woken");
        assert_eq!(names(&queue.take(8)), [4]);
        queue.take(8);
        queue.release(first.len(), first[0].claims());
        assert!(queue.due_in().is_some());
        assert_eq!(names(&queue.take(8)), [1, 2]);
    }

    /// Pushes jobs and returns those for which a worker was woken.
    fn push_and_list_wakeups(queue: &mut Queue<Job>, jobs: std::ops::Range<u32>) -> Vec<u32> {
        jobs.filter(|n| queue.push(Job(*n, vec![u64::from(*n)]))).collect()
    }

    #[test]
    fn lone_batch_is_due_at_once() {
        let mut queue = Queue::default();
        assert_eq!(queue.due_in(), None);
        assert_eq!(push_and_list_wakeups(&mut queue, 0..3), [0, 1, 2]);
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn batch_beside_a_running_one_is_due_when_nearly_as_large() {
        let mut queue = Queue::default();
        push_and_list_wakeups(&mut queue, 0..8);
        let first = queue.take(8);
        assert_eq!(queue.due_in(), None);
        // The first wakes a worker, which waits for the batch to become due.
        assert_eq!(push_and_list_wakeups(&mut queue, 10..17), [10, 15, 16]);
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
        let second = queue.take(8);
        // The average of 8 and 7, times three quarters, is 6.
        assert_eq!(push_and_list_wakeups(&mut queue, 20..26), [20, 25]);
        assert_eq!(second.len(), 7);
        queue.release(first.len(), first.iter().flat_map(Claims::claims));
        queue.release(second.len(), second.iter().flat_map(Claims::claims));
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn batch_beside_a_running_one_is_due_after_the_maximum_wait() {
        let mut queue = Queue::default();
        push_and_list_wakeups(&mut queue, 0..8);
        queue.take(8);
        push_and_list_wakeups(&mut queue, 10..11);
        assert_eq!(queue.due_in(), Some(MAX_WAIT));
        tokio::time::advance(MAX_WAIT / 2).await;
        push_and_list_wakeups(&mut queue, 11..12);
        assert_eq!(queue.due_in(), Some(MAX_WAIT / 2));
        tokio::time::advance(MAX_WAIT / 2).await;
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
        assert_eq!(names(&queue.take(1)), [10]);
        // The remaining jobs wait again.
        assert_eq!(queue.due_in(), Some(MAX_WAIT));
    }
}
