//! What waits for the writers. A worker takes all that waits, up to a limit;
//! but commands on one order, or with one key, are never in two workers'
//! hands, and go in order of arrival.
//!
//! While nothing is under way, a command is taken at once, however few there
//! are. Beside a batch that is under way, the next is closed late: a store
//! commits one after the other, so what is taken early only waits there, and
//! what comes meanwhile has to wait for the batch after that. Taken when it is
//! nearly as large as the one before, the next one is there when that is done,
//! and large: 77 commands in the place of 58, which makes a tenth to a fifth more
//! accepts on PostgreSQL (benches/README.md).

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

use super::Entry;

/// What commands compete for: the hash of an order id or of a record key. Two
/// with one hash only wait for each other without need.
pub type Claim = u64;

/// Everything that an entry competes for.
pub fn claims(entry: &Entry) -> Vec<Claim> {
    let orders = entry.order_ids().iter().map(hash);
    orders.chain(entry.idempotency_key().map(hash)).collect()
}

fn hash(value: &impl Hash) -> Claim {
    /// Nobody can choose ids whose claims collide.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(value)
}

/// Which part of the batches under way must wait before it is taken beside
/// them: three quarters of their average.
const PART: (usize, usize) = (3, 4);
/// How long a command is kept waiting for that at most. A batch of a hundred is
/// done in about this time; one that is stuck keeps nobody.
const PATIENCE: Duration = Duration::from_millis(2);

/// Something that waits, with its claims.
pub trait Claims {
    /// What it competes for.
    fn claims(&self) -> &[Claim];
}

/// The queue, and what is in the workers' hands.
#[derive(Debug)]
pub struct Queue<J> {
    waiting: VecDeque<J>,
    taken: HashSet<Claim, BuildHasherDefault<Hashed>>,
    /// How many batches are under way, and of how many jobs in all.
    batches: usize,
    in_hand: usize,
    /// Since when something waits that may be taken, as far as anybody looked.
    since: Option<Instant>,
}

/// A claim is a hash already.
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
        Self { waiting: VecDeque::new(), taken: HashSet::default(), batches: 0, in_hand: 0, since: None }
    }
}

impl<J: Claims> Queue<J> {
    /// Adds a job at the end, and says whether a worker must be told: because
    /// what waits is due, or because nobody counts down to that yet.
    pub fn push(&mut self, job: J) -> bool {
        self.waiting.push_back(job);
        let first = self.since.is_none();
        if first {
            self.since = Some(Instant::now());
        }
        first || self.is_enough()
    }

    /// How long what waits is to wait yet; zero if it is to be taken now, and
    /// `None` if nothing waits, or only what stands behind a batch under way.
    pub fn due_in(&self) -> Option<Duration> {
        let since = self.since?;
        Some(if self.is_enough() { Duration::ZERO } else { PATIENCE.saturating_sub(since.elapsed()) })
    }

    fn is_enough(&self) -> bool {
        let (part, whole) = PART;
        self.waiting.len() * self.batches * whole >= self.in_hand * part
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes up to `limit` jobs that no other worker stands in the way of, in
    /// order of arrival. A job that must wait keeps back every later one that
    /// shares a claim with it.
    pub fn take(&mut self, limit: usize) -> Vec<J> {
        let batch: Vec<J> = if self.taken.is_empty() {
            let count = limit.min(self.waiting.len());
            self.waiting.drain(..count).collect()
        } else {
            self.take_free(limit)
        };
        self.taken.extend(batch.iter().flat_map(Claims::claims));
        self.batches += usize::from(!batch.is_empty());
        self.in_hand += batch.len();
        self.since = if batch.is_empty() || self.waiting.is_empty() { None } else { Some(Instant::now()) };
        batch
    }

    fn take_free(&mut self, limit: usize) -> Vec<J> {
        let mut blocked = self.taken.clone();
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

    /// A batch of so many jobs, with those claims, is done.
    pub fn release<'a>(&mut self, jobs: usize, claims: impl IntoIterator<Item = &'a Claim>) {
        self.batches -= 1;
        self.in_hand -= jobs;
        for claim in claims {
            self.taken.remove(claim);
        }
        // What stood behind it may be free.
        if self.since.is_none() && !self.waiting.is_empty() {
            self.since = Some(Instant::now());
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
    fn takes_all_that_waits_up_to_the_limit() {
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
    fn what_another_worker_holds_waits_and_keeps_its_place() {
        let mut queue = Queue::default();
        queue.push(Job(0, vec![1]));
        let first = queue.take(8);
        queue.push(Job(1, vec![1, 2]));
        queue.push(Job(2, vec![2]));
        queue.push(Job(3, vec![3]));
        assert_eq!(names(&queue.take(8)), [3], "2 shares a claim with 1, which waits for 0");
        assert!(queue.take(8).is_empty());
        assert_eq!(queue.due_in(), None, "nothing comes of looking again");
        assert!(queue.push(Job(4, vec![4])), "but of this");
        assert_eq!(names(&queue.take(8)), [4]);
        queue.take(8);
        queue.release(first.len(), first[0].claims());
        assert!(queue.due_in().is_some());
        assert_eq!(names(&queue.take(8)), [1, 2]);
    }

    /// Pushes so many jobs, and says of which a worker is told.
    fn told(queue: &mut Queue<Job>, jobs: std::ops::Range<u32>) -> Vec<u32> {
        jobs.filter(|n| queue.push(Job(*n, vec![u64::from(*n)]))).collect()
    }

    #[test]
    fn what_waits_alone_is_due_at_once() {
        let mut queue = Queue::default();
        assert_eq!(queue.due_in(), None);
        assert_eq!(told(&mut queue, 0..3), [0, 1, 2]);
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_batch_it_is_due_when_it_is_nearly_as_large() {
        let mut queue = Queue::default();
        told(&mut queue, 0..8);
        let first = queue.take(8);
        assert_eq!(queue.due_in(), None);
        // The first is told of, so that somebody counts down.
        assert_eq!(told(&mut queue, 10..17), [10, 15, 16]);
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
        let second = queue.take(8);
        // Of eight and of seven, three quarters are six.
        assert_eq!(told(&mut queue, 20..26), [20, 25]);
        assert_eq!(second.len(), 7);
        queue.release(first.len(), first.iter().flat_map(Claims::claims));
        queue.release(second.len(), second.iter().flat_map(Claims::claims));
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_batch_it_is_due_when_it_has_waited_long() {
        let mut queue = Queue::default();
        told(&mut queue, 0..8);
        queue.take(8);
        told(&mut queue, 10..11);
        assert_eq!(queue.due_in(), Some(PATIENCE));
        tokio::time::advance(PATIENCE / 2).await;
        told(&mut queue, 11..12);
        assert_eq!(queue.due_in(), Some(PATIENCE / 2));
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(queue.due_in(), Some(Duration::ZERO));
        assert_eq!(names(&queue.take(1)), [10]);
        // What is left over waits anew, for whoever is free.
        assert_eq!(queue.due_in(), Some(PATIENCE));
    }
}
