//! T2: the table of transitions, exhaustively: every situation, command and guard, and every batch of two
//! orders.

use pvz::domain::{Accept, Answer, BatchMode, Grams, ImportRow, Money, OrderView, Refusal};
use pvz::domain::{Command, OrderResult};
use pvz::ports::CommandResult;

use crate::support::command_runner::CommandRunner;
use crate::support::commands::{
    TestCommand, accept, accept_return, codes, customer, import, issue, issue_for, point, to_courier,
};
use crate::support::order_situations::{SITUATIONS, accepted, orders_in_every_situation};
use crate::support::time::{SECOND, at};

const DONE: &str = "";
const EXISTS: &str = "ORDER_ALREADY_EXISTS";
const UNKNOWN: &str = "ORDER_NOT_FOUND";
const ISSUED: &str = "ORDER_ALREADY_ISSUED";
const RETURNED: &str = "ORDER_RETURNED";
const GONE: &str = "ORDER_HANDED_TO_COURIER";

/// Rows: the situations. Columns: accept, issue, accept return, return to courier.
const TABLE: [[&str; 4]; 8] = [
    [DONE, UNKNOWN, UNKNOWN, UNKNOWN],
    [EXISTS, DONE, "ORDER_NOT_ISSUED", "STORAGE_NOT_EXPIRED"],
    [EXISTS, "STORAGE_EXPIRED", "ORDER_NOT_ISSUED", DONE],
    [EXISTS, ISSUED, DONE, ISSUED],
    [EXISTS, ISSUED, "RETURN_WINDOW_CLOSED", ISSUED],
    [EXISTS, RETURNED, RETURNED, DONE],
    [EXISTS, GONE, GONE, GONE],
    [EXISTS, GONE, GONE, GONE],
];

const MODES: [BatchMode; 2] = [BatchMode::Atomic, BatchMode::Partial];

fn reason(refusal: &Refusal) -> &'static str {
    refusal.reason.name()
}

/// Returns the order or the reason in the answer of a command on one order.
fn single(answer: &CommandResult) -> Result<OrderView, &'static str> {
    match answer {
        Ok(Answer::Order(order)) => Ok(order.clone()),
        Ok(Answer::Results(results)) => results[0].outcome.clone().map_err(|refusal| reason(&refusal)),
        Ok(Answer::AlreadyExisted(_)) => panic!("only an import answers {answer:?}"),
        Err(refusal) => Err(reason(refusal)),
    }
}

/// Runs a command on one order, and asserts its answer. A success appends one event to that order alone; a
/// refusal leaves the store unchanged.
fn expect(runner: &CommandRunner, command: TestCommand, expected: &str) {
    let order_id = command.command.order_ids()[0].clone();
    let before = runner.dump();
    let description = format!("{:?}", command.command);
    let answer = runner.run_one(command).answer;
    let mut after = runner.dump();
    match single(&answer) {
        Err(reason) => {
            assert_eq!(reason, expected, "{description}");
            assert_eq!(after, before, "a refusal changes nothing: {description}");
        }
        Ok(view) => {
            assert_eq!(DONE, expected, "{description}");
            let found = after.remove(&order_id).expect("the order");
            let events = found.events.unwrap();
            assert_eq!(found.row.unwrap(), Some(view.order.clone()), "the answer is what is stored");
            assert_eq!(view.order.version, i64::try_from(events.len()).unwrap());
            let mut others = before;
            let earlier = others.remove(&order_id).map_or_else(Vec::new, |found| found.events.unwrap());
            assert_eq!(events.len(), earlier.len() + 1, "a transition appends one event");
            assert_eq!(events[..earlier.len()], earlier);
            assert_eq!(after, others, "other orders are as before");
        }
    }
}

#[test]
fn every_state_answers_every_command_as_in_the_table() {
    for (order, row) in SITUATIONS.into_iter().zip(TABLE) {
        let [on_accept, on_issue, on_return, on_courier] = row;
        expect(&orders_in_every_situation(), accept(accepted(order)), on_accept);
        expect(&orders_in_every_situation(), accept_return(order, "c1", None), on_return);
        for mode in MODES {
            expect(&orders_in_every_situation(), issue(&[order], mode), on_issue);
            expect(
                &orders_in_every_situation(),
                issue_for(&[order], Some("c1"), Some("main"), mode),
                on_issue,
            );
            expect(&orders_in_every_situation(), to_courier(&[order], None, mode), on_courier);
            expect(&orders_in_every_situation(), to_courier(&[order], Some("main"), mode), on_courier);
        }
    }
}

