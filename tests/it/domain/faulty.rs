//! T4: the store does what it is asked and then says that it failed, or fails
//! before, one time in twenty. Who asks again with the same key is answered as
//! the model says all the same, and nothing is lost or doubled.

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

/// What a call is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is done, and whether it is cannot be found out.
    ExecutedInDoubt,
    /// It is not done.
    NotExecuted,
    /// Planted: it is done, and said not to be.
    ExecutedAndDenied,
    /// Planted: it is said to be done, and is not.
    Forgotten,
}

/// A store that fails now and then, when it changes something.
struct FaultyStore {
    inner: Arc<dyn OrderStore>,
    faults: &'static [Fault],
    seed: u64,
    calls: AtomicUsize,
    failed: Arc<AtomicUsize>,
}

impl FaultyStore {
    fn fault(&self) -> Option<Fault> {
        let mut dice = DefaultHasher::new();
        (self.seed, self.calls.fetch_add(1, Ordering::Relaxed)).hash(&mut dice);
        let thrown = dice.finish();
        // One in twenty; the rest of the dice says which.
        let fault = thrown
            .is_multiple_of(20)
            .then(|| self.faults[usize::try_from(thrown / 20 % 64).unwrap() % self.faults.len()]);
        self.failed.fetch_add(usize::from(fault.is_some()), Ordering::Relaxed);
        fault
    }
}

#[async_trait]
impl OrderStore for FaultyStore {
    async fn transact(&self, batch: Batch, decide: Arc<dyn Decide>) -> Result<Vec<Outcome>, PortError> {
        // A batch without an order looks at records, and is the test's own.
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
                Err(PortError::unavailable("nothing was done", "planted"))
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

const HONEST: &[Fault] = &[Fault::ExecutedInDoubt, Fault::NotExecuted];

/// Plays scripts on stores that fail so; `on_store` makes a fresh one and
/// cleans up behind it. Tells how often they failed.
fn plays(
    test: &str,
    sequences: u32,
    faults: &'static [Fault],
    on_store: impl Fn(&dyn Fn(Arc<dyn OrderStore>)),
) -> usize {
    let failed = Arc::new(AtomicUsize::new(0));
    property::check(test, sequences, &(script(), proptest::prelude::any::<u64>()), |(turns, seed)| {
        on_store(&|inner| {
            let (calls, failed) = (AtomicUsize::new(0), failed.clone());
            let mut machine =
                Machine::new(Arc::new(FaultyStore { inner, faults, seed, calls, failed }), true);
            for turn in &turns {
                machine.play(turn);
            }
        });
    });
    failed.load(Ordering::Relaxed)
}

fn in_memory(script: &dyn Fn(Arc<dyn OrderStore>)) {
    script(Arc::new(MemoryStore::new([7; 32])));
}

#[test]
fn who_asks_again_is_answered_as_if_nothing_had_failed() {
    let test = "domain::faulty::who_asks_again_is_answered_as_if_nothing_had_failed";
    assert!(plays(test, 2_000, HONEST, in_memory) > 100);
}

#[test]
fn the_same_on_sqlite() {
    let test = "domain::faulty::the_same_on_sqlite";
    let failed = plays(test, 150, HONEST, |script| {
        let folder = tempfile::tempdir().unwrap();
        let _runtime = enter_runtime();
        let path = folder.path().join("orders.db");
        script(Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap()));
    });
    assert!(failed > 10, "{failed}");
}

/// The database itself fails: statements with every error that is worth another
/// try, commits as well, and sessions that end.
const MISCHIEF: &str = "
    CREATE SEQUENCE mischief;
    CREATE FUNCTION mischief() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        dice float := random();
        codes text[] := ARRAY['40001', '40P01', '55P03', '57014', '53100', '53200', '08006'];
    BEGIN
        IF dice < 0.05 THEN
            PERFORM nextval('mischief');
        END IF;
        IF dice < 0.01 THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        ELSIF dice < 0.05 THEN
            RAISE EXCEPTION 'planted' USING ERRCODE = codes[1 + floor(random() * 7)::int];
        END IF;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER mischief BEFORE INSERT ON order_events FOR EACH STATEMENT EXECUTE FUNCTION mischief();
    CREATE CONSTRAINT TRIGGER mischief AFTER INSERT OR UPDATE ON orders
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mischief()";

#[test]
fn the_same_on_postgres_which_fails_by_itself_too() {
    let test = "domain::faulty::the_same_on_postgres_which_fails_by_itself_too";
    let (store, database) = block_on(crate::postgres::cluster::store());
    let shell = block_on(database.shell());
    block_on(shell.batch_execute(MISCHIEF)).unwrap();
    let clear = "SET session_replication_role = replica;
        TRUNCATE orders, order_events, idempotency RESTART IDENTITY";
    let failed = plays(test, 150, HONEST, |script| {
        block_on(shell.batch_execute(clear)).unwrap();
        script(store.clone());
    });
    let planted = block_on(shell.query_one("SELECT last_value FROM mischief", &[])).unwrap();
    let planted: i64 = planted.get(0);
    assert!(failed > 10 && planted > 10, "{failed} {planted}");
}

/// Stores that lie are noticed.
#[test]
fn a_change_that_is_forgotten_is_noticed() {
    let test = "domain::faulty::a_change_that_is_forgotten_is_noticed";
    let play = AssertUnwindSafe(|| plays(test, 500, &[Fault::Forgotten], in_memory));
    assert!(catch_unwind(play).is_err());
}

/// What is said not to be done may be asked again without a key; so it had
/// better not be done.
#[test]
fn a_change_that_is_denied_is_noticed() {
    let asked_twice = |faults| {
        let inner: Arc<dyn OrderStore> = Arc::new(MemoryStore::new([7; 32]));
        let (calls, failed) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let world = CommandRunner::new(Arc::new(FaultyStore {
            inner,
            faults,
            seed: 7,
            calls,
            failed: failed.clone(),
        }));
        let mut refused = 0;
        for number in 0..500 {
            let id = format!("order-{number}");
            for ask in [accept(parcel(&id)), issue(&[&id], BatchMode::Atomic)] {
                let (outcomes, _) = world.run_with_retries(&[ask]);
                let reason = outcomes[0].answer.as_ref().err().map(|refusal| refusal.reason);
                let again = matches!(reason, Some(Reason::OrderAlreadyExists | Reason::OrderAlreadyIssued));
                assert!(again || reason.is_none(), "{reason:?}");
                refused += usize::from(again);
            }
        }
        (refused, failed.load(Ordering::Relaxed))
    };
    let (refused, failed) = asked_twice(&[Fault::NotExecuted]);
    assert!(refused == 0 && failed > 10, "{refused} {failed}");
    let (refused, failed) = asked_twice(&[Fault::ExecutedAndDenied]);
    // The same call may be harmed twice.
    assert!(refused > 10 && refused <= failed, "{refused} {failed}");
}
