//! T14: what changes with time changes at the microsecond, and a clock that
//! runs backwards never makes a history do so.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use pvz::app::Maintenance;
use pvz::domain::{
    Accept, Actor, Answer, BatchMode, Change, Command, Event, EventId, Order, OrderId, Orders, Policy,
    Refusal, Timestamp, decide, evolve,
};

use crate::support::commands::{accept, accept_return, issue, parcel, point, to_courier};
use crate::support::order_situations::orders_in_every_situation;
use crate::support::property;
use crate::support::runtime::block_on;
use crate::support::time::{DAY, HOUR, START, at};

/// How many microseconds before or after an edge.
fn beside() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -1..=1_i64, 1 => -HOUR..HOUR, 1 => -400 * DAY..400 * DAY]
}

/// A clock as bad as clocks get: the instants at which an order is accepted,
/// issued, brought back and given to a courier, each relative to the edge
/// that the step has.
#[derive(Debug, Clone)]
struct Days {
    accepted: i64,
    stored_for: i64,
    issued: Option<i64>,
    returned: Option<i64>,
    to_courier: i64,
    window: i64,
}

fn days() -> impl Strategy<Value = Days> {
    let stored_for = prop_oneof![Just(1), 1..365 * DAY, Just(365 * DAY)];
    let window = prop_oneof![Just(48 * HOUR), 0..100 * DAY];
    let beside_maybe = || prop::option::weighted(0.8, beside());
    (0..DAY, stored_for, beside_maybe(), beside_maybe(), beside(), window).prop_map(
        |(accepted, stored_for, issued, returned, to_courier, window)| Days {
            accepted: START + accepted,
            stored_for,
            issued,
            returned,
            to_courier,
            window,
        },
    )
}

/// One order and its events, decided without a store.
struct Life {
    policy: Policy,
    orders: Orders,
    events: Vec<Event>,
}

impl Life {
    fn new(window: i64) -> Self {
        let return_window = Duration::from_micros(u64::try_from(window).unwrap());
        let policy = Policy { return_window, ..Policy::standard(point("main")) };
        Self { policy, orders: HashMap::new(), events: Vec::new() }
    }

    /// Decides a command; true if it took effect, the reason if not.
    fn ask(&mut self, command: &Command, now: i64) -> Result<Order, &'static str> {
        let decision = decide(command, &self.orders, at(now), &self.policy);
        let decision = decision.map_err(|refusal: Refusal| refusal.reason.name())?;
        let [Change { event_type, order }] = &decision.changes[..] else { panic!("{decision:?}") };
        let before: Option<&Order> = self.orders.get(&order.order_id);
        let latest = before.map_or(now, |before| now.max(before.changed_at().micros()));
        assert_eq!(order.changed_at().micros(), latest, "history never runs backwards");
        let event = Event {
            event_id: EventId(1),
            event_type: *event_type,
            sequence: order.version,
            occurred_at: order.changed_at(),
            actor: Actor::anonymous(),
            request_id: None,
            traceparent: None,
            order: order.clone(),
        };
        assert_eq!(evolve(before, &event).as_ref(), Ok(order), "the fold agrees");
        match decision.answer {
            Answer::Order(view) => assert_eq!(view, order.clone().at(at(now))),
            Answer::Results(results) => assert_eq!(results[0].outcome, Ok(order.clone().at(at(now)))),
            Answer::AlreadyExisted(view) => panic!("{view:?}"),
        }
        self.events.push(event);
        self.orders.insert(order.order_id.clone(), order.clone());
        Ok(order.clone())
    }
}

