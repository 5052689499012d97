//! Random scripts: batches of commands on few orders, customers, pickup points and keys, so that they
//! interact, and moves of the clock to instants at which a rule changes.

use proptest::prelude::*;
use pvz::domain::{Accept, Actor, ActorId, ActorKind, BatchMode, Grams, Money, RequestId};

use super::model::{Model, Transition};
use crate::support::commands::{
    TestCommand, accept, accept_return, codes, customer, import, issue_for, order, point, to_courier,
};
use crate::support::time::{DAY, HOUR, START, at};

const ORDERS: [&str; 5] = ["o1", "o2", "o3", "o4", "o5"];
const POINTS: [Option<&str>; 3] = [None, Some("main"), Some("north1")];
const PACKAGING: [&[&str]; 11] = [
    &[],
    &["bag"],
    &["box"],
    &["film"],
    &["bag", "film"],
    &["film", "bag"],
    &["film", "box"],
    &["bag", "box"],
    &["film", "film"],
    &["bag", "silk1"],
    &[""],
];
const WEIGHTS: [Option<i64>; 7] =
    [None, Some(1), Some(9_999), Some(10_000), Some(29_999), Some(30_000), Some(100_000)];

/// A move of the clock, then a batch.
#[derive(Debug, Clone)]
pub struct Step {
    pub clock_move: ClockMove,
    pub requests: Vec<ScriptedCommand>,
}

/// A move of the clock.
#[derive(Debug, Clone, Copy)]
pub enum ClockMove {
    /// By a number of microseconds, forwards or backwards.
    By(i64),
    /// To an instant at which a rule changes, plus an offset in microseconds.
    Edge(prop::sample::Index, i64),
}

/// A command that is resolved when its step runs.
#[derive(Debug, Clone)]
pub enum ScriptedCommand {
    /// A complete command.
    Fixed(TestCommand),
    /// An accept or an import row. `storage_until` is relative to now.
    AcceptOrImport { row: Accept, import: bool, storage_until: i64, key: Option<RequestId>, actor: Actor },
    /// A repeated command, with its key or without.
    Repeat { index: prop::sample::Index, keyed: bool },
}

impl ClockMove {
    pub fn resolve(self, now: i64, model: &Model) -> i64 {
        match self {
            Self::By(micros) => now + micros,
            Self::Edge(index, offset) => {
                let deadlines = model.orders.values().map(|order| order.storage_until);
                let windows = model.orders.values().flat_map(|order| &order.history);
                let windows = windows
                    .filter(|(transition, _)| *transition == Transition::Issued)
                    .map(|(_, at)| at + 48 * HOUR);
                let retention = model.records.values().map(|record| record.created_at + 7 * DAY);
                let edges: Vec<i64> = deadlines.chain(windows).chain(retention).collect();
                if edges.is_empty() { now } else { *index.get(&edges) + offset }
            }
        }
    }
}

impl ScriptedCommand {
    pub fn resolve(&self, now: i64, earlier: &[TestCommand]) -> Option<TestCommand> {
        Some(match self {
            Self::Fixed(request) => request.clone(),
            Self::AcceptOrImport { row, import: as_import, storage_until, key, actor } => {
                let row = Accept { storage_until: at(now + storage_until), ..row.clone() };
                let request = if *as_import { import(row) } else { accept(row) };
                TestCommand { key: key.clone(), actor: actor.clone(), ..request }
            }
            Self::Repeat { index, keyed } if !earlier.is_empty() => {
                let request = index.get(earlier).clone();
                TestCommand { key: request.key.filter(|_| *keyed), ..request }
            }
            Self::Repeat { .. } => return None,
        })
    }
}

pub fn script() -> impl Strategy<Value = Vec<Step>> {
    let step = (clock_move(), prop::collection::vec(scripted_command(), 1..5))
        .prop_map(|(clock_move, requests)| Step { clock_move, requests });
    prop::collection::vec(step, 1..14)
}

