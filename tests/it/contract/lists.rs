//! The contract suite of the lists of `OrderStore`, with a property test against a simple model.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pvz::domain::{Order, OrderId, PickupPointId, StateName, Timestamp};
use pvz::ports::{OrderFilter, OrderStore, Page};

use super::fixtures::{
    StoreFixture, accepted, accepting, at, customer, handed_over, id, issued, memory, moving, on_every_store,
    point, postgres, returned, sqlite, write,
};

on_every_store! {
    pages_through_equal_instants,
    lists_a_write_at_once,
    lists_nothing_when_the_store_is_empty,
}

type Key = (Timestamp, OrderId);

fn by_acceptance(order: &Order) -> Key {
    (order.accepted_at, order.order_id.clone())
}

fn by_return(order: &Order) -> Key {
    (order.returned_at().unwrap(), order.order_id.clone())
}

/// Returns the expected list: the orders that match, newest first.
fn expected(orders: &[Order], matches: impl Fn(&Order) -> bool, key: fn(&Order) -> Key) -> Vec<Order> {
    let mut expected: Vec<Order> = orders.iter().filter(|order| matches(order)).cloned().collect();
    expected.sort_by_key(|order| std::cmp::Reverse(key(order)));
    expected
}

fn matches(filter: &OrderFilter, order: &Order) -> bool {
    let customer = filter.customer_id.as_ref().is_none_or(|wanted| order.customer_id == *wanted);
    let point = filter.pickup_point_id.as_ref().is_none_or(|wanted| order.pickup_point_id == *wanted);
    let state = filter.states.is_empty() || filter.states.contains(&order.state_name());
    let expired = filter.expired.is_none_or(|(wanted, now)| order.is_expired(now) == wanted);
    customer && point && state && expired
}

async fn all_orders(store: &dyn OrderStore, filter: &OrderFilter, limit: usize) -> Vec<Order> {
    let mut all: Vec<Order> = Vec::new();
    loop {
        let page = Page { below: all.last().map(by_acceptance), limit };
        let found = store.orders(filter, &page).await.unwrap();
        assert!(found.len() <= limit);
        let last = found.len() < limit;
        all.extend(found);
        if last {
            return all;
        }
    }
}

async fn all_returns(store: &dyn OrderStore, at: Option<&PickupPointId>, limit: usize) -> Vec<Order> {
    let mut all: Vec<Order> = Vec::new();
    loop {
        let page = Page { below: all.last().map(by_return), limit };
        let found = store.returns(at, &page).await.unwrap();
        let last = found.len() < limit;
        all.extend(found);
        if last {
            return all;
        }
    }
}

async fn pages_through_equal_instants(fixture: StoreFixture) {
    let orders: Vec<Order> = ["b", "B", "a", "a-1", "a.1", "Z", "0", "10", "9"]
        .map(|order_id| returned(&issued(&accepted(order_id, 5), 6), 7))
        .into();
    write(&*fixture.orders, accepting(&orders)).await.unwrap();
    let ids = |orders: &[Order]| orders.iter().map(|o| o.order_id.to_string()).collect::<Vec<_>>();
    let bytewise = ["b", "a.1", "a-1", "a", "Z", "B", "9", "10", "0"];
    for limit in 1..=10 {
        let filter = OrderFilter::default();
        assert_eq!(ids(&all_orders(&*fixture.orders, &filter, limit).await), bytewise, "limit {limit}");
        assert_eq!(ids(&all_returns(&*fixture.orders, None, limit).await), bytewise, "limit {limit}");
        let main = point("main");
        assert_eq!(ids(&all_returns(&*fixture.orders, Some(&main), limit).await), bytewise);
    }
}

async fn lists_a_write_at_once(fixture: StoreFixture) {
    let filter = OrderFilter { customer_id: Some(customer("anna")), ..OrderFilter::default() };
    let page = Page { below: None, limit: 1 };
    for n in 0..20 {
        let order = accepted(&format!("order-{n}"), n);
        write(&*fixture.orders, accepting(std::slice::from_ref(&order))).await.unwrap();
        assert_eq!(fixture.orders.orders(&filter, &page).await.unwrap(), std::slice::from_ref(&order));
        let back = returned(&issued(&order, 30), 31 + n);
        let through = [issued(&order, 30), back.clone()];
        write(&*fixture.orders, moving(&order, &through)).await.unwrap();
        assert_eq!(fixture.orders.returns(None, &page).await.unwrap(), std::slice::from_ref(&back));
        assert_eq!(fixture.orders.order(&order.order_id).await.unwrap(), Some(back));
    }
}

