//! What waits for the writers. A worker takes all that waits, up to a limit;
//! but commands on one order, or with one key, are never in two workers'
//! hands, and go in order of arrival.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Entry;

/// What commands compete for: the hash of an order id or of a record key. Two
/// with one hash only wait for each other without need.
pub type Claim = u64;

/// Everything that an entry competes for.
pub fn claims(entry: &Entry) -> Vec<Claim> {
    let orders = entry.order_ids().iter().map(hash);
    orders.chain(entry.record_key().map(hash)).collect()
}

fn hash(value: &impl Hash) -> Claim {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Something that waits, with its claims.
pub trait Claims {
    /// What it competes for.
    fn claims(&self) -> &[Claim];
}

/// The queue, and what is in the workers' hands.
#[derive(Debug)]
pub struct Queue<J> {
    waiting: VecDeque<J>,
    taken: HashSet<Claim>,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), taken: HashSet::new() }
    }
}

impl<J: Claims> Queue<J> {
    /// Adds a job at the end.
    pub fn push(&mut self, job: J) {
        self.waiting.push_back(job);
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

    /// Gives back the claims of a batch that is done.
    pub fn release<'a>(&mut self, claims: impl IntoIterator<Item = &'a Claim>) {
        for claim in claims {
            self.taken.remove(claim);
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
        (0..5).for_each(|n| queue.push(Job(n, vec![u64::from(n)])));
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
        queue.release(first[0].claims());
        assert_eq!(names(&queue.take(8)), [1, 2]);
    }
}
