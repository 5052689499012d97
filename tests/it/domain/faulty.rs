//! T4: one call in twenty fails, before it is executed or after. A retry with the same key is answered as
//! the model says; nothing is lost or duplicated.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pvz::adapters::memory::MemoryStore;
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use pvz::domain::{BatchMode, Order, OrderId, PickupPointId, Reason, Timestamp};
use pvz::ports::{AuditedOrder, Batch, Decide, OrderFilter, OrderStore, Outcome, Page, PortError};

use super::machine::Machine;
use super::script::script;
use crate::support::command_runner::CommandRunner;
use crate::support::commands::{accept, issue, parcel};
use crate::support::property;
use crate::support::runtime::{block_on, enter_runtime};

/// The fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The call is executed, and returns an in-doubt error.
    ExecutedInDoubt,
    /// The call is not executed, and returns an error.
    NotExecuted,
    /// Planted bug: the call is executed, and returns an error that says that it was not.
    ExecutedAndDenied,
    /// Planted bug: the call is not executed, and returns success.
    Forgotten,
}

/// A store whose writes fail at random.
struct FaultyStore {
    inner: Arc<dyn OrderStore>,
    faults: &'static [Fault],
    seed: u64,
    calls: AtomicUsize,
    failed: Arc<AtomicUsize>,
}

impl FaultyStore {
    fn fault(&self) -> Option<Fault> {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.calls.fetch_add(1, Ordering::Relaxed)).hash(&mut hasher);
        let random = hasher.finish();
        // One call in twenty fails. The remaining bits select the fault.
        let fault = random
            .is_multiple_of(20)
            .then(|| self.faults[usize::try_from(random / 20 % 64).unwrap() % self.faults.len()]);
        self.failed.fetch_add(usize::from(fault.is_some()), Ordering::Relaxed);
        fault
    }
}

#[async_trait]
impl OrderStore for FaultyStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        // The test itself reads records with a batch without orders.
        let fault = if batch.order_ids.is_empty() { None } else { self.fault() };
        match fault {
            None => self.inner.transact(batch, decide).await,
            Some(Fault::NotExecuted) => Err(PortError::unavailable("the connection was reset", "planted")),
            Some(Fault::ExecutedInDoubt) => {
                self.inner.transact(batch, decide).await?;
                Err(PortError::in_doubt("the connection was reset during COMMIT", "planted"))
            }
            Some(Fault::ExecutedAndDenied) => {
                self.inner.transact(batch, decide).await?;
                Err(PortError::unavailable("the call was not executed", "planted"))
            }
            Some(Fault::Forgotten) => Ok(decide.decide(pvz::ports::Loaded::default()).outcomes),
        }
    }

    async fn order(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        self.inner.order(order_id).await
    }

    async fn orders(&self, filter: &OrderFilter, page: &Page) -> Result<Vec<Order>, PortError> {
        self.inner.orders(filter, page).await
    }

    async fn returns(&self, point: Option<&PickupPointId>, page: &Page) -> Result<Vec<Order>, PortError> {
        self.inner.returns(point, page).await
    }

    async fn expire_idempotency_records(&self, before: Timestamp, limit: usize) -> Result<usize, PortError> {
        self.inner.expire_idempotency_records(before, limit).await
    }

    async fn audit(&self, after: Option<&OrderId>, limit: usize) -> Result<Vec<AuditedOrder>, PortError> {
        self.inner.audit(after, limit).await
    }

    async fn secret(&self) -> Result<[u8; 32], PortError> {
        self.inner.secret().await
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.inner.ping().await
    }
}

const CORRECT_STORE_FAULTS: &[Fault] = &[Fault::ExecutedInDoubt, Fault::NotExecuted];

/// Runs scripts on failing stores. `on_store` runs a script on an empty store. Returns the number of
/// failures.
fn count_failures(
    test: &str,
    sequences: u32,
    faults: &'static [Fault],
    on_store: impl Fn(&dyn Fn(Arc<dyn OrderStore>)),
) -> usize {
    let failed = Arc::new(AtomicUsize::new(0));
    property::check(test, sequences, &(script(), proptest::prelude::any::<u64>()), |(steps, seed)| {
        on_store(&|inner| {
            let (calls, failed) = (AtomicUsize::new(0), failed.clone());
            let mut machine =
                Machine::new(Arc::new(FaultyStore { inner, faults, seed, calls, failed }), true);
            for step in &steps {
                machine.run_step(step);
            }
        });
    });
    failed.load(Ordering::Relaxed)
}

