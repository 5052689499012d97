//! T1: whatever is asked in whatever order, the service answers as the model,
//! and stores what the model says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use pvz::adapters::memory::MemoryStore;
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use pvz::domain::{Event, EventType, OrderId, RequestId};
use pvz::ports::{IdempotencyKey, OrderStore, Outcome};

use super::compare;
use super::model::{Model, No, Step, Yes};
use super::script::{Turn, script};
use crate::support::command_runner::{CommandRunner, Dump};
use crate::support::commands::TestCommand;
use crate::support::property;
use crate::support::runtime::{block_on, enter_runtime};

/// Both sides, and what has been asked so far.
pub struct Machine {
    world: CommandRunner,
    /// Every command has a key, and is asked until the store says what became
    /// of it.
    insists: bool,
    model: Model,
    asked: Vec<TestCommand>,
    before: Dump,
}

impl Machine {
    pub fn new(store: Arc<dyn OrderStore>, insists: bool) -> Self {
        let (model, asked, before) = (Model::default(), Vec::new(), Dump::new());
        Self { world: CommandRunner::new(store), insists, model, asked, before }
    }

    /// Runs a turn on both sides, and tells what the model answered.
    pub fn play(&mut self, turn: &Turn) -> Vec<(Result<Yes, No>, bool)> {
        let now = turn.jump.resolve(self.world.clock.micros(), &self.model);
        self.world.clock.set(now);
        let mut asks: Vec<TestCommand> =
            turn.asks.iter().filter_map(|line| line.resolve(now, &self.asked)).collect();
        if asks.is_empty() {
            return Vec::new();
        }
        for (number, ask) in asks.iter_mut().enumerate().filter(|(_, ask)| self.insists && ask.key.is_none())
        {
            *ask = ask.clone().key(&format!("key-{}", self.asked.len() + number));
        }
        let lives: Vec<(String, usize)> = self.lives();
        let expected: Vec<_> = asks
            .iter()
            .map(|ask| self.model.hear(&ask.command, ask.key.as_ref().map(RequestId::as_str), now))
            .collect();
        let (outcomes, failures) = self.run(&asks);
        for (Outcome { answer, replayed }, (expected, again)) in outcomes.iter().zip(&expected) {
            compare::same(answer, expected);
            // What was asked again may have been done the first time.
            assert!(replayed == again || *replayed && failures > 0, "whether the answer is a stored one");
        }
        self.compare_orders(&lives, &asks);
        self.compare_records();
        self.asked.extend(asks);
        expected
    }

    /// Runs them as one batch, or, to insist, each alone: a refusal that no
    /// record keeps would otherwise be another one the second time, after those
    /// that came behind it.
    fn run(&self, asks: &[TestCommand]) -> (Vec<Outcome>, usize) {
        if !self.insists {
            return (self.world.run(asks), 0);
        }
        let each = asks.iter().map(|ask| self.world.run_with_retries(std::slice::from_ref(ask)));
        let (outcomes, failures): (Vec<_>, Vec<_>) = each.unzip();
        (outcomes.concat(), failures.iter().sum())
    }

    /// How far each order was in its life.
    fn lives(&self) -> Vec<(String, usize)> {
        self.model.parcels.iter().map(|(id, parcel)| (id.clone(), parcel.life.len())).collect()
    }

    /// The rows are the model's; an order that the model did not move is stored
    /// byte for byte as before; the others' new events tell what moved them.
    fn compare_orders(&mut self, lives: &[(String, usize)], asks: &[TestCommand]) {
        let after = self.world.dump();
        let ids: Vec<&str> = after.keys().map(OrderId::as_str).collect();
        let expected: Vec<&str> = self.model.parcels.keys().map(String::as_str).collect();
        assert_eq!(ids, expected, "the orders that there are");
        for (id, audited) in &after {
            let parcel = &self.model.parcels[id.as_str()];
            let row = audited.row.as_ref().unwrap().as_ref().expect("a row");
            assert_eq!(compare::parcel(row), *parcel);
            let before = lives.iter().find(|(known, _)| known == id.as_str()).map_or(0, |(_, life)| *life);
            if before == parcel.life.len() {
                assert_eq!(self.before.get(id), Some(audited), "an order that nothing moved");
                continue;
            }
            let events = audited.events.as_ref().unwrap();
            let earlier = self.before.get(id).map_or(&[][..], |old| old.events.as_ref().unwrap());
            assert_eq!(earlier.len(), before);
            assert!(events.starts_with(earlier), "events never change");
            let facts: Vec<_> =
                events.iter().map(|event| (step(event), event.occurred_at.micros())).collect();
            assert_eq!(facts, parcel.life, "the events are the parcel's life");
            for event in &events[before..] {
                let asked = |ask: &TestCommand| {
                    ask.key == event.request_id
                        && ask.actor == event.actor
                        && ask.command.order_ids().contains(id)
                };
                assert!(asks.iter().any(asked), "nobody asked for {event:?}");
            }
        }
        self.before = after;
    }

