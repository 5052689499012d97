//! The last event of a partition, which identifies the log of its position.

use pvz::domain::{EventId, receive_events};
use pvz::ports::{Applied, Inbox, InboxBatch, LastEvent, Offset};

use super::{SOURCE, assign_only_partition, history, inbox_batch};
use crate::contract::fixtures::{StoreFixture, on_every_store};

on_every_store! {
    last_event_is_kept_until_a_later_one_is_read,
    rewind_forgets_the_last_event,
    fenced_consumer_keeps_the_last_event,
}

fn at(offset: i64, event_id: u128) -> LastEvent {
    LastEvent { offset: Offset(offset), event_id: EventId(event_id) }
}

/// Applies an empty batch that moves the position.
async fn apply(inbox: &dyn Inbox, next: i64, last_event: Option<LastEvent>) {
    let assignment = assign_only_partition(inbox, "a").await;
    let batch = InboxBatch { last_event, ..inbox_batch(&[], next) };
    let applied = inbox.apply(&assignment, &batch, receive_events).await.unwrap();
    assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
}

async fn found(inbox: &dyn Inbox) -> (Option<Offset>, Option<LastEvent>) {
    let assignment = assign_only_partition(inbox, "a").await;
    (assignment.position, assignment.last_event)
}

async fn last_event_is_kept_until_a_later_one_is_read(store: StoreFixture) {
    let inbox = store.inbox();
    assert_eq!(found(&*inbox).await, (None, None));
    apply(&*inbox, 5, None).await;
    assert_eq!(found(&*inbox).await, (Some(Offset(5)), None));
    apply(&*inbox, 9, Some(at(7, u128::MAX - 1))).await;
    assert_eq!(found(&*inbox).await, (Some(Offset(9)), Some(at(7, u128::MAX - 1))));
    // Only undecodable records follow.
    apply(&*inbox, 12, None).await;
    assert_eq!(found(&*inbox).await, (Some(Offset(12)), Some(at(7, u128::MAX - 1))));
    apply(&*inbox, i64::MAX, Some(at(i64::MAX - 1, 3))).await;
    assert_eq!(found(&*inbox).await, (Some(Offset(i64::MAX)), Some(at(i64::MAX - 1, 3))));
    // Kept events that are applied later do not move the position.
    let assignment = assign_only_partition(&*inbox, "a").await;
    let resolving = InboxBatch {
        events: history("one")[..1].to_vec(),
        resolved: vec![Offset(3)],
        ..InboxBatch::default()
    };
    let applied = inbox.apply(&assignment, &resolving, receive_events).await.unwrap();
    assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
    assert_eq!(found(&*inbox).await, (Some(Offset(i64::MAX)), Some(at(i64::MAX - 1, 3))));
}

async fn rewind_forgets_the_last_event(store: StoreFixture) {
    let inbox = store.inbox();
    apply(&*inbox, 9, Some(at(8, 1))).await;
    inbox.rewind(SOURCE, 0, Offset(4)).await.unwrap();
    assert_eq!(found(&*inbox).await, (Some(Offset(4)), None));
}

async fn fenced_consumer_keeps_the_last_event(store: StoreFixture) {
    let inbox = store.inbox();
    apply(&*inbox, 9, Some(at(8, 1))).await;
    let fenced = assign_only_partition(&*inbox, "a").await;
    inbox.release(SOURCE, "a").await.unwrap();
    let assignment = assign_only_partition(&*inbox, "b").await;
    assert_eq!((assignment.position, assignment.last_event), (Some(Offset(9)), Some(at(8, 1))));
    let batch = InboxBatch { last_event: Some(at(10, 2)), ..inbox_batch(&[], 11) };
    assert_eq!(inbox.apply(&fenced, &batch, receive_events).await.unwrap(), Applied::Fenced);
    assert_eq!(assign_only_partition(&*inbox, "b").await.last_event, Some(at(8, 1)));
}
