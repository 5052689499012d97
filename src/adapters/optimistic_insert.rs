//! Optimistic insert: a batch that only creates orders is decided as if none of its orders and
//! idempotency records existed, without reading them first.
//!
//! The write verifies the assumption: it inserts every order and every record that the batch
//! names, and fails as a whole if one of them exists. So the assumption is made only if the
//! decision inserts everything that the batch names. If a command was refused, its order is not
//! inserted, and nothing would verify that the order does not exist.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::ports::{Batch, BatchDecision, Decide, Loaded};

/// Number of batches that read first after a conflict. When orders are sent again, most exist;
/// then only one write in this many fails.
const BATCHES_AFTER_CONFLICT: u32 = 16;

/// Decides whether an optimistic insert is tried.
#[derive(Debug, Default)]
pub struct OptimisticInsert {
    /// The number of further batches that read first.
    reads_first: AtomicU32,
}

impl OptimisticInsert {
    /// Returns the decision on a batch under the assumption that nothing exists, if it is tried
    /// and the write would verify it.
    pub fn decide(&self, batch: &Batch, decide: &dyn Decide) -> Option<BatchDecision> {
        if !batch.creates_orders || self.must_read_first() {
            return None;
        }
        let verdict = decide.decide(Loaded::default());
        inserts_everything_named(batch, &verdict).then_some(verdict)
    }

    /// Records that the assumption was wrong.
    pub fn record_conflict(&self) {
        self.reads_first.store(BATCHES_AFTER_CONFLICT, Ordering::Relaxed);
    }

    fn must_read_first(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.reads_first.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// Returns true if everything that the batch names would be inserted.
fn inserts_everything_named(batch: &Batch, verdict: &BatchDecision) -> bool {
    let writes = &verdict.writes;
    // Both lists are free of duplicates, and nothing is written that was not named.
    !writes.inserted.is_empty()
        && writes.inserted.len() == batch.order_ids.len()
        && writes.records.len() == batch.idempotency_keys.len()
}
