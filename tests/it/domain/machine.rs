//! T1: for random scripts of commands, the service answers as the model, and stores the same orders and
//! records.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use pvz::adapters::memory::MemoryStore;
use pvz::adapters::sqlite::{SqliteOptions, SqliteStore};
use pvz::domain::{Event, EventType, OrderId, RequestId};
use pvz::ports::{IdempotencyKey, OrderStore, Outcome};

use super::compare;
use super::model::{Model, ModelAnswer, ModelRefusal, Transition};
use super::script::{Step, script};
use crate::support::command_runner::{CommandRunner, Dump};
use crate::support::commands::TestCommand;
use crate::support::property;
use crate::support::runtime::{block_on, enter_runtime};

/// The service, the model, and the commands so far.
pub struct Machine {
    runner: CommandRunner,
    /// Every command has a key, and is retried until the store returns an outcome.
    retries: bool,
    model: Model,
    earlier: Vec<TestCommand>,
    before: Dump,
}

impl Machine {
    pub fn new(store: Arc<dyn OrderStore>, retries: bool) -> Self {
        let (model, earlier, before) = (Model::default(), Vec::new(), Dump::new());
        Self { runner: CommandRunner::new(store), retries, model, earlier, before }
    }

    /// Runs a step on the service and the model, and compares them. Returns the model's answers.
    pub fn run_step(&mut self, step: &Step) -> Vec<(Result<ModelAnswer, ModelRefusal>, bool)> {
        let now = step.clock_move.resolve(self.runner.clock.micros(), &self.model);
        self.runner.clock.set(now);
        let mut requests: Vec<TestCommand> = step
            .requests
            .iter()
            .filter_map(|scripted_command| scripted_command.resolve(now, &self.earlier))
            .collect();
        if requests.is_empty() {
            return Vec::new();
        }
        for (number, request) in
            requests.iter_mut().enumerate().filter(|(_, request)| self.retries && request.key.is_none())
        {
            *request = request.clone().key(&format!("key-{}", self.earlier.len() + number));
        }
        let history_lengths: Vec<(String, usize)> = self.history_lengths();
        let expected: Vec<_> = requests
            .iter()
            .map(|request| {
                self.model.execute(&request.command, request.key.as_ref().map(RequestId::as_str), now)
            })
            .collect();
        let (outcomes, failures) = self.run(&requests);
        for (Outcome { answer, replayed }, (expected, is_replay)) in outcomes.iter().zip(&expected) {
            compare::assert_same_answer(answer, expected);
            // After a failure, the first attempt may have been executed.
            assert!(replayed == is_replay || *replayed && failures > 0, "replayed: {replayed}");
        }
        self.compare_orders(&history_lengths, &requests);
        self.compare_records();
        self.earlier.extend(requests);
        expected
    }

    /// Runs the commands as one batch. With retries, each runs alone: a refusal without a record could
    /// otherwise change in a retry, because later commands of the batch took effect.
    fn run(&self, requests: &[TestCommand]) -> (Vec<Outcome>, usize) {
        if !self.retries {
            return (self.runner.run(requests), 0);
        }
        let each = requests.iter().map(|request| self.runner.run_with_retries(std::slice::from_ref(request)));
        let (outcomes, failures): (Vec<_>, Vec<_>) = each.unzip();
        (outcomes.concat(), failures.iter().sum())
    }

    /// Returns the number of transitions of each order.
    fn history_lengths(&self) -> Vec<(String, usize)> {
        self.model.orders.iter().map(|(id, order)| (id.clone(), order.history.len())).collect()
    }

    /// Asserts that the rows equal the model's orders, that orders without a transition are unchanged, and
    /// that the new events of the others match their commands.
    fn compare_orders(&mut self, history_lengths: &[(String, usize)], requests: &[TestCommand]) {
        let after = self.runner.dump();
        let ids: Vec<&str> = after.keys().map(OrderId::as_str).collect();
        let expected: Vec<&str> = self.model.orders.keys().map(String::as_str).collect();
        assert_eq!(ids, expected, "the stored orders");
        for (id, audited) in &after {
            let order = &self.model.orders[id.as_str()];
            let row = audited.row.as_ref().unwrap().as_ref().expect("a row");
            assert_eq!(compare::model_order(row), *order);
            let before = history_lengths
                .iter()
                .find(|(known, _)| known == id.as_str())
                .map_or(0, |(_, length)| *length);
            if before == order.history.len() {
                assert_eq!(self.before.get(id), Some(audited), "an order without a transition is unchanged");
                continue;
            }
            let events = audited.events.as_ref().unwrap();
            let earlier_events = self.before.get(id).map_or(&[][..], |old| old.events.as_ref().unwrap());
            assert_eq!(earlier_events.len(), before);
            assert!(events.starts_with(earlier_events), "events never change");
            let transitions: Vec<_> =
                events.iter().map(|event| (transition(event), event.occurred_at.micros())).collect();
            assert_eq!(transitions, order.history, "the events are the order's history");
            for event in &events[before..] {
                let requested = |request: &TestCommand| {
                    request.key == event.request_id
                        && request.actor == event.actor
                        && request.command.order_ids().contains(id)
                };
                assert!(requests.iter().any(requested), "no command caused {event:?}");
            }
        }
        self.before = after;
    }