fn in_memory(script: &dyn Fn(Arc<dyn OrderStore>)) {
    script(Arc::new(MemoryStore::new([7; 32])));
}

#[test]
fn retried_commands_on_memory_agree_with_the_model() {
    let test = "domain::faulty::retried_commands_on_memory_agree_with_the_model";
    assert!(count_failures(test, 2_000, CORRECT_STORE_FAULTS, in_memory) > 100);
}

#[test]
fn retried_commands_on_sqlite_agree_with_the_model() {
    let test = "domain::faulty::retried_commands_on_sqlite_agree_with_the_model";
    let failed = count_failures(test, 150, CORRECT_STORE_FAULTS, |script| {
        let folder = tempfile::tempdir().unwrap();
        let _runtime = enter_runtime();
        let path = folder.path().join("orders.db");
        script(Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap()));
    });
    assert!(failed > 10, "{failed}");
}

/// Makes statements and commits of the database fail with every retryable error, and ends sessions.
const DATABASE_FAULTS: &str = "
    CREATE SEQUENCE fault;
    CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        draw float := random();
        codes text[] := ARRAY['40001', '40P01', '55P03', '57014', '53100', '53200', '08006'];
    BEGIN
        IF draw < 0.05 THEN
            PERFORM nextval('fault');
        END IF;
        IF draw < 0.01 THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        ELSIF draw < 0.05 THEN
            RAISE EXCEPTION 'planted' USING ERRCODE = codes[1 + floor(random() * 7)::int];
        END IF;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER fault BEFORE INSERT ON order_events FOR EACH STATEMENT EXECUTE FUNCTION fault();
    CREATE CONSTRAINT TRIGGER fault AFTER INSERT OR UPDATE ON orders
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fault()";

#[test]
fn retried_commands_on_postgres_with_database_faults_agree_with_the_model() {
    let test = "domain::faulty::retried_commands_on_postgres_with_database_faults_agree_with_the_model";
    let (store, database) = block_on(crate::postgres::cluster::store());
    let shell = block_on(database.shell());
    block_on(shell.batch_execute(DATABASE_FAULTS)).unwrap();
    let clear = "SET session_replication_role = replica;
        TRUNCATE orders, order_events, idempotency RESTART IDENTITY";
    let failed = count_failures(test, 150, CORRECT_STORE_FAULTS, |script| {
        block_on(shell.batch_execute(clear)).unwrap();
        script(store.clone());
    });
    let planted = block_on(shell.query_one("SELECT last_value FROM fault", &[])).unwrap();
    let planted: i64 = planted.get(0);
    assert!(failed > 10 && planted > 10, "{failed} {planted}");
}

#[test]
fn lost_write_is_detected() {
    let test = "domain::faulty::lost_write_is_detected";
    let checked = AssertUnwindSafe(|| count_failures(test, 500, &[Fault::Forgotten], in_memory));
    assert!(catch_unwind(checked).is_err());
}

/// A call that reports that it was not executed may be retried without a key.
#[test]
fn executed_call_that_reports_failure_is_detected() {
    let retry_without_key = |faults| {
        let inner: Arc<dyn OrderStore> = Arc::new(MemoryStore::new([7; 32]));
        let (calls, failed) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let runner = CommandRunner::new(Arc::new(FaultyStore {
            inner,
            faults,
            seed: 7,
            calls,
            failed: failed.clone(),
        }));
        let mut refused = 0;
        for number in 0..500 {
            let id = format!("order-{number}");
            for command in [accept(parcel(&id)), issue(&[&id], BatchMode::Atomic)] {
                let (outcomes, _) = runner.run_with_retries(&[command]);
                let reason = outcomes[0].answer.as_ref().err().map(|refusal| refusal.reason);
                let again = matches!(reason, Some(Reason::OrderAlreadyExists | Reason::OrderAlreadyIssued));
                assert!(again || reason.is_none(), "{reason:?}");
                refused += usize::from(again);
            }
        }
        (refused, failed.load(Ordering::Relaxed))
    };
    let (refused, failed) = retry_without_key(&[Fault::NotExecuted]);
    assert!(refused == 0 && failed > 10, "{refused} {failed}");
    let (refused, failed) = retry_without_key(&[Fault::ExecutedAndDenied]);
    // One command may fail more than once.
    assert!(refused > 10 && refused <= failed, "{refused} {failed}");
}
