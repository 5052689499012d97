//! A counter with a clock that the test sets: runs batches of commands through
//! the application's decider on a store, and looks at all that is stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use pvz::app::{BatchDecider, Entry, verify};
use pvz::domain::{OrderId, Policy, Timestamp};
use pvz::ports::{
    AuditedOrder, Batch, BatchDecision, Decide, ErrorKind, IdempotencyKey, IdempotencyRecord, Loaded,
    OrderStore, Outcome,
};
use tokio::runtime::Runtime;

use super::commands::{Ask, point};
use super::time::{SequentialIds, TestClock};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

/// Runs a future of a store.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Adapters that are opened or closed need a runtime around them.
pub fn enter_runtime() -> tokio::runtime::EnterGuard<'static> {
    runtime().enter()
}

/// A counter, `main` its default point, under the default policy.
pub struct World {
    pub store: Arc<dyn OrderStore>,
    pub clock: Arc<TestClock>,
    pub policy: Arc<Policy>,
    ids: Arc<SequentialIds>,
}

/// Counts how often a batch was decided.
struct Counted {
    decider: BatchDecider,
    verdicts: AtomicU64,
}

impl Decide for Counted {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        self.verdicts.fetch_add(1, Ordering::Relaxed);
        self.decider.decide(loaded)
    }
}

/// All that is stored: each order with its row and its events.
pub type Dump = BTreeMap<OrderId, AuditedOrder>;

impl World {
    pub fn new(store: Arc<dyn OrderStore>) -> Self {
        Self {
            store,
            clock: Arc::default(),
            policy: Arc::new(Policy::standard(point("main"))),
            ids: Arc::default(),
        }
    }

    /// Runs commands as one batch. Now is read once, whatever the batch.
    pub fn run(&self, asks: &[Ask]) -> Vec<Outcome> {
        let (outcomes, failures) = self.insist(asks);
        assert_eq!(failures, 0, "the store works");
        outcomes
    }

    /// The same, again and again until the store says what became of it; tells
    /// how often it did not.
    pub fn insist(&self, asks: &[Ask]) -> (Vec<Outcome>, usize) {
        let entry = |ask: &Ask| {
            Arc::new(Entry::new(ask.command.clone(), ask.actor.clone(), "", ask.key.clone(), &self.policy))
        };
        let (policy, clock, ids) = (Arc::clone(&self.policy), Arc::clone(&self.clock), Arc::clone(&self.ids));
        let decider = BatchDecider::new(asks.iter().map(entry).collect(), policy, clock, ids);
        let (batch, reads) = (decider.batch(), self.clock.reads());
        let decider = Arc::new(Counted { decider, verdicts: AtomicU64::default() });
        let mut failures = 0;
        let outcomes = loop {
            match block_on(self.store.transact(batch.clone(), decider.clone())) {
                Ok(outcomes) => break outcomes,
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::Inconsistent, "{error:?}");
                    failures += 1;
                    assert!(failures < 100, "the store does not work: {error:?}");
                }
            }
        };
        let verdicts = decider.verdicts.load(Ordering::Relaxed);
        assert_eq!(self.clock.reads(), reads + verdicts, "a verdict reads the clock once");
        assert_eq!(outcomes.len(), asks.len());
        (outcomes, failures)
    }

    /// Runs a command alone.
    pub fn ask(&self, ask: Ask) -> Outcome {
        self.run(&[ask]).pop().expect("an outcome")
    }

    /// Everything that is stored, after the oracle found nothing wrong with it.
    pub fn dump(&self) -> Dump {
        let report = block_on(verify(&*self.store, |_| {})).expect("the store works");
        assert_eq!(report.differences, [], "every row is the fold of its events");
        let orders = block_on(self.store.audit(None, 10_000)).expect("the store works");
        orders.into_iter().map(|audited| (audited.order_id.clone(), audited)).collect()
    }

    /// The idempotency records under those keys, expired ones included.
    pub fn records(
        &self,
        keys: impl IntoIterator<Item = IdempotencyKey>,
    ) -> BTreeMap<IdempotencyKey, IdempotencyRecord> {
        let batch = Batch { idempotency_keys: keys.into_iter().collect(), ..Batch::default() };
        let peek = Arc::new(Peek::default());
        block_on(self.store.transact(batch, Arc::clone(&peek) as _)).expect("the store works");
        let loaded = peek.0.lock().unwrap().take();
        loaded.expect("decide was called").records.into_iter().collect()
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        super::time::at(self.clock.micros())
    }
}

/// Decides nothing, and keeps what it was shown.
#[derive(Default)]
struct Peek(Mutex<Option<Loaded>>);

impl Decide for Peek {
    fn decide(&self, loaded: Loaded) -> BatchDecision {
        *self.0.lock().unwrap() = Some(loaded);
        BatchDecision::default()
    }
}