async fn lists_nothing_when_the_store_is_empty(fixture: StoreFixture) {
    let page = Page { below: Some((at(0), id("1"))), limit: 10 };
    assert!(fixture.orders.orders(&OrderFilter::default(), &page).await.unwrap().is_empty());
    assert!(fixture.orders.returns(None, &page).await.unwrap().is_empty());
    write(&*fixture.orders, accepting(&[accepted("1", 0)])).await.unwrap();
    assert!(fixture.orders.orders(&OrderFilter::default(), &page).await.unwrap().is_empty());
    let none = Page { below: None, limit: 0 };
    assert!(fixture.orders.orders(&OrderFilter::default(), &none).await.unwrap().is_empty());
}

/// Returns orders of few customers, points and instants, so that many share them.
fn some_orders() -> impl Strategy<Value = Vec<Order>> {
    let order = (0..3_usize, 0..2_usize, 0..5_usize, 0..6_i64, 0..4_i64, 0..10_i64);
    prop::collection::vec(order, 1..80).prop_map(|rows| {
        let order = |(n, (customer_no, point_no, state, accepted_at, issued_after, until))| {
            let stored = Order {
                customer_id: customer(["anna", "boris", "clara"][customer_no]),
                pickup_point_id: point(["main", "north"][point_no]),
                storage_until: at(until),
                ..accepted(&format!("order-{}", (n * 7_919) % 1_000), accepted_at)
            };
            let issued_at = accepted_at + issued_after;
            match state {
                0 => stored,
                1 => issued(&stored, issued_at),
                2 => returned(&issued(&stored, issued_at), issued_at + issued_after),
                3 => handed_over(&stored, issued_at),
                _ => handed_over(&returned(&issued(&stored, issued_at), issued_at), issued_at + 1),
            }
        };
        rows.into_iter().enumerate().map(order).collect()
    })
}

/// Returns every combination of filters that selects among these orders.
fn every_filter() -> Vec<OrderFilter> {
    let mut filters = Vec::new();
    for customer_id in [None, Some("anna"), Some("nobody")] {
        for pickup_point_id in [None, Some("main")] {
            for states in 0..16_u32 {
                for expired in [None, Some(true), Some(false)] {
                    let wanted = |(bit, state): (usize, StateName)| (states >> bit & 1 == 1).then_some(state);
                    let states: BTreeSet<StateName> =
                        StateName::ALL.into_iter().enumerate().filter_map(wanted).collect();
                    filters.push(OrderFilter {
                        customer_id: customer_id.map(customer),
                        pickup_point_id: pickup_point_id.map(point),
                        states,
                        expired: expired.map(|expired| (expired, at(5))),
                    });
                }
            }
        }
    }
    filters
}

async fn agrees_with_the_model(store: Arc<dyn OrderStore>, orders: Vec<Order>, limit: usize) {
    write(&*store, accepting(&orders)).await.unwrap();
    for filter in every_filter() {
        let expected = expected(&orders, |order| matches(&filter, order), by_acceptance);
        assert_eq!(all_orders(&*store, &filter, limit).await, expected, "{filter:?}, pages of {limit}");
    }
    for at in [None, Some(point("north"))] {
        let is_returned_here = |order: &Order| {
            order.state_name() == StateName::Returned
                && at.as_ref().is_none_or(|at| order.pickup_point_id == *at)
        };
        let expected = expected(&orders, is_returned_here, by_return);
        assert_eq!(all_returns(&*store, at.as_ref(), limit).await, expected);
    }
}

fn lists_agree_with_the_model(fixture: impl AsyncFn() -> StoreFixture, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(some_orders(), 1..40_usize), |(orders, limit)| {
            runtime.block_on(async {
                let fixture = fixture().await;
                agrees_with_the_model(fixture.orders.clone(), orders, limit).await;
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn lists_in_memory_agree_with_the_model() {
    lists_agree_with_the_model(async || memory(), 24);
}

#[test]
fn lists_in_sqlite_agree_with_the_model() {
    lists_agree_with_the_model(async || sqlite(), 6);
}

#[test]
fn lists_in_postgres_agree_with_the_model() {
    lists_agree_with_the_model(postgres, 4);
}
