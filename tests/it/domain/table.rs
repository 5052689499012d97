//! T2: the contract's table, exhaustively: every situation, command and guard,
//! and every two of what a batch can hold.

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

/// Rows: the situations; columns: accept, issue, accept return, return to
/// courier.
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

/// What a command on one order answered: the order, or the reason.
fn single(answer: &CommandResult) -> Result<OrderView, &'static str> {
    match answer {
        Ok(Answer::Order(order)) => Ok(order.clone()),
        Ok(Answer::Results(results)) => results[0].outcome.clone().map_err(|refusal| reason(&refusal)),
        Ok(Answer::AlreadyExisted(_)) => panic!("only an import answers {answer:?}"),
        Err(refusal) => Err(reason(refusal)),
    }
}

/// Asks, and panics unless the answer is `expected` and the store is as that
/// says: one event more of that order alone, or byte for byte as before.
fn expect(world: &CommandRunner, ask: TestCommand, expected: &str) {
    let order_id = ask.command.order_ids()[0].clone();
    let before = world.dump();
    let asked = format!("{:?}", ask.command);
    let answer = world.run_one(ask).answer;
    let mut after = world.dump();
    match single(&answer) {
        Err(reason) => {
            assert_eq!(reason, expected, "{asked}");
            assert_eq!(after, before, "a refusal changes nothing: {asked}");
        }
        Ok(view) => {
            assert_eq!(DONE, expected, "{asked}");
            let found = after.remove(&order_id).expect("the order");
            let events = found.events.unwrap();
            assert_eq!(found.row.unwrap(), Some(view.order.clone()), "the answer is what is stored");
            assert_eq!(view.order.version, i64::try_from(events.len()).unwrap());
            let mut others = before;
            let earlier = others.remove(&order_id).map_or_else(Vec::new, |found| found.events.unwrap());
            assert_eq!(events.len(), earlier.len() + 1, "an arrow appends one event");
            assert_eq!(events[..earlier.len()], earlier);
            assert_eq!(after, others, "other orders are as before");
        }
    }
}

#[test]
fn every_state_answers_every_command_as_the_table_says() {
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
fn the_point_and_the_customer_are_checked_before_the_state() {
    let world = orders_in_every_situation();
    for order in SITUATIONS {
        let known = |reason| if order == "none1" { UNKNOWN } else { reason };
        for (whose, counter, reason) in [
            ("c1", Some("north1"), "WRONG_PICKUP_POINT"),
            ("c2", Some("north1"), "WRONG_PICKUP_POINT"),
            ("c2", None, "WRONG_CUSTOMER"),
        ] {
            expect(&world, accept_return(order, whose, counter), known(reason));
            for mode in MODES {
                expect(&world, issue_for(&[order], Some(whose), counter, mode), known(reason));
            }
        }
        for mode in MODES {
            expect(&world, issue_for(&[order], None, Some("north1"), mode), known("WRONG_PICKUP_POINT"));
            expect(&world, to_courier(&[order], Some("north1"), mode), known("WRONG_PICKUP_POINT"));
        }
    }
}

#[test]
fn the_answer_names_the_right_point_and_never_the_customer() {
    let wrong = orders_in_every_situation()
        .run_one(issue_for(&["stored1"], None, Some("north1"), BatchMode::Atomic))
        .answer;
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.metadata["pickup_point_id"], "main");
    assert_eq!(wrong.metadata["order_id"], "stored1");
    let wrong = orders_in_every_situation().run_one(accept_return("issued1", "c2", None)).answer.unwrap_err();
    assert!(!format!("{wrong:?}").contains("c1"), "whose it is, is nobody else's business: {wrong:?}");
}

/// Makes an accept different.
type Change = fn(&mut Accept);

