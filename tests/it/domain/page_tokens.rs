//! Page tokens: good for the list that gave them, and for nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use pvz::app::{ListOrders, ListReturns, OrderPage, PageSpec, PageTokens, ReadOrders, page_limit};
use pvz::domain::{Accept, Reason, Refusal, StateName};

use crate::support::command_runner::CommandRunner;
use crate::support::commands::{accept, customer, parcel, point};
use crate::support::order_situations::orders_in_every_situation;
use crate::support::property;
use crate::support::runtime::block_on;
use crate::support::time::{DAY, START, at};

/// A reader of a town with nine more orders, under a secret.
fn reader(world: &CommandRunner, secret: [u8; 32]) -> ReadOrders {
    ReadOrders::new(world.store.clone(), world.clock.clone(), PageTokens::new(secret))
}

fn crowded() -> CommandRunner {
    let world = orders_in_every_situation();
    // All accepted in one instant, so that only the ids order them.
    let arrivals: Vec<_> = (1..10)
        .map(|n| accept(Accept { storage_until: at(START + 30 * DAY), ..parcel(&format!("more{n}")) }))
        .collect();
    world.run(&arrivals);
    world
}

fn all(limit: usize, token: &str) -> ListOrders {
    ListOrders {
        customer_id: None,
        pickup_point_id: None,
        states: BTreeSet::new(),
        expired: None,
        page: PageSpec::Page { limit, token: token.to_owned() },
    }
}

fn list(reader: &ReadOrders, request: &ListOrders) -> Result<OrderPage, Refusal> {
    block_on(reader.list(request))
}

fn refused(answer: Result<OrderPage, Refusal>) {
    let refusal = answer.expect_err("a token that this list did not give out");
    assert_eq!(refusal.reason, Reason::ValidationFailed);
    assert_eq!(refusal.violations[0].field, "page_token");
}

#[test]
fn pages_of_any_size_show_each_order_once_newest_first() {
    let world = crowded();
    let reader = reader(&world, [7; 32]);
    let whole = list(&reader, &all(1_000, "")).unwrap();
    assert_eq!((whole.orders.len(), whole.next_page_token.as_str()), (16, ""));
    assert!(whole.orders.is_sorted_by_key(|view| {
        std::cmp::Reverse((view.order.accepted_at, view.order.order_id.clone()))
    }));
    let test = "domain::page_tokens::pages_of_any_size_show_each_order_once_newest_first";
    property::check(test, 200, &prop::collection::vec(1..20_usize, 16), |sizes| {
        let (mut seen, mut token) = (Vec::new(), String::new());
        for (page, limit) in sizes.into_iter().enumerate() {
            let answer = list(&reader, &all(limit, &token)).unwrap();
            seen.extend(answer.orders);
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
            assert!(page < 16);
        }
        assert_eq!(seen, whole.orders);
    });
}

#[test]
fn now_is_the_first_pages_throughout() {
    let world = crowded();
    let reader = reader(&world, [7; 32]);
    let expired = |limit, token: &str| ListOrders { expired: Some(false), ..all(limit, token) };
    let whole = list(&reader, &expired(1_000, "")).unwrap();
    let first = list(&reader, &expired(3, "")).unwrap();
    world.clock.advance(40 * DAY);
    let rest = list(&reader, &expired(1_000, &first.next_page_token)).unwrap();
    assert_eq!([first.orders, rest.orders].concat(), whole.orders);
}

#[test]
fn a_token_with_any_bit_changed_is_refused() {
    let world = crowded();
    let reader = reader(&world, [7; 32]);
    let token = list(&reader, &all(3, "")).unwrap().next_page_token;
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        refused(list(&reader, &all(3, &URL_SAFE_NO_PAD.encode(changed))));
    }
    for length in 1..bytes.len() {
        refused(list(&reader, &all(3, &URL_SAFE_NO_PAD.encode(&bytes[..length]))));
        refused(list(&reader, &all(3, &token[..length])));
    }
    for character in 0..token.len() {
        for other in ["A", "B", "_", "=", "*", " "] {
            let mut changed = token.clone();
            changed.replace_range(character..=character, other);
            if changed != token {
                refused(list(&reader, &all(3, &changed)));
            }
        }
    }
}

#[test]
fn any_text_that_is_no_token_is_refused() {
    let world = crowded();
    let reader = reader(&world, [7; 32]);
    let test = "domain::page_tokens::any_text_that_is_no_token_is_refused";
    let texts = prop_oneof!["[A-Za-z0-9_-]{1,100}", any::<String>()];
    property::check(test, 2_000, &texts, |text| {
        if !text.is_empty() {
            refused(list(&reader, &all(3, &text)));
        }
    });
}

#[test]
fn a_token_is_bound_to_its_filter_its_list_and_its_secret() {
    let world = crowded();
    let reader = reader(&world, [7; 32]);
    let token = list(&reader, &all(3, "")).unwrap().next_page_token;
    let same = all(3, &token);
    assert!(list(&reader, &same).is_ok());
    let whose = Some(customer("c1"));
    let counter = Some(point("main"));
    refused(list(&reader, &ListOrders { customer_id: whose.clone(), ..same.clone() }));
    refused(list(&reader, &ListOrders { pickup_point_id: counter.clone(), ..same.clone() }));
    refused(list(&reader, &ListOrders { expired: Some(true), ..same.clone() }));
    refused(list(&reader, &ListOrders { expired: Some(false), ..same.clone() }));
    for state in StateName::ALL {
        refused(list(&reader, &ListOrders { states: [state].into(), ..same.clone() }));
    }
    // A customer's name in the place of a point's.
    let of_c1 = list(&reader, &ListOrders { customer_id: whose, ..all(3, "") }).unwrap().next_page_token;
    let at_c1 = ListOrders { pickup_point_id: Some(point("c1")), ..all(3, &of_c1) };
    refused(list(&reader, &at_c1));
    let returns = ListReturns { pickup_point_id: None, page: same.page.clone() };
    refused(block_on(reader.returns(&returns)));
    refused(list(&self::reader(&world, [8; 32]), &same));
    // Another replica of the same store, later.
    world.clock.advance(DAY);
    assert!(list(&self::reader(&world, [7; 32]), &same).is_ok());
}

#[test]
fn page_sizes_are_50_by_default_and_1000_at_most() {
    for (asked, limit) in [(0, 50), (1, 1), (50, 50), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
        assert_eq!(page_limit(asked), Ok(limit));
    }
    assert!(page_limit(-1).is_err() && page_limit(i32::MIN).is_err());
}

#[test]
fn the_last_n_are_one_page() {
    let world = crowded();
    let reader = Arc::new(reader(&world, [7; 32]));
    let whole = list(&reader, &all(1_000, "")).unwrap();
    for n in [1, 5, 16, 1_000] {
        let last = list(&reader, &ListOrders { page: PageSpec::LastN(n), ..all(1, "") }).unwrap();
        assert_eq!(last.next_page_token, "");
        assert_eq!(last.orders, whole.orders[..n.min(16)]);
    }
}
