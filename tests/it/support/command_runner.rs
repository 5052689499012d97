//! Runs batches of commands through the application's decider on a store, with a
//! clock that the test sets, and reads everything that is stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pvz::app::{BatchDecider, Entry, verify};
use pvz::domain::{OrderId, Policy, Timestamp};
use pvz::ports::{
    AuditedOrder, Batch, BatchDecision, Decide, ErrorKind, IdempotencyKey, IdempotencyRecord, Loaded,
    OrderStore, Outcome,
};

use super::commands::{TestCommand, point};
use super::runtime::block_on;
use super::time::{SequentialIds, TestClock};

/// Runs commands under the default policy, with `main` as the default pickup point.
pub struct CommandRunner {
    pub store: Arc<dyn OrderStore>,
    pub clock: Arc<TestClock>,
    pub policy: Arc<Policy>,
    ids: Arc<SequentialIds>,
}

/// Counts how often a batch is decided.
struct CountingDecider {
    decider: BatchDecider,
    decisions: AtomicU64,
}

impl Decide for CountingDecider {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        self.decisions.fetch_add(1, Ordering::Relaxed);
        self.decider.decide(loaded)
    }
}

/// Everything that is stored: each order with its row and its events.
pub type Dump = BTreeMap<OrderId, AuditedOrder>;

impl CommandRunner {
    pub fn new(store: Arc<dyn OrderStore>) -> Self {
        Self {
            store,
            clock: Arc::default(),
            policy: Arc::new(Policy::standard(point("main"))),
            ids: Arc::default(),
        }
    }

    /// Runs commands as one batch. The batch reads the clock once.
    pub fn run(&self, commands: &[TestCommand]) -> Vec<Outcome> {
        let (outcomes, failures) = self.run_with_retries(commands);
        assert_eq!(failures, 0, "the store failed");
        outcomes
    }

    /// Runs commands as one batch and retries until the store returns outcomes.
    /// Returns them and the number of failed attempts.
    pub fn run_with_retries(&self, commands: &[TestCommand]) -> (Vec<Outcome>, usize) {
        let entry = |TestCommand { command, actor, key }: &TestCommand| {
            Arc::new(Entry::new(command.clone(), actor.clone(), "", key.clone(), &self.policy))
        };
        let (policy, clock, ids) = (Arc::clone(&self.policy), Arc::clone(&self.clock), Arc::clone(&self.ids));
        let decider = BatchDecider::new(commands.iter().map(entry).collect(), policy, clock, ids);
        let (batch, reads) = (decider.batch(), self.clock.reads());
        let decider = Arc::new(CountingDecider { decider, decisions: AtomicU64::default() });
        let mut failures = 0;
        let outcomes = loop {
            match block_on(self.store.transact(batch.clone(), decider.clone())) {
                Ok(outcomes) => break outcomes,
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::Inconsistent, "{error:?}");
                    failures += 1;
                    assert!(failures < 100, "the store keeps failing: {error:?}");
                }
            }
        };
        let decisions = decider.decisions.load(Ordering::Relaxed);
        assert_eq!(self.clock.reads(), reads + decisions, "a decision reads the clock once");
        assert_eq!(outcomes.len(), commands.len());
        (outcomes, failures)
    }

    /// Runs a batch of one command.
    pub fn run_one(&self, command: TestCommand) -> Outcome {
        self.run(&[command]).pop().expect("an outcome")
    }

    /// Verifies the store and returns everything in it.
    pub fn dump(&self) -> Dump {
        let report = block_on(verify(&*self.store, |_| {})).expect("verify succeeds");
        assert_eq!(report.differences, [], "rows that differ from their events");
        let orders = block_on(self.store.audit(None, 10_000)).expect("audit succeeds");
        orders.into_iter().map(|audited| (audited.order_id.clone(), audited)).collect()
    }

    /// Returns the idempotency records with these keys, including expired ones.
    pub fn records(
        &self,
        keys: impl IntoIterator<Item = IdempotencyKey>,
    ) -> BTreeMap<IdempotencyKey, IdempotencyRecord> {
        let batch = Batch { idempotency_keys: keys.into_iter().collect(), ..Batch::default() };
        let capture = Arc::new(CaptureLoaded::default());
        block_on(self.store.transact(batch, Arc::clone(&capture) as _)).expect("transact succeeds");
        let loaded = capture.0.lock().unwrap().take();
        loaded.expect("decide was called").records.into_iter().collect()
    }

    /// Returns the current instant of the clock, without counting as a read.
    pub fn now(&self) -> Timestamp {
        super::time::at(self.clock.micros())
    }
}

/// Decides nothing and captures the loaded rows.
#[derive(Default)]
struct CaptureLoaded(Mutex<Option<Loaded>>);

impl Decide for CaptureLoaded {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        *self.0.lock().unwrap() = Some(loaded);
        BatchDecision::default()
    }
}
