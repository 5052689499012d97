//! Tests of idempotency keys: request equality, recorded answers, and reused keys.

use std::borrow::Cow;
use std::sync::Arc;

use pvz::domain::{
    Accept, Actor, ActorId, ActorKind, Answer, BatchMode, Command, Content, Form, Grams, Method, Money,
    OrderIds, Reason,
};

use crate::support::commands::{
    TestCommand, accept, accept_return, codes, customer, import, issue, issue_for, order, point, to_courier,
};
use crate::support::order_situations::{accepted, orders_in_every_situation};
use crate::support::time::{DAY, at};

type Change = fn(&mut Command);

/// Returns the compared fields of an RPC in message order, each with a change of its value.
fn fields(method: Method) -> Vec<(&'static str, Change)> {
    fn row(command: &mut Command, change: fn(&mut Accept)) {
        match command {
            Command::Accept(row) => change(row),
            Command::Import(row) => change(&mut row.0),
            other => panic!("{other:?} accepts no order"),
        }
    }
    fn ids(command: &mut Command, ids: &[&str]) {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let parsed = OrderIds::parse(&mut Form::default(), &ids).unwrap();
        match command {
            Command::Issue(issue) => issue.order_ids = parsed,
            Command::ReturnToCourier(return_to_courier) => return_to_courier.order_ids = parsed,
            other => panic!("{other:?} has no list of orders"),
        }
    }
    fn another_point(command: &mut Command) {
        let north = Some(point("north1"));
        match command {
            Command::Accept(row) => row.pickup_point_id = north,
            Command::Import(row) => row.0.pickup_point_id = north,
            Command::Issue(issue) => issue.pickup_point_id = north,
            Command::AcceptReturn(accept_return) => accept_return.pickup_point_id = north,
            Command::ReturnToCourier(return_to_courier) => return_to_courier.pickup_point_id = north,
        }
    }
    fn partial(command: &mut Command) {
        match command {
            Command::Issue(issue) => issue.mode = BatchMode::Partial,
            Command::ReturnToCourier(return_to_courier) => return_to_courier.mode = BatchMode::Partial,
            other => panic!("{other:?} has no mode"),
        }
    }
    fn another_customer(command: &mut Command) {
        match command {
            Command::Issue(issue) => issue.customer_id = Some(customer("c2")),
            Command::AcceptReturn(accept_return) => accept_return.customer_id = customer("c2"),
            command => row(command, |row| row.customer_id = customer("c2")),
        }
    }
    let point: (&'static str, Change) = ("pickup_point_id", another_point);
    let order_ids: (&'static str, Change) = ("order_ids", |command| ids(command, &["gone1", "stored1"]));
    match method {
        Method::AcceptOrder | Method::ImportOrders => vec![
            ("order_id", |command| row(command, |row| row.order_id = order("none2"))),
            ("customer_id", another_customer),
            ("storage_until", |command| {
                row(command, |row| row.storage_until = at(row.storage_until.micros() + 1));
            }),
            ("weight_grams", |command| row(command, |row| row.weight = Grams::new(1_001).ok())),
            ("price_minor", |command| row(command, |row| row.price = Money::ZERO)),
            ("packaging", |command| row(command, |row| row.packaging = codes(&["box"]))),
            point,
        ],
        Method::IssueOrders => {
            vec![order_ids, ("customer_id", another_customer), point, ("mode", partial)]
        }
        Method::AcceptReturn => vec![
            ("order_id", |command| {
                let Command::AcceptReturn(accept_return) = command else { panic!("{command:?}") };
                accept_return.order_id = order("closed1");
            }),
            ("customer_id", another_customer),
            point,
        ],
        Method::ReturnToCourier => vec![order_ids, point, ("mode", partial)],
    }
}

/// Returns a command of an RPC whose answer is recorded.
fn command(method: Method) -> Command {
    match method {
        Method::AcceptOrder => accept(accepted("none1")).command,
        Method::ImportOrders => import(accepted("none1")).command,
        Method::IssueOrders => issue(&["stored1", "gone1"], BatchMode::Atomic).command,
        Method::AcceptReturn => accept_return("issued1", "c1", None).command,
        Method::ReturnToCourier => to_courier(&["stored1", "gone1"], None, BatchMode::Atomic).command,
    }
}

fn with_key(command: Command) -> TestCommand {
    TestCommand::from(command).key("key-1")
}

#[test]
fn reused_key_is_refused_with_the_first_different_field() {
    for method in Method::ALL {
        let runner = orders_in_every_situation();
        let fields = fields(method);
        let named: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
        assert_eq!(
            named,
            [method.fields(), method.later_fields()].concat(),
            "every compared field is tested"
        );
        let first = runner.run_one(with_key(command(method)));
        for (index, (field, change)) in fields.iter().enumerate() {
            for (_, another) in &fields[index..] {
                let mut other = command(method);
                another(&mut other);
                change(&mut other);
                let before = runner.dump();
                let outcome = runner.run_one(with_key(other));
                let refusal = outcome.answer.unwrap_err();
                assert_eq!(refusal.reason, Reason::IdempotencyKeyReused);
                assert_eq!(refusal.metadata["field"], *field, "{method:?}");
                assert!(!outcome.replayed, "the refusal is not a replayed answer");
                assert_eq!(runner.dump(), before);
            }
        }
        let again = runner.run_one(with_key(command(method)));
        assert!(again.replayed);
        assert_eq!(again.answer, first.answer, "the first answer is replayed");
    }
}

#[test]
fn key_reused_for_another_rpc_is_refused_with_the_field_method() {
    for first in Method::ALL {
        let runner = orders_in_every_situation();
        runner.run_one(with_key(command(first)));
        for other in Method::ALL.into_iter().filter(|other| *other != first) {
            let refusal = runner.run_one(with_key(command(other))).answer.unwrap_err();
            assert_eq!(
                (refusal.reason, refusal.metadata["field"].as_str()),
                (Reason::IdempotencyKeyReused, "method")
            );
        }
    }
}

#[test]
fn actor_and_packaging_order_are_not_compared() {
    let runner = orders_in_every_situation();
    let row = |packaging: &[&str]| Accept { packaging: codes(packaging), ..accepted("none1") };
    let first = runner.run_one(accept(row(&["film", "bag"])).key("key-1"));
    assert!(first.answer.is_ok());
    let courier = Actor { kind: ActorKind::Courier, id: ActorId::parse("courier1").unwrap() };
    let again = runner.run_one(TestCommand { actor: courier, ..accept(row(&["bag", "film"])).key("key-1") });
    assert_eq!((again.replayed, again.answer), (true, first.answer));
    let dump = runner.dump();
    let events = dump[&order("none1")].events.as_ref().unwrap();
    let actors: Vec<&Actor> = events.iter().map(|event| &event.actor).collect();
    assert_eq!(actors, [&Actor::anonymous()], "the event has the first actor");
    assert_eq!(events[0].request_id.as_ref().map(pvz::domain::RequestId::as_str), Some("key-1"));
}

#[test]
fn explicit_default_pickup_point_differs_from_an_absent_one() {
    let runner = orders_in_every_situation();
    runner.run_one(with_key(accept(accepted("none1")).command)).answer.unwrap();
    let named = Accept { pickup_point_id: Some(point("main")), ..accepted("none1") };
    let refusal = runner.run_one(with_key(accept(named).command)).answer.unwrap_err();
    assert_eq!(refusal.metadata["field"], "pickup_point_id", "the fields are compared as sent");
}

#[test]
fn different_contents_have_different_encodings() {
    let catalogue = pvz::domain::Catalogue::standard();
    let of = |packaging: &[&str]| {
        let row = Command::Accept(Accept { packaging: codes(packaging), ..accepted("none1") });
        Content::of(&row, &catalogue).fields.into_iter().map(Cow::into_owned).collect::<Vec<String>>()
    };
    let lists: [&[&str]; 8] = [&[], &[""], &["", ""], &["a", "b"], &["ab"], &["a1:b"], &["1:a1:b"], &["a,b"]];
    for (index, one) in lists.iter().enumerate() {
        for other in &lists[index + 1..] {
            assert_ne!(of(one), of(other), "{one:?} and {other:?}");
        }
    }
}

/// Returns commands, and whether their answers are recorded.
fn recorded_answers() -> Vec<(TestCommand, bool)> {
    let row = || accepted("none1");
    let wrong = |change: fn(&mut Accept)| {
        let mut row = row();
        change(&mut row);
        accept(row)
    };
    vec![
        (accept(row()), true),
        (import(accepted("stored1")), true),
        (accept(accepted("stored1")), true),
        (wrong(|row| row.packaging = codes(&["silk1"])), false),
        (wrong(|row| row.weight = None), false),
        (wrong(|row| row.weight = Grams::new(10_000).ok()), false),
        (wrong(|row| row.storage_until = at(0)), false),
        (issue(&["none1"], BatchMode::Atomic), true),
        (issue(&["none1"], BatchMode::Partial), true),
        (issue(&["expired1"], BatchMode::Atomic), true),
        (issue(&["issued1"], BatchMode::Atomic), true),
        (issue(&["returned1"], BatchMode::Atomic), true),
        (issue(&["gone1"], BatchMode::Atomic), true),
        (issue_for(&["stored1"], Some("c2"), None, BatchMode::Atomic), true),
        (issue_for(&["stored1"], None, Some("north1"), BatchMode::Atomic), true),
        (accept_return("stored1", "c1", None), true),
        (accept_return("closed1", "c1", None), true),
        (to_courier(&["stored1"], None, BatchMode::Atomic), true),
    ]
}

#[test]
fn answers_are_recorded_except_refusals_of_invalid_input() {
    for (command, recorded) in recorded_answers() {
        let runner = orders_in_every_situation();
        let first = runner.run_one(command.clone().key("key-1"));
        runner.clock.advance(DAY);
        let again = runner.run_one(command.clone().key("key-1"));
        assert_eq!(again.replayed, recorded, "{command:?}");
        if recorded {
            assert_eq!(again.answer, first.answer, "the first answer is replayed");
        } else {
            let corrected = Accept { storage_until: at(runner.clock.micros() + DAY), ..accepted("none1") };
            let outcome = runner.run_one(accept(corrected).key("key-1"));
            assert!(matches!(outcome.answer, Ok(Answer::Order(_))), "the key can be used again: {outcome:?}");
        }
    }
}

#[test]
fn keys_of_different_scopes_are_independent() {
    use pvz::app::{BatchDecider, Entry};
    use pvz::domain::RequestId;

    let runner = orders_in_every_situation();
    let outcome = |scope: &str, command: Command| {
        let key = RequestId::parse("key-1").ok();
        let entry = Entry::new(command, Actor::anonymous(), scope, key, &runner.policy);
        let ids = std::sync::Arc::new(crate::support::time::SequentialIds::default());
        let decider =
            BatchDecider::new(vec![Arc::new(entry)], runner.policy.clone(), runner.clock.clone(), ids);
        let (batch, decider) = (decider.batch(), std::sync::Arc::new(decider));
        crate::support::runtime::block_on(runner.store.transact(batch, decider)).unwrap().pop().unwrap()
    };
    assert!(outcome("one", accept(accepted("none1")).command).answer.is_ok());
    assert!(outcome("two", accept(accepted("none2")).command).answer.is_ok());
    assert!(outcome("one", accept(accepted("none1")).command).replayed);
    assert!(outcome("two", accept(accepted("none2")).command).replayed);
}
