//! Random scripts: batches of commands over few orders, customers, points and
//! keys, so that they meet, and jumps of the clock to where rules change.

use proptest::prelude::*;
use pvz::domain::{Accept, Actor, ActorId, ActorKind, BatchMode, Grams, Money, RequestId};

use super::model::{Model, Step};
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

/// A batch, and where the clock goes before it.
#[derive(Debug, Clone)]
pub struct Turn {
    pub jump: Jump,
    pub asks: Vec<Line>,
}

/// A move of the clock.
#[derive(Debug, Clone, Copy)]
pub enum Jump {
    /// By that many microseconds, also back.
    By(i64),
    /// To an instant at which a rule changes, of those that there are, and
    /// that many microseconds beside it.
    Edge(prop::sample::Index, i64),
}

/// A command, resolved when it is its turn.
#[derive(Debug, Clone)]
pub enum Line {
    /// A command as it is.
    Plain(TestCommand),
    /// An accept or an import row, for that long after now.
    Incoming { row: Accept, import: bool, until: i64, key: Option<RequestId>, actor: Actor },
    /// An earlier command again, with its key or without one.
    Again { which: prop::sample::Index, keyed: bool },
}

impl Jump {
    pub fn resolve(self, now: i64, model: &Model) -> i64 {
        match self {
            Self::By(micros) => now + micros,
            Self::Edge(which, beside) => {
                let deadlines = model.parcels.values().map(|parcel| parcel.until);
                let windows = model.parcels.values().flat_map(|parcel| &parcel.life);
                let windows = windows.filter(|(step, _)| *step == Step::Issued).map(|(_, at)| at + 48 * HOUR);
                let retention = model.memories.values().map(|memory| memory.at + 7 * DAY);
                let edges: Vec<i64> = deadlines.chain(windows).chain(retention).collect();
                if edges.is_empty() { now } else { *which.get(&edges) + beside }
            }
        }
    }
}

impl Line {
    pub fn resolve(&self, now: i64, earlier: &[TestCommand]) -> Option<TestCommand> {
        Some(match self {
            Self::Plain(ask) => ask.clone(),
            Self::Incoming { row, import: as_import, until, key, actor } => {
                let row = Accept { storage_until: at(now + until), ..row.clone() };
                let ask = if *as_import { import(row) } else { accept(row) };
                TestCommand { key: key.clone(), actor: actor.clone(), ..ask }
            }
            Self::Again { which, keyed } if !earlier.is_empty() => {
                let ask = which.get(earlier).clone();
                TestCommand { key: ask.key.filter(|_| *keyed), ..ask }
            }
            Self::Again { .. } => return None,
        })
    }
}

pub fn script() -> impl Strategy<Value = Vec<Turn>> {
    let turn = (jump(), prop::collection::vec(line(), 1..5)).prop_map(|(jump, asks)| Turn { jump, asks });
    prop::collection::vec(turn, 1..14)
}

fn jump() -> impl Strategy<Value = Jump> {
    let some = prop::sample::select(&[0, 1, HOUR, -HOUR, -1, 47 * HOUR, 8 * DAY, -3 * DAY][..]);
    prop_oneof![
        2 => some.prop_map(Jump::By),
        1 => (any::<prop::sample::Index>(), -1..=1_i64).prop_map(|(which, by)| Jump::Edge(which, by)),
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

fn line() -> impl Strategy<Value = Line> {
    let orders = || prop::sample::subsequence(&ORDERS[..], 1..=3).prop_shuffle();
    let whose = || prop::sample::select(&["c1", "c1", "c2"][..]);
    let counter = || prop::sample::select(&POINTS[..]);
    let issue = (orders(), prop::option::of(whose()), counter(), mode())
        .prop_map(|(orders, whose, counter, mode)| issue_for(&orders, whose, counter, mode));
    let back = (prop::sample::select(&ORDERS[..]), whose(), counter())
        .prop_map(|(order, whose, counter)| accept_return(order, whose, counter));
    let away =
        (orders(), counter(), mode()).prop_map(|(orders, counter, mode)| to_courier(&orders, counter, mode));
    let plain = prop_oneof![4 => issue, 3 => back, 2 => away];
    let plain =
        (plain, key(), actor()).prop_map(|(ask, key, actor)| Line::Plain(TestCommand { key, actor, ..ask }));
    prop_oneof![
        4 => incoming(),
        6 => plain,
        2 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, keyed)| Line::Again { which, keyed }),
    ]
}

fn incoming() -> impl Strategy<Value = Line> {
    let row = (
        prop::sample::select(&ORDERS[..]),
        prop::sample::select(&["c1", "c1", "c2"][..]),
        prop_oneof![2 => Just(PACKAGING[0]), 3 => prop::sample::select(&PACKAGING[..])],
        prop_oneof![3 => Just(WEIGHTS[1]), 2 => prop::sample::select(&WEIGHTS[..])],
        prop::sample::select(&[0, 19_990][..]),
        prop::sample::select(&POINTS[..]),
    );
    let row = row.prop_map(|(id, whose, packaging, weight, price, counter)| Accept {
        order_id: order(id),
        customer_id: customer(whose),
        storage_until: at(START),
        weight: weight.map(|grams| Grams::new(grams).unwrap()),
        price: Money::price(price).unwrap(),
        packaging: codes(packaging),
        pickup_point_id: counter.map(point),
    });
    let until = prop_oneof![
        6 => prop::sample::select(&[1, HOUR, DAY, 30 * DAY, 365 * DAY][..]),
        1 => prop::sample::select(&[-DAY, 0, 365 * DAY + 1][..]),
    ];
    (row, any::<bool>(), until, key(), actor()).prop_map(|(row, import, until, key, actor)| Line::Incoming {
        row,
        import,
        until,
        key,
        actor,
    })
}