#[test]
fn pickup_point_and_customer_are_checked_before_the_state() {
    let runner = orders_in_every_situation();
    for order in SITUATIONS {
        let known = |reason| if order == "none1" { UNKNOWN } else { reason };
        for (customer_id, point_id, reason) in [
            ("c1", Some("north1"), "WRONG_PICKUP_POINT"),
            ("c2", Some("north1"), "WRONG_PICKUP_POINT"),
            ("c2", None, "WRONG_CUSTOMER"),
        ] {
            expect(&runner, accept_return(order, customer_id, point_id), known(reason));
            for mode in MODES {
                expect(&runner, issue_for(&[order], Some(customer_id), point_id, mode), known(reason));
            }
        }
        for mode in MODES {
            expect(&runner, issue_for(&[order], None, Some("north1"), mode), known("WRONG_PICKUP_POINT"));
            expect(&runner, to_courier(&[order], Some("north1"), mode), known("WRONG_PICKUP_POINT"));
        }
    }
}

#[test]
fn refusal_contains_the_correct_pickup_point_and_not_the_customer() {
    let wrong = orders_in_every_situation()
        .run_one(issue_for(&["stored1"], None, Some("north1"), BatchMode::Atomic))
        .answer;
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.metadata["pickup_point_id"], "main");
    assert_eq!(wrong.metadata["order_id"], "stored1");
    let wrong = orders_in_every_situation().run_one(accept_return("issued1", "c2", None)).answer.unwrap_err();
    assert!(!format!("{wrong:?}").contains("c1"), "the refusal does not contain the customer: {wrong:?}");
}

/// A change of an accept.
type Edit = fn(&mut Accept);

