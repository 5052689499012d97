//! Epochs: counters of the changes of orders, shared by all orders with the same hash.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::OrderId;
use crate::ports::Epoch;

/// The epochs of all orders.
pub(super) struct Epochs {
    generation: AtomicU64,
    changes: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Epochs {
    /// Returns epochs with this number of counters, at least one.
    pub(super) fn new(counters: usize) -> Self {
        let changes = std::iter::repeat_with(AtomicU64::default).take(counters.max(1)).collect();
        Self { generation: AtomicU64::default(), changes, hasher: RandomState::new() }
    }

    /// Returns the epoch of an order.
    pub(super) fn of(&self, order_id: &OrderId) -> Epoch {
        let changes = self.counter(order_id).load(Ordering::SeqCst);
        Epoch { generation: self.generation(), changes }
    }

    /// Returns the number of clears.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Counts a change of an order.
    pub(super) fn advance(&self, order_id: &OrderId) {
        self.counter(order_id).fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a clear.
    pub(super) fn begin_generation(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn counter(&self, order_id: &OrderId) -> &AtomicU64 {
        let hash = self.hasher.hash_one(order_id);
        // The remainder is less than the length, so it fits.
        #[expect(clippy::cast_possible_truncation, reason = "the remainder of a length is a length")]
        &self.changes[(hash % self.changes.len() as u64) as usize]
    }
}