fn live(days: &Days) {
    let mut life = Life::new(days.window);
    let until = days.accepted + days.stored_for;
    let row = Accept { storage_until: at(until), ..parcel("o1") };
    let accepted = life.ask(&accept(row).command, days.accepted).expect("accepted");
    assert!(!accepted.is_expired(at(until - 1)) && accepted.is_expired(at(until)));
    let mut issued_at = None;
    if let Some(beside) = days.issued {
        let now = until + beside;
        let issued = life.ask(&issue(&["o1"], BatchMode::Atomic).command, now);
        let issued = issued.map(|order| order.issued_at().unwrap().micros());
        let expected = if now < until { Ok(now.max(days.accepted)) } else { Err("STORAGE_EXPIRED") };
        assert_eq!(issued, expected);
        issued_at = issued.ok();
    }
    let mut returned_at = None;
    if let Some(beside) = days.returned {
        let closes = issued_at.map(|issued_at| issued_at + days.window);
        let now = closes.unwrap_or(until) + beside;
        let returned = life.ask(&accept_return("o1", "c1", None).command, now);
        let returned = returned.map(|order| order.returned_at().unwrap().micros());
        let expected = match (issued_at, closes) {
            (Some(issued_at), Some(closes)) if now < closes => Ok(now.max(issued_at)),
            (Some(_), Some(_)) => Err("RETURN_WINDOW_CLOSED"),
            _ => Err("ORDER_NOT_ISSUED"),
        };
        assert_eq!(returned, expected);
        returned_at = returned.ok();
    }
    let now = until + days.to_courier;
    let gone = life.ask(&to_courier(&["o1"], None, BatchMode::Atomic).command, now);
    let gone = gone.map(|order| order.handed_to_courier_at().unwrap().micros());
    let expected = match (issued_at, returned_at) {
        (_, Some(returned_at)) => Ok(now.max(returned_at)),
        (Some(_), None) => Err("ORDER_ALREADY_ISSUED"),
        (None, None) if now >= until => Ok(now),
        (None, None) => Err("STORAGE_NOT_EXPIRED"),
    };
    assert_eq!(gone, expected);
    assert!(life.events.is_sorted_by_key(|event| event.occurred_at));
}

#[test]
fn every_edge_is_at_its_microsecond_whatever_the_clock_does() {
    let test = "domain::instants::every_edge_is_at_its_microsecond_whatever_the_clock_does";
    property::check(test, 100_000, &days(), |days| live(&days));
}

#[test]
fn a_deadline_is_later_than_now_and_at_most_a_year_ahead() {
    let mut life = Life::new(0);
    for (ahead, accepted) in [
        (-1, false),
        (0, false),
        (1, true),
        (365 * DAY, true),
        (365 * DAY + 1, false),
        (i64::MAX / 100, false),
    ] {
        let until = Timestamp::from_micros(START + ahead).unwrap_or(Timestamp::MAX);
        let row = Accept { storage_until: until, ..parcel(&format!("o{ahead}").replace('-', "m")) };
        let answer = life.ask(&accept(row).command, START);
        assert_eq!(answer.map(|_| ()), if accepted { Ok(()) } else { Err("VALIDATION_FAILED") }, "{ahead}");
    }
}

#[test]
fn a_stored_answer_counts_for_exactly_its_retention() {
    for (age, replayed) in
        [(0, true), (7 * DAY - 1, true), (7 * DAY, true), (7 * DAY + 1, false), (-DAY, true)]
    {
        let world = orders_in_every_situation();
        let ask = || to_courier(&["gone1"], None, BatchMode::Partial).key("key-1");
        let first = world.run_one(ask());
        assert!(!first.replayed && first.answer.is_ok());
        world.clock.advance(age);
        let again = world.run_one(ask());
        assert_eq!((again.replayed, &again.answer), (replayed, &first.answer), "{age} µs old");
        let reused = world.run_one(to_courier(&["gone2"], None, BatchMode::Partial).key("key-1"));
        assert!(reused.answer.is_err(), "the record, old or new, is of gone1");
    }
}

#[test]
fn housekeeping_removes_no_answer_that_still_counts() {
    for (age, removed) in [(0, 0), (7 * DAY, 0), (7 * DAY + 1, 1), (-DAY, 0)] {
        let world = orders_in_every_situation();
        world.run_one(to_courier(&["gone1"], None, BatchMode::Partial).key("key-1"));
        world.clock.advance(age);
        let (store, clock, policy) = (world.store.clone(), world.clock.clone(), world.policy.clone());
        let maintenance = Maintenance::new(store, clock, policy);
        assert_eq!(block_on(maintenance.expire_idempotency_records(10)).unwrap(), removed, "{age} µs old");
    }
}

#[test]
fn an_order_is_expired_from_its_deadline_on_and_only_while_it_is_stored() {
    let world = orders_in_every_situation();
    let dump = world.dump();
    let row = |order: &OrderId| dump[order].row.clone().unwrap().unwrap();
    for order in dump.keys() {
        let order = row(order);
        let far = at(START + 3_000 * DAY);
        let stored = matches!(order.order_id.as_str(), "stored1" | "expired1");
        assert_eq!(order.is_expired(far), stored, "{order:?}");
        assert!(!order.is_expired(at(order.storage_until.micros() - 1)));
    }
}
