//! Tests of page tokens: a token is valid only for the list that returned it.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use pvz::adapters::null::NullCache;
use pvz::app::{
    CachedOrders, ListOrders, ListReturns, OrderPage, PageSpec, PageTokens, ReadOrders, page_limit,
};
use pvz::domain::{Accept, Reason, Refusal, StateName};

use crate::support::command_runner::CommandRunner;
use crate::support::commands::{accept, customer, parcel, point};
use crate::support::order_situations::orders_in_every_situation;
use crate::support::property;
use crate::support::runtime::block_on;
use crate::support::time::{DAY, START, at};

/// Returns a reader that signs page tokens with a secret.
fn reader(runner: &CommandRunner, secret: [u8; 32]) -> ReadOrders {
    let single = CachedOrders::new(Arc::new(NullCache), runner.store.clone());
    ReadOrders::new(single, runner.store.clone(), runner.clock.clone(), PageTokens::new(secret))
}

/// Returns a runner with nine more orders in its store.
fn runner_with_many_orders() -> CommandRunner {
    let runner = orders_in_every_situation();
    // All are accepted at one instant, so that their order depends on their ids.
    let arrivals: Vec<_> = (1..10)
        .map(|n| accept(Accept { storage_until: at(START + 30 * DAY), ..parcel(&format!("more{n}")) }))
        .collect();
    runner.run(&arrivals);
    runner
}

fn all_orders(limit: usize, token: &str) -> ListOrders {
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

fn assert_refused(answer: Result<OrderPage, Refusal>) {
    let refusal = answer.expect_err("an invalid token is refused");
    assert_eq!(refusal.reason, Reason::ValidationFailed);
    assert_eq!(refusal.violations[0].field, "page_token");
}

#[test]
fn pages_of_any_size_list_each_order_once_newest_first() {
    let runner = runner_with_many_orders();
    let reader = reader(&runner, [7; 32]);
    let whole = list(&reader, &all_orders(1_000, "")).unwrap();
    assert_eq!((whole.orders.len(), whole.next_page_token.as_str()), (16, ""));
    assert!(whole.orders.is_sorted_by_key(|view| {
        std::cmp::Reverse((view.order.accepted_at, view.order.order_id.clone()))
    }));
    let test = "domain::page_tokens::pages_of_any_size_list_each_order_once_newest_first";
    property::check(test, 200, &prop::collection::vec(1..20_usize, 16), |sizes| {
        let (mut seen, mut token) = (Vec::new(), String::new());
        for (page, limit) in sizes.into_iter().enumerate() {
            let answer = list(&reader, &all_orders(limit, &token)).unwrap();
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
fn all_pages_use_the_instant_of_the_first_page() {
    let runner = runner_with_many_orders();
    let reader = reader(&runner, [7; 32]);
    let expired = |limit, token: &str| ListOrders { expired: Some(false), ..all_orders(limit, token) };
    let whole = list(&reader, &expired(1_000, "")).unwrap();
    let first = list(&reader, &expired(3, "")).unwrap();
    runner.clock.advance(40 * DAY);
    let rest = list(&reader, &expired(1_000, &first.next_page_token)).unwrap();
    assert_eq!([first.orders, rest.orders].concat(), whole.orders);
}

#[test]
fn token_with_any_changed_bit_is_refused() {
    let runner = runner_with_many_orders();
    let reader = reader(&runner, [7; 32]);
    let token = list(&reader, &all_orders(3, "")).unwrap().next_page_token;
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_refused(list(&reader, &all_orders(3, &URL_SAFE_NO_PAD.encode(changed))));
    }
    for length in 1..bytes.len() {
        assert_refused(list(&reader, &all_orders(3, &URL_SAFE_NO_PAD.encode(&bytes[..length]))));
        assert_refused(list(&reader, &all_orders(3, &token[..length])));
    }
    for character in 0..token.len() {
        for other in ["A", "B", "_", "=", "*", " "] {
            let mut changed = token.clone();
            changed.replace_range(character..=character, other);
            if changed != token {
                assert_refused(list(&reader, &all_orders(3, &changed)));
            }
        }
    }
}

#[test]
fn text_that_is_not_a_token_is_refused() {
    let runner = runner_with_many_orders();
    let reader = reader(&runner, [7; 32]);
    let test = "domain::page_tokens::text_that_is_not_a_token_is_refused";
    let texts = prop_oneof!["[A-Za-z0-9_-]{1,100}", any::<String>()];
    property::check(test, 2_000, &texts, |text| {
        if !text.is_empty() {
            assert_refused(list(&reader, &all_orders(3, &text)));
        }
    });
}

#[test]
fn token_is_valid_only_for_its_filter_list_and_secret() {
    let runner = runner_with_many_orders();
    let reader = reader(&runner, [7; 32]);
    let token = list(&reader, &all_orders(3, "")).unwrap().next_page_token;
    let same = all_orders(3, &token);
    assert!(list(&reader, &same).is_ok());
    let customer_id = Some(customer("c1"));
    let pickup_point_id = Some(point("main"));
    assert_refused(list(&reader, &ListOrders { customer_id: customer_id.clone(), ..same.clone() }));
    assert_refused(list(&reader, &ListOrders { pickup_point_id: pickup_point_id.clone(), ..same.clone() }));
    assert_refused(list(&reader, &ListOrders { expired: Some(true), ..same.clone() }));
    assert_refused(list(&reader, &ListOrders { expired: Some(false), ..same.clone() }));
    for state in StateName::ALL {
        assert_refused(list(&reader, &ListOrders { states: [state].into(), ..same.clone() }));
    }
    // The same id as a pickup point instead of a customer.
    let of_c1 = list(&reader, &ListOrders { customer_id, ..all_orders(3, "") }).unwrap().next_page_token;
    let at_c1 = ListOrders { pickup_point_id: Some(point("c1")), ..all_orders(3, &of_c1) };
    assert_refused(list(&reader, &at_c1));
    let returns = ListReturns { pickup_point_id: None, page: same.page.clone() };
    assert_refused(block_on(reader.returns(&returns)));
    assert_refused(list(&self::reader(&runner, [8; 32]), &same));
    // A later request to another replica of the same store.
    runner.clock.advance(DAY);
    assert!(list(&self::reader(&runner, [7; 32]), &same).is_ok());
}

#[test]
fn page_sizes_are_50_by_default_and_1000_at_most() {
    for (asked, limit) in [(0, 50), (1, 1), (50, 50), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
        assert_eq!(page_limit(asked), Ok(limit));
    }
    assert!(page_limit(-1).is_err() && page_limit(i32::MIN).is_err());
}

#[test]
fn last_n_orders_are_one_page() {
    let runner = runner_with_many_orders();
    let reader = Arc::new(reader(&runner, [7; 32]));
    let whole = list(&reader, &all_orders(1_000, "")).unwrap();
    for n in [1, 5, 16, 1_000] {
        let last = list(&reader, &ListOrders { page: PageSpec::LastN(n), ..all_orders(1, "") }).unwrap();
        assert_eq!(last.next_page_token, "");
        assert_eq!(last.orders, whole.orders[..n.min(16)]);
    }
}