    /// Asserts that the store has exactly the model's idempotency records.
    fn compare_records(&self) {
        let key =
            |key: &str| IdempotencyKey { scope: String::new(), request_id: RequestId::parse(key).unwrap() };
        let known = self.model.records.keys().map(String::as_str);
        let found = self.runner.records(known.chain(["k1", "k2", "k3"]).map(key));
        let ids: Vec<&str> = found.keys().map(|key| key.request_id.as_str()).collect();
        let expected: Vec<&str> = self.model.records.keys().map(String::as_str).collect();
        assert_eq!(ids, expected, "the keys of the stored records");
        for (record, expected) in found.values().zip(self.model.records.values()) {
            compare::assert_same_answer(&record.answer, &expected.answer);
            assert_eq!(record.created_at.micros(), expected.created_at);
            assert_eq!(record.method.name(), expected.content[0].1);
            assert_eq!(record.hashes.len(), record.method.fields().len(), "a hash for each field");
            assert!(record.later_hashes.is_empty());
        }
    }
}

fn transition(event: &Event) -> Transition {
    match event.event_type {
        EventType::Accepted => Transition::Accepted,
        EventType::Issued => Transition::Issued,
        EventType::Returned => Transition::Returned,
        EventType::HandedToCourier => Transition::HandedToCourier,
    }
}

/// Every kind of answer. The scripts must produce all of them.
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
    "already existed",
    "order",
    "replayed refusal",
    "replayed success",
    "results",
    "several refused",
];

fn answer_names((answer, replayed): &(Result<ModelAnswer, ModelRefusal>, bool)) -> Vec<&'static str> {
    match answer {
        Ok(_) if *replayed => vec!["replayed success"],
        Err(_) if *replayed => vec!["replayed refusal"],
        Ok(ModelAnswer::Order(_)) => vec!["order"],
        Ok(ModelAnswer::AlreadyExisted(_)) => vec!["already existed"],
        Ok(ModelAnswer::Results(_)) => vec!["results"],
        Err(no) if no.refused_orders.len() > 1 => vec!["several refused", no.reason],
        Err(no) => vec![no.reason],
    }
}

/// Checks random scripts against the model. `on_store` runs a script on an empty store.
fn check_against_model(test: &str, sequences: u32, on_store: impl Fn(&dyn Fn(Arc<dyn OrderStore>))) {
    let seen = Mutex::new(BTreeSet::new());
    let sequences = property::check(test, sequences, &script(), |steps| {
        on_store(&|store| {
            let mut machine = Machine::new(store, false);
            for step in &steps {
                let answers = machine.run_step(step);
                seen.lock().unwrap().extend(answers.iter().flat_map(answer_names));
            }
        });
    });
    let seen: Vec<&str> = seen.into_inner().unwrap().into_iter().collect();
    // A few hundred sequences may miss the rarest answers.
    if sequences >= 5_000 {
        assert_eq!(seen, ANSWERS, "left: the answers of the scripts");
    }
}

#[test]
fn memory_store_agrees_with_the_model() {
    let test = "domain::machine::memory_store_agrees_with_the_model";
    check_against_model(test, 20_000, |script| script(Arc::new(MemoryStore::new([7; 32]))));
}

#[test]
fn sqlite_store_agrees_with_the_model() {
    let test = "domain::machine::sqlite_store_agrees_with_the_model";
    check_against_model(test, 300, |script| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        let _runtime = enter_runtime();
        script(Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap()));
    });
}

#[test]
fn postgres_store_agrees_with_the_model() {
    let test = "domain::machine::postgres_store_agrees_with_the_model";
    let (store, database) = block_on(crate::postgres::cluster::store());
    let shell = block_on(database.shell());
    // The triggers that protect events do not run in this role.
    let clear = "SET session_replication_role = replica;
        TRUNCATE orders, order_events, idempotency RESTART IDENTITY";
    check_against_model(test, 300, |script| {
        block_on(shell.batch_execute(clear)).unwrap();
        script(store.clone());
    });
}