/// The fields of an accept that are compared, in the order in which the first
/// that differs is named.
fn differing() -> [(&'static str, Change); 6] {
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
fn an_accept_of_what_is_there_names_the_first_field_that_differs() {
    let world = orders_in_every_situation();
    for order in &SITUATIONS[1..] {
        for (index, (field, change)) in differing().into_iter().enumerate() {
            for (_, another) in &differing()[index..] {
                let mut row = accepted(order);
                another(&mut row);
                change(&mut row);
                for ask in [accept(row.clone()), import(row)] {
                    let refusal = world.run_one(ask.clone()).answer.unwrap_err();
                    assert_eq!((reason(&refusal), refusal.metadata["field"].as_str()), (EXISTS, field));
                    assert!(!refusal.metadata.contains_key("identical"));
                    expect(&world, ask, EXISTS);
                }
            }
        }
    }
}

#[test]
fn an_identical_accept_says_so_and_an_identical_row_is_no_refusal() {
    let world = orders_in_every_situation();
    for order in &SITUATIONS[1..] {
        let default_filled_in = Accept { pickup_point_id: Some(point("main")), ..accepted(order) };
        for row in [accepted(order), default_filled_in] {
            let refusal = world.run_one(accept(row.clone())).answer.unwrap_err();
            assert_eq!((reason(&refusal), refusal.metadata["identical"].as_str()), (EXISTS, "true"));
            assert!(!refusal.metadata.contains_key("field"));

            let before = world.dump();
            let answer = world.run_one(import(row.clone())).answer;
            let Ok(Answer::AlreadyExisted(view)) = answer else { panic!("{answer:?}") };
            let stored = before[&row.order_id].row.clone().unwrap().unwrap();
            assert_eq!(view, stored.at(world.now()), "the order as it is now");
            assert_eq!(world.dump(), before);
        }
    }
}

/// What a batch of two must answer, from the table.
fn expect_pair(ask: &TestCommand, orders: [&str; 2], expected: [&str; 2], mode: BatchMode) {
    let world = orders_in_every_situation();
    let before = world.dump();
    let answer = world.run_one(ask.clone()).answer;
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
            assert!(mode == BatchMode::Partial || refused.is_empty(), "{ask:?}");
            assert_eq!(results(&found), each, "{ask:?}");
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
            assert_eq!(world.dump(), before, "all or none");
            return;
        }
        Ok(answer) => panic!("{answer:?}"),
    }
    for (order, answered) in orders.into_iter().zip(expected) {
        let order = crate::support::commands::order(order);
        assert_eq!(world.dump().get(&order) == before.get(&order), answered != DONE, "{order}");
    }
}

#[test]
fn a_batch_of_any_two_is_all_or_none_or_what_can_be() {
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
fn without_a_customer_the_first_order_that_exists_says_whose_the_batch_is() {
    let strangers = Accept { customer_id: customer("c2"), ..accepted("strange1") };
    for (orders, expected) in [
        (["stored1", "strange1"], [DONE, "WRONG_CUSTOMER"]),
        (["strange1", "stored1"], [DONE, "WRONG_CUSTOMER"]),
        (["none1", "strange1"], [UNKNOWN, DONE]),
        (["gone1", "strange1"], [GONE, "WRONG_CUSTOMER"]),
    ] {
        let world = orders_in_every_situation();
        world.run_one(accept(strangers.clone())).answer.unwrap();
        let answer = world.run_one(issue(&orders, BatchMode::Partial)).answer;
        let Ok(Answer::Results(results)) = answer else { panic!("{answer:?}") };
        let found: Vec<&str> =
            results.iter().map(|result| result.outcome.as_ref().map_or_else(reason, |_| DONE)).collect();
        assert_eq!(found, expected, "{orders:?}");
    }
}

/// Faults of an accept, the one that answers first before the others; those
/// of one number exclude each other.
fn faults() -> [(u8, &'static str, Change); 7] {
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
fn of_two_faults_of_an_accept_the_earlier_check_answers() {
    let world = orders_in_every_situation();
    for (rank, expected, fault) in faults() {
        for (_, _, another) in faults().into_iter().filter(|(other, ..)| *other > rank) {
            let mut row = accepted("none1");
            fault(&mut row);
            another(&mut row);
            for command in [Command::Accept(row.clone()), Command::Import(ImportRow(row.clone()))] {
                let before = world.dump();
                let refusal = world.run_one(command.into()).answer.unwrap_err();
                let field =
                    refusal.violations.first().map_or(String::new(), |fault| format!(" {}", fault.field));
                assert_eq!(format!("{}{field}", reason(&refusal)), expected, "{row:?}");
                assert_eq!(world.dump(), before);
            }
        }
        let mut row = accepted("none1");
        fault(&mut row);
        let refusal = world.run_one(accept(row)).answer.unwrap_err();
        assert!(expected.starts_with(reason(&refusal)), "{refusal:?}");
    }
}
