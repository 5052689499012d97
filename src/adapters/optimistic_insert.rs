//! A guess that spares a store a look: that nothing which a batch names is
//! there yet, where every order in it is to be made.
//!
//! The batch is decided as if that were so, and the write is the proof: it
//! inserts every order and every record that the batch names, and fails as a
//! whole if one of them is there. So the guess is only made when the verdict
//! would insert all that is named. Where a command was refused, and its order
//! is not inserted, nothing would tell that the order is not there.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::ports::{Batch, BatchDecision, Decide, Loaded};

/// How many batches look first after a guess was wrong. Where orders are sent
/// again, most are there: then one write in so many is in vain.
const CAUTION: u32 = 16;

/// Whether guessing pays at the moment.
#[derive(Debug, Default)]
pub struct OptimisticInsert {
    /// How many batches are still to look first.
    cautious: AtomicU32,
}

impl OptimisticInsert {
    /// The verdict on a batch of which nothing is there, if it is worth a try
    /// and proves itself.
    pub fn decide(&self, batch: &Batch, decide: &dyn Decide) -> Option<BatchDecision> {
        if !batch.creates_orders || self.is_cautious() {
            return None;
        }
        let verdict = decide.decide(Loaded::default());
        proves_itself(batch, &verdict).then_some(verdict)
    }

    /// Something was there.
    pub fn record_conflict(&self) {
        self.cautious.store(CAUTION, Ordering::Relaxed);
    }

    fn is_cautious(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.cautious.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// Whether all that the batch names would be inserted.
fn proves_itself(batch: &Batch, verdict: &BatchDecision) -> bool {
    let writes = &verdict.writes;
    // Both name nothing twice, and nothing is written that was not named.
    !writes.inserted.is_empty()
        && writes.inserted.len() == batch.order_ids.len()
        && writes.records.len() == batch.idempotency_keys.len()
}