fn clock_move() -> impl Strategy<Value = ClockMove> {
    let some = prop::sample::select(&[0, 1, HOUR, -HOUR, -1, 47 * HOUR, 8 * DAY, -3 * DAY][..]);
    prop_oneof![
        2 => some.prop_map(ClockMove::By),
        1 => (any::<prop::sample::Index>(), -1..=1_i64).prop_map(|(index, by)| ClockMove::Edge(index, by)),
    ]
}

fn key() -> impl Strategy<Value = Option<RequestId>> {
    let key = prop::sample::select(&["k1", "k2", "k3"][..]).prop_map(|key| RequestId::parse(key).unwrap());
    prop::option::weighted(0.3, key)
}

fn actor() -> impl Strategy<Value = Actor> {
    prop::sample::select(&ActorKind::ALL[..])
        .prop_map(|kind| Actor { kind, id: ActorId::parse("a1").unwrap() })
}

fn mode() -> impl Strategy<Value = BatchMode> {
    prop::sample::select(&[BatchMode::Atomic, BatchMode::Partial][..])
}

fn scripted_command() -> impl Strategy<Value = ScriptedCommand> {
    let orders = || prop::sample::subsequence(&ORDERS[..], 1..=3).prop_shuffle();
    let customer_id = || prop::sample::select(&["c1", "c1", "c2"][..]);
    let pickup_point = || prop::sample::select(&POINTS[..]);
    let issues = (orders(), prop::option::of(customer_id()), pickup_point(), mode()).prop_map(
        |(orders, customer_id, pickup_point, mode)| issue_for(&orders, customer_id, pickup_point, mode),
    );
    let accept_returns = (prop::sample::select(&ORDERS[..]), customer_id(), pickup_point())
        .prop_map(|(order, customer_id, pickup_point)| accept_return(order, customer_id, pickup_point));
    let returns_to_courier = (orders(), pickup_point(), mode())
        .prop_map(|(orders, pickup_point, mode)| to_courier(&orders, pickup_point, mode));
    let plain = prop_oneof![4 => issues, 3 => accept_returns, 2 => returns_to_courier];
    let plain = (plain, key(), actor())
        .prop_map(|(request, key, actor)| ScriptedCommand::Fixed(TestCommand { key, actor, ..request }));
    prop_oneof![
        4 => accept_or_import(),
        6 => plain,
        2 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(index, keyed)| ScriptedCommand::Repeat { index, keyed }),
    ]
}

fn accept_or_import() -> impl Strategy<Value = ScriptedCommand> {
    let row = (
        prop::sample::select(&ORDERS[..]),
        prop::sample::select(&["c1", "c1", "c2"][..]),
        prop_oneof![2 => Just(PACKAGING[0]), 3 => prop::sample::select(&PACKAGING[..])],
        prop_oneof![3 => Just(WEIGHTS[1]), 2 => prop::sample::select(&WEIGHTS[..])],
        prop::sample::select(&[0, 19_990][..]),
        prop::sample::select(&POINTS[..]),
    );
    let row = row.prop_map(|(id, customer_id, packaging, weight, price, pickup_point)| Accept {
        order_id: order(id),
        customer_id: customer(customer_id),
        storage_until: at(START),
        weight: weight.map(|grams| Grams::new(grams).unwrap()),
        price: Money::price(price).unwrap(),
        packaging: codes(packaging),
        pickup_point_id: pickup_point.map(point),
    });
    let storage_until = prop_oneof![
        6 => prop::sample::select(&[1, HOUR, DAY, 30 * DAY, 365 * DAY][..]),
        1 => prop::sample::select(&[-DAY, 0, 365 * DAY + 1][..]),
    ];
    (row, any::<bool>(), storage_until, key(), actor()).prop_map(
        |(row, import, storage_until, key, actor)| ScriptedCommand::AcceptOrImport {
            row,
            import,
            storage_until,
            key,
            actor,
        },
    )
}