    /// Every answer that the model remembers is stored, and no other.
    fn compare_records(&self) {
        let key =
            |key: &str| IdempotencyKey { scope: String::new(), request_id: RequestId::parse(key).unwrap() };
        let known = self.model.memories.keys().map(String::as_str);
        let found = self.world.records(known.chain(["k1", "k2", "k3"]).map(key));
        let ids: Vec<&str> = found.keys().map(|key| key.request_id.as_str()).collect();
        let expected: Vec<&str> = self.model.memories.keys().map(String::as_str).collect();
        assert_eq!(ids, expected, "the keys whose answers are stored");
        for (record, memory) in found.values().zip(self.model.memories.values()) {
            compare::same(&record.answer, &memory.answer);
            assert_eq!(record.created_at.micros(), memory.at);
            assert_eq!(record.method.name(), memory.content[0].1);
            assert_eq!(record.hashes.len(), record.method.fields().len(), "a hash for each field");
            assert!(record.later_hashes.is_empty());
        }
    }
}

fn step(event: &Event) -> Step {
    match event.event_type {
        EventType::Accepted => Step::Accepted,
        EventType::Issued => Step::Issued,
        EventType::Returned => Step::Returned,
        EventType::HandedToCourier => Step::Handed,
    }
}

/// Every answer that a command can have must be had, or the scripts are not as
/// wild as they should be.
const ANSWERS: [&str; 21] = [
    "IDEMPOTENCY_KEY_REUSED",
    "INVALID_PACKAGING",
    "ORDER_ALREADY_EXISTS",
    "ORDER_ALREADY_ISSUED",
    "ORDER_HANDED_TO_COURIER",
    "ORDER_NOT_FOUND",
    "ORDER_NOT_ISSUED",
    "ORDER_RETURNED",
    "RETURN_WINDOW_CLOSED",
    "STORAGE_EXPIRED",
    "STORAGE_NOT_EXPIRED",
    "VALIDATION_FAILED",
    "WEIGHT_TOO_HEAVY",
    "WRONG_CUSTOMER",
    "WRONG_PICKUP_POINT",
    "already there",
    "each",
    "order",
    "replayed refusal",
    "replayed success",
    "several refused",
];

fn names((answer, replayed): &(Result<Yes, No>, bool)) -> Vec<&'static str> {
    match answer {
        Ok(_) if *replayed => vec!["replayed success"],
        Err(_) if *replayed => vec!["replayed refusal"],
        Ok(Yes::Order(_)) => vec!["order"],
        Ok(Yes::AlreadyThere(_)) => vec!["already there"],
        Ok(Yes::Each(_)) => vec!["each"],
        Err(no) if no.orders.len() > 1 => vec!["several refused", no.reason],
        Err(no) => vec![no.reason],
    }
}

/// `on_store` runs a script on a fresh store, and cleans up behind it.
fn follows_the_model(test: &str, sequences: u32, on_store: impl Fn(&dyn Fn(Arc<dyn OrderStore>))) {
    let had = Mutex::new(BTreeSet::new());
    let sequences = property::check(test, sequences, &script(), |turns| {
        on_store(&|store| {
            let mut machine = Machine::new(store, false);
            for turn in &turns {
                let answers = machine.play(turn);
                had.lock().unwrap().extend(answers.iter().flat_map(names));
            }
        });
    });
    let had: Vec<&str> = had.into_inner().unwrap().into_iter().collect();
    // In a few hundred the rarest may be missing.
    if sequences >= 5_000 {
        assert_eq!(had, ANSWERS, "left: the answers that were had");
    }
}

#[test]
fn the_memory_store_follows_the_model() {
    let test = "domain::machine::the_memory_store_follows_the_model";
    follows_the_model(test, 20_000, |script| script(Arc::new(MemoryStore::new([7; 32]))));
}

#[test]
fn the_sqlite_store_follows_the_model() {
    let test = "domain::machine::the_sqlite_store_follows_the_model";
    follows_the_model(test, 300, |script| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        let _runtime = enter_runtime();
        script(Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap()));
    });
}

#[test]
fn the_postgres_store_follows_the_model() {
    let test = "domain::machine::the_postgres_store_follows_the_model";
    let (store, database) = block_on(crate::postgres::cluster::store());
    let shell = block_on(database.shell());
    // Replicas do not run triggers, so events can be removed.
    let clear = "SET session_replication_role = replica;
        TRUNCATE orders, order_events, idempotency RESTART IDENTITY";
    follows_the_model(test, 300, |script| {
        block_on(shell.batch_execute(clear)).unwrap();
        script(store.clone());
    });
}
