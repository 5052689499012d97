//! T14: time limits are exact to the microsecond, and a history never runs backwards, even if the clock
//! does.

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

/// Returns an offset from a time limit in microseconds.
fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -1..=1_i64, 1 => -HOUR..HOUR, 1 => -400 * DAY..400 * DAY]
}

/// The instants at which an order is accepted, issued, returned and handed to the courier, each relative
/// to the time limit of the transition. They may run backwards.
#[derive(Debug, Clone)]
struct Timing {
    accepted: i64,
    stored_for: i64,
    issued: Option<i64>,
    returned: Option<i64>,
    to_courier: i64,
    window: i64,
}

fn timing() -> impl Strategy<Value = Timing> {
    let stored_for = prop_oneof![Just(1), 1..365 * DAY, Just(365 * DAY)];
    let window = prop_oneof![Just(48 * HOUR), 0..100 * DAY];
    let optional_offset = || prop::option::weighted(0.8, offset());
    (0..DAY, stored_for, optional_offset(), optional_offset(), offset(), window).prop_map(
        |(accepted, stored_for, issued, returned, to_courier, window)| Timing {
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
struct OrderHistory {
    policy: Policy,
    orders: Orders,
    events: Vec<Event>,
}

impl OrderHistory {
    fn new(window: i64) -> Self {
        let return_window = Duration::from_micros(u64::try_from(window).unwrap());
        let policy = Policy { return_window, ..Policy::standard(point("main")) };
        Self { policy, orders: HashMap::new(), events: Vec::new() }
    }

    /// Decides a command. Returns the order, or the reason of the refusal.
    fn decide(&mut self, command: &Command, now: i64) -> Result<Order, &'static str> {
        let decision = decide(command, &self.orders, at(now), &self.policy);
        let decision = decision.map_err(|refusal: Refusal| refusal.reason.name())?;
        let [Change { event_type, order }] = &decision.changes[..] else { panic!("{decision:?}") };
        let before: Option<&Order> = self.orders.get(&order.order_id);
        let latest = before.map_or(now, |before| now.max(before.changed_at().micros()));
        assert_eq!(order.changed_at().micros(), latest, "a history never runs backwards");
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
        assert_eq!(evolve(before, &event).as_ref(), Ok(order), "the fold of the event is the order");
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

fn check_timing(timing: &Timing) {
    let mut history = OrderHistory::new(timing.window);
    let storage_until = timing.accepted + timing.stored_for;
    let order = Accept { storage_until: at(storage_until), ..parcel("o1") };
    let accepted = history.decide(&accept(order).command, timing.accepted).expect("accepted");
    assert!(!accepted.is_expired(at(storage_until - 1)) && accepted.is_expired(at(storage_until)));
    let mut issued_at = None;
    if let Some(offset) = timing.issued {
        let now = storage_until + offset;
        let issued = history.decide(&issue(&["o1"], BatchMode::Atomic).command, now);
        let issued = issued.map(|order| order.issued_at().unwrap().micros());
        let expected =
            if now < storage_until { Ok(now.max(timing.accepted)) } else { Err("STORAGE_EXPIRED") };
        assert_eq!(issued, expected);
        issued_at = issued.ok();
    }
    let mut returned_at = None;
    if let Some(offset) = timing.returned {
        let closes = issued_at.map(|issued_at| issued_at + timing.window);
        let now = closes.unwrap_or(storage_until) + offset;
        let returned = history.decide(&accept_return("o1", "c1", None).command, now);
        let returned = returned.map(|order| order.returned_at().unwrap().micros());
        let expected = match (issued_at, closes) {
            (Some(issued_at), Some(closes)) if now < closes => Ok(now.max(issued_at)),
            (Some(_), Some(_)) => Err("RETURN_WINDOW_CLOSED"),
            _ => Err("ORDER_NOT_ISSUED"),
        };
        assert_eq!(returned, expected);
        returned_at = returned.ok();
    }
    let now = storage_until + timing.to_courier;
    let handed_over = history.decide(&to_courier(&["o1"], None, BatchMode::Atomic).command, now);
    let handed_over = handed_over.map(|order| order.handed_to_courier_at().unwrap().micros());
    let expected = match (issued_at, returned_at) {
        (_, Some(returned_at)) => Ok(now.max(returned_at)),
        (Some(_), None) => Err("ORDER_ALREADY_ISSUED"),
        (None, None) if now >= storage_until => Ok(now),
        (None, None) => Err("STORAGE_NOT_EXPIRED"),
    };
    assert_eq!(handed_over, expected);
    assert!(history.events.is_sorted_by_key(|event| event.occurred_at));
}

#[test]
fn time_limits_are_exact_for_any_clock() {
    let test = "domain::instants::time_limits_are_exact_for_any_clock";
    property::check(test, 100_000, &timing(), |timing| check_timing(&timing));
}

#[test]
fn storage_deadline_is_later_than_now_and_at_most_a_year_ahead() {
    let mut history = OrderHistory::new(0);
    for (ahead, accepted) in [
        (-1, false),
        (0, false),
        (1, true),
        (365 * DAY, true),
        (365 * DAY + 1, false),
        (i64::MAX / 100, false),
    ] {
        let storage_until = Timestamp::from_micros(START + ahead).unwrap_or(Timestamp::MAX);
        let order = Accept { storage_until, ..parcel(&format!("o{ahead}").replace('-', "m")) };
        let answer = history.decide(&accept(order).command, START);
        assert_eq!(answer.map(|_| ()), if accepted { Ok(()) } else { Err("VALIDATION_FAILED") }, "{ahead}");
    }
}

#[test]
fn answer_is_replayed_for_exactly_the_retention() {
    for (age, replayed) in
        [(0, true), (7 * DAY - 1, true), (7 * DAY, true), (7 * DAY + 1, false), (-DAY, true)]
    {
        let runner = orders_in_every_situation();
        let command = || to_courier(&["gone1"], None, BatchMode::Partial).key("key-1");
        let first = runner.run_one(command());
        assert!(!first.replayed && first.answer.is_ok());
        runner.clock.advance(age);
        let again = runner.run_one(command());
        assert_eq!((again.replayed, &again.answer), (replayed, &first.answer), "{age} µs old");
        let reused = runner.run_one(to_courier(&["gone2"], None, BatchMode::Partial).key("key-1"));
        assert!(reused.answer.is_err(), "the record, old or new, belongs to gone1");
    }
}

#[test]
fn maintenance_removes_only_expired_records() {
    for (age, removed) in [(0, 0), (7 * DAY, 0), (7 * DAY + 1, 1), (-DAY, 0)] {
        let runner = orders_in_every_situation();
        runner.run_one(to_courier(&["gone1"], None, BatchMode::Partial).key("key-1"));
        runner.clock.advance(age);
        let (store, clock, policy) = (runner.store.clone(), runner.clock.clone(), runner.policy.clone());
        let maintenance = Maintenance::new(store, clock, policy);
        assert_eq!(block_on(maintenance.expire_idempotency_records(10)).unwrap(), removed, "{age} µs old");
    }
}

#[test]
fn only_a_stored_order_is_expired_from_its_deadline_on() {
    let runner = orders_in_every_situation();
    let dump = runner.dump();
    let stored_order = |id: &OrderId| dump[id].row.clone().unwrap().unwrap();
    for order in dump.keys() {
        let order = stored_order(order);
        let far = at(START + 3_000 * DAY);
        let stored = matches!(order.order_id.as_str(), "stored1" | "expired1");
        assert_eq!(order.is_expired(far), stored, "{order:?}");
        assert!(!order.is_expired(at(order.storage_until.micros() - 1)));
    }
}
