//! Conflicts: another event with the order and sequence of an applied one.

use pvz::domain::{Event, EventId, Reception, receive_events};
use pvz::ports::{Applied, Conflict, Conflicts, Inbox, InboxBatch, Offset, StatisticsFilter};

use super::{assign_only_partition, history, inbox_batch, kept, statistics, unknown};
use crate::contract::fixtures::{StoreFixture, id, on_every_store};

on_every_store! {
    conflicting_event_is_put_aside_and_not_counted,
    first_of_two_events_in_a_batch_is_applied,
    kept_event_in_conflict_is_put_aside,
    fenced_consumer_puts_nothing_aside,
}

/// Returns the event of another history: it differs only in its id.
fn other(event: &Event) -> Event {
    Event { event_id: EventId(event.event_id.0 ^ 1), ..event.clone() }
}

fn conflict(applied: &Event, put_aside: &Event) -> Conflict {
    Conflict {
        order_id: applied.order.order_id.clone(),
        sequence: applied.sequence,
        applied: applied.event_id,
        event_id: put_aside.event_id,
    }
}

async fn receptions(
    inbox: &dyn Inbox,
    assignment: &pvz::ports::Assignment,
    batch: &InboxBatch,
) -> Vec<Reception> {
    match inbox.apply(assignment, batch, receive_events).await.unwrap() {
        Applied::Done { receptions, .. } => receptions,
        Applied::Fenced => panic!("the lease is valid"),
    }
}

async fn conflicting_event_is_put_aside_and_not_counted(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let (one, two) = (history("one"), history("two"));
    assert_eq!(inbox.conflicts(10).await.unwrap(), Conflicts::default());
    let applied = [&two[..2], &one[..2]].concat();
    receptions(&*inbox, &assignment, &inbox_batch(&applied, 4)).await;
    let before = statistics(&*inbox, &StatisticsFilter::default(), 10).await;
    let (fork_of_one, fork_of_two) = (other(&one[1]), other(&two[0]));
    // The second delivery, as after a rewind: each conflict is listed once.
    for next in [7, 7] {
        let batch = [fork_of_two.clone(), one[1].clone(), fork_of_one.clone()];
        let expected = [
            Reception::Conflict { applied: two[0].event_id },
            Reception::Repeated,
            Reception::Conflict { applied: one[1].event_id },
        ];
        assert_eq!(receptions(&*inbox, &assignment, &inbox_batch(&batch, next)).await, expected);
        let found = inbox.conflicts(10).await.unwrap();
        let expected = [conflict(&one[1], &fork_of_one), conflict(&two[0], &fork_of_two)];
        assert_eq!((found.events, found.first), (2, expected.to_vec()));
    }
    let found = inbox.conflicts(1).await.unwrap();
    assert_eq!((found.events, found.first), (2, vec![conflict(&one[1], &fork_of_one)]));
    assert_eq!(inbox.conflicts(0).await.unwrap().events, 2);
    assert_eq!(statistics(&*inbox, &StatisticsFilter::default(), 10).await, before);
    // The position moves on, and the applied events stay applied.
    assert_eq!(assign_only_partition(&*inbox, "a").await.position, Some(Offset(7)));
    let batch = inbox_batch(&one[..3], 8);
    let expected = [Reception::Repeated, Reception::Repeated, Reception::First];
    assert_eq!(receptions(&*inbox, &assignment, &batch).await, expected);
    assert_eq!(inbox.gaps(1).await.unwrap().orders, 0);
}

async fn first_of_two_events_in_a_batch_is_applied(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    // Many events, so that a store that sorts a batch must keep their order.
    let histories: Vec<Event> = (0..50).flat_map(|order| history(&format!("order-{order}"))).collect();
    let forks: Vec<Event> = histories.iter().map(other).collect();
    let batch = inbox_batch(&[&histories[..], &forks[..], &histories[..]].concat(), 600);
    let expected: Vec<Reception> = histories
        .iter()
        .map(|_| Reception::First)
        .chain(histories.iter().map(|event| Reception::Conflict { applied: event.event_id }))
        .chain(histories.iter().map(|_| Reception::Repeated))
        .collect();
    assert_eq!(receptions(&*inbox, &assignment, &batch).await, expected);
    let expected: Vec<Reception> = forks
        .iter()
        .zip(&histories)
        .map(|(_, applied)| Reception::Conflict { applied: applied.event_id })
        .collect();
    assert_eq!(receptions(&*inbox, &assignment, &inbox_batch(&forks, 700)).await, expected);
    assert_eq!(inbox.conflicts(0).await.unwrap().events, 200);
}

async fn kept_event_in_conflict_is_put_aside(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let one = history("one");
    let batch = InboxBatch { unknown: vec![unknown(3)], ..inbox_batch(&one[..1], 9) };
    receptions(&*inbox, &assignment, &batch).await;
    let fork = other(&one[0]);
    let resolving =
        InboxBatch { events: vec![fork.clone()], resolved: vec![Offset(3)], ..InboxBatch::default() };
    let expected = [Reception::Conflict { applied: one[0].event_id }];
    assert_eq!(receptions(&*inbox, &assignment, &resolving).await, expected);
    assert_eq!(kept(&*inbox).await, []);
    assert_eq!(inbox.conflicts(2).await.unwrap().first, [conflict(&one[0], &fork)]);
}

async fn fenced_consumer_puts_nothing_aside(store: StoreFixture) {
    let inbox = store.inbox();
    let fenced = assign_only_partition(&*inbox, "a").await;
    let one = history("one");
    receptions(&*inbox, &fenced, &inbox_batch(&one, 4)).await;
    inbox.rewind(super::SOURCE, 0, Offset(0)).await.unwrap();
    let fork = inbox_batch(&[other(&one[0])], 5);
    assert_eq!(inbox.apply(&fenced, &fork, receive_events).await.unwrap(), Applied::Fenced);
    assert_eq!(inbox.conflicts(1).await.unwrap(), Conflicts::default());
    let assignment = assign_only_partition(&*inbox, "a").await;
    receptions(&*inbox, &assignment, &fork).await;
    assert_eq!(inbox.conflicts(1).await.unwrap().first[0].order_id, id("one"));
}
