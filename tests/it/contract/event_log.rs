//! The contract suite of `EventLog`.

use std::collections::HashMap;

use pvz::domain::{Event, Order, OrderId};
use pvz::ports::{LoggedEvent, Position};

use super::fixtures::{
    StoreFixture, accepted, accepting, event, handed_over, id, issued, moving, on_every_store, returned,
    write,
};

on_every_store! {
    is_empty_at_first,
    returns_the_history_of_an_order_in_sequence,
    feeds_events_in_the_order_of_the_batch,
    feeds_every_event_once_under_concurrent_writes,
}

fn events(logged: &[LoggedEvent]) -> Vec<Event> {
    logged.iter().map(|logged| logged.event.clone()).collect()
}

async fn is_empty_at_first(fixture: StoreFixture) {
    assert_eq!(fixture.events.head().await.unwrap(), Position(0));
    assert_eq!(fixture.events.oldest().await.unwrap(), Position(0));
    assert!(fixture.events.feed(Position(0), 10).await.unwrap().is_empty());
    assert!(fixture.events.feed(Position(1_000), 10).await.unwrap().is_empty());
    assert!(fixture.events.history(&id("1"), 0, 10).await.unwrap().is_empty());
}

async fn returns_the_history_of_an_order_in_sequence(fixture: StoreFixture) {
    let first = accepted("1", 0);
    let (second, other) = (issued(&first, 1), accepted("2", 0));
    let third = returned(&second, 2);
    let fourth = handed_over(&third, 3);
    write(&*fixture.orders, accepting(&[first.clone(), other.clone()])).await.unwrap();
    write(&*fixture.orders, moving(&first, std::slice::from_ref(&second))).await.unwrap();
    write(&*fixture.orders, moving(&second, &[third.clone(), fourth.clone()])).await.unwrap();

    let all = [first, second, third, fourth].map(|order| event(&order));
    let history = |after, limit| fixture.events.history(&all[0].order.order_id, after, limit);
    assert_eq!(events(&history(0, 10).await.unwrap()), all);
    assert_eq!(events(&history(1, 2).await.unwrap()), all[1..3]);
    assert!(history(4, 10).await.unwrap().is_empty());
    assert_eq!(events(&fixture.events.history(&id("2"), 0, 10).await.unwrap()), [event(&other)]);
    assert!(fixture.events.history(&id("3"), 0, 10).await.unwrap().is_empty());
    let in_feed = fixture.events.feed(Position(0), 10).await.unwrap();
    for logged in history(0, 10).await.unwrap() {
        assert!(in_feed.contains(&logged), "history and feed have the same positions");
    }
}

async fn feeds_events_in_the_order_of_the_batch(fixture: StoreFixture) {
    // The order of the batch differs from the order of the ids.
    let orders: Vec<Order> = ["c", "a", "b"].iter().map(|order_id| accepted(order_id, 0)).collect();
    write(&*fixture.orders, accepting(&orders)).await.unwrap();
    let feed = fixture.events.feed(Position(0), 10).await.unwrap();
    assert_eq!(events(&feed), orders.iter().map(event).collect::<Vec<_>>());
    assert!(feed.is_sorted_by(|one, next| one.position < next.position));
    assert_eq!(feed.last().unwrap().position, fixture.events.head().await.unwrap());
    assert_eq!(fixture.events.oldest().await.unwrap(), Position(0));

    let two = fixture.events.feed(Position(0), 2).await.unwrap();
    assert_eq!(two, feed[..2]);
    assert_eq!(fixture.events.feed(two[1].position, 2).await.unwrap(), feed[2..]);
    assert!(fixture.events.feed(feed[2].position, 2).await.unwrap().is_empty());
}

const WRITERS: usize = 8;
const BATCHES: usize = 30;

async fn feeds_every_event_once_under_concurrent_writes(fixture: StoreFixture) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = fixture.orders.clone();
        writers.spawn(async move {
            for batch in 0..BATCHES {
                let order = accepted(&format!("{writer}-{batch}"), 0);
                let through = [issued(&order, 1), returned(&issued(&order, 1), 2)];
                write(&*store, accepting(std::slice::from_ref(&order))).await.unwrap();
                write(&*store, moving(&order, &through)).await.unwrap();
            }
        });
    }
    let mut read: Vec<LoggedEvent> = Vec::new();
    while read.len() < WRITERS * BATCHES * 3 {
        let cursor = read.last().map_or(Position(0), |logged| logged.position);
        read.extend(fixture.events.feed(cursor, 7).await.unwrap());
        tokio::task::yield_now().await;
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(read, fixture.events.feed(Position(0), usize::MAX).await.unwrap());
    let mut sequences: HashMap<OrderId, i64> = HashMap::new();
    for LoggedEvent { event, .. } in read {
        let last = sequences.entry(event.order.order_id.clone()).or_default();
        *last += 1;
        assert_eq!(event.sequence, *last, "{}", event.order.order_id);
    }
}