/// Returns the compared fields of an accept in order of comparison, each with a change of its value.
fn field_edits() -> [(&'static str, Edit); 6] {
    [
        ("customer_id", |row| row.customer_id = customer("c2")),
        ("pickup_point_id", |row| row.pickup_point_id = Some(point("north1"))),
        ("storage_until", |row| row.storage_until = at(row.storage_until.micros() + 1)),
        ("weight_grams", |row| row.weight = None),
        ("price_minor", |row| row.price = Money::ZERO),
        ("packaging", |row| row.packaging = codes(&["bag", "film"])),
    ]
}

#[test]
fn accept_of_an_existing_order_is_refused_with_the_first_different_field() {
    let runner = orders_in_every_situation();
    for order in &SITUATIONS[1..] {
        for (index, (field, edit)) in field_edits().into_iter().enumerate() {
            for (_, other_edit) in &field_edits()[index..] {
                let mut row = accepted(order);
                other_edit(&mut row);
                edit(&mut row);
                for command in [accept(row.clone()), import(row)] {
                    let refusal = runner.run_one(command.clone()).answer.unwrap_err();
                    assert_eq!((reason(&refusal), refusal.metadata["field"].as_str()), (EXISTS, field));
                    assert!(!refusal.metadata.contains_key("identical"));
                    expect(&runner, command, EXISTS);
                }
            }
        }
    }
}

#[test]
fn identical_accept_is_refused_as_identical_and_identical_import_succeeds() {
    let runner = orders_in_every_situation();
    for order in &SITUATIONS[1..] {
        let default_filled_in = Accept { pickup_point_id: Some(point("main")), ..accepted(order) };
        for row in [accepted(order), default_filled_in] {
            let refusal = runner.run_one(accept(row.clone())).answer.unwrap_err();
            assert_eq!((reason(&refusal), refusal.metadata["identical"].as_str()), (EXISTS, "true"));
            assert!(!refusal.metadata.contains_key("field"));

            let before = runner.dump();
            let answer = runner.run_one(import(row.clone())).answer;
            let Ok(Answer::AlreadyExisted(view)) = answer else { panic!("{answer:?}") };
            let stored = before[&row.order_id].row.clone().unwrap().unwrap();
            assert_eq!(view, stored.at(runner.now()), "the order as it is now");
            assert_eq!(runner.dump(), before);
        }
    }
}

/// Runs a batch of two orders, and asserts its answer and its effect.
fn expect_pair(command: &TestCommand, orders: [&str; 2], expected: [&str; 2], mode: BatchMode) {
    let runner = orders_in_every_situation();
    let before = runner.dump();
    let answer = runner.run_one(command.clone()).answer;
    let results = |results: &[OrderResult]| -> Vec<(String, &'static str)> {
        let result = |result: &OrderResult| {
            let answered = result.outcome.as_ref().map_or_else(reason, |_| DONE);
            (result.order_id.to_string(), answered)
        };
        results.iter().map(result).collect()
    };
    let each: Vec<(String, &str)> = orders.iter().map(ToString::to_string).zip(expected).collect();
    let refused: Vec<_> = each.iter().filter(|(_, reason)| *reason != DONE).cloned().collect();
    match answer {
        Ok(Answer::Results(found)) => {
            assert!(mode == BatchMode::Partial || refused.is_empty(), "{command:?}");
            assert_eq!(results(&found), each, "{command:?}");
        }
        Err(refusal) => {
            assert_eq!(mode, BatchMode::Atomic);
            let batch = refusal.batch.as_ref().expect("the refused orders");
            assert_eq!((batch.refused_total, results(&batch.results)), (refused.len(), refused));
            let first = batch.results[0].outcome.clone().unwrap_err();
            assert_eq!(
                Refusal { batch: None, ..refusal },
                first,
                "a batch answers as its first refused order"
            );
            assert_eq!(runner.dump(), before, "a refused ATOMIC batch changes nothing");
            return;
        }
        Ok(answer) => panic!("{answer:?}"),
    }
    for (order, answered) in orders.into_iter().zip(expected) {
        let order = crate::support::commands::order(order);
        assert_eq!(runner.dump().get(&order) == before.get(&order), answered != DONE, "{order}");
    }
}

#[test]
fn batch_of_any_two_orders_is_atomic_or_partial() {
    for (i, one) in SITUATIONS.into_iter().enumerate() {
        for (j, two) in SITUATIONS.into_iter().enumerate().filter(|(j, _)| *j != i) {
            for mode in MODES {
                let pair = [one, two];
                expect_pair(&issue(&pair, mode), pair, [TABLE[i][1], TABLE[j][1]], mode);
                expect_pair(&to_courier(&pair, None, mode), pair, [TABLE[i][3], TABLE[j][3]], mode);
            }
        }
    }
}

#[test]
fn first_existing_order_determines_the_customer_of_a_batch() {
    let other_customers = Accept { customer_id: customer("c2"), ..accepted("other1") };
    for (orders, expected) in [
        (["stored1", "other1"], [DONE, "WRONG_CUSTOMER"]),
        (["other1", "stored1"], [DONE, "WRONG_CUSTOMER"]),
        (["none1", "other1"], [UNKNOWN, DONE]),
        (["gone1", "other1"], [GONE, "WRONG_CUSTOMER"]),
    ] {
        let runner = orders_in_every_situation();
        runner.run_one(accept(other_customers.clone())).answer.unwrap();
        let answer = runner.run_one(issue(&orders, BatchMode::Partial)).answer;
        let Ok(Answer::Results(results)) = answer else { panic!("{answer:?}") };
        let found: Vec<&str> =
            results.iter().map(|result| result.outcome.as_ref().map_or_else(reason, |_| DONE)).collect();
        assert_eq!(found, expected, "{orders:?}");
    }
}

/// Returns faults of an accept with their rank in the order of checks and the expected refusal. Faults of
/// one rank exclude each other.
fn faults() -> [(u8, &'static str, Edit); 7] {
    fn deadline(row: &mut Accept, from_now: i64) {
        row.storage_until = at(crate::support::order_situations::NOW + from_now);
    }
    const YEAR: i64 = 365 * 86_400 * SECOND;
    [
        (0, EXISTS, |row| row.order_id = crate::support::commands::order("gone1")),
        (1, "INVALID_PACKAGING", |row| row.packaging = codes(&["bag", "box"])),
        (1, "INVALID_PACKAGING", |row| row.packaging = codes(&["bag", "silk1"])),
        (2, "VALIDATION_FAILED weight_grams", |row| row.weight = None),
        (2, "WEIGHT_TOO_HEAVY", |row| row.weight = Grams::new(10_000).ok()),
        (3, "VALIDATION_FAILED storage_until", |row| deadline(row, 0)),
        (3, "VALIDATION_FAILED storage_until", |row| deadline(row, YEAR + 1)),
    ]
}

#[test]
fn accept_with_two_faults_is_refused_by_the_earlier_check() {
    let runner = orders_in_every_situation();
    for (rank, expected, fault) in faults() {
        for (_, _, other_edit) in faults().into_iter().filter(|(other, ..)| *other > rank) {
            let mut row = accepted("none1");
            fault(&mut row);
            other_edit(&mut row);
            for command in [Command::Accept(row.clone()), Command::Import(ImportRow(row.clone()))] {
                let before = runner.dump();
                let refusal = runner.run_one(command.into()).answer.unwrap_err();
                let field =
                    refusal.violations.first().map_or(String::new(), |fault| format!(" {}", fault.field));
                assert_eq!(format!("{}{field}", reason(&refusal)), expected, "{row:?}");
                assert_eq!(runner.dump(), before);
            }
        }
        let mut row = accepted("none1");
        fault(&mut row);
        let refusal = runner.run_one(accept(row)).answer.unwrap_err();
        assert!(expected.starts_with(reason(&refusal)), "{refusal:?}");
    }
}
