//! Which events are applied, and the last event of each partition.

use pvz::ports::{LastEvent, Offset};

use super::{SOURCE, apply, assign_only_partition, history};
use crate::contract::fixtures::{StoreFixture, id, on_every_store};

on_every_store! {
    applied_events_are_known,
    progress_has_the_last_event,
}

async fn applied_events_are_known(store: StoreFixture) {
    let inbox = store.inbox();
    let (one, two) = (history("one"), history("two"));
    let keys = [(id("one"), 1), (id("one"), 2), (id("two"), 1), (id("none"), 1)];
    assert!(inbox.known_events(&keys).await.unwrap().is_empty());
    assert!(inbox.known_events(&[]).await.unwrap().is_empty());
    let assignment = assign_only_partition(&*inbox, "a").await;
    apply(&*inbox, &assignment, &[one[0].clone(), one[2].clone(), two[0].clone()], 3).await;
    let known = inbox.known_events(&keys).await.unwrap();
    assert_eq!(known, [(id("one"), 1), (id("two"), 1)].into());
    let many: Vec<_> = (0..1_000).map(|sequence| (id("one"), sequence)).collect();
    assert_eq!(inbox.known_events(&many).await.unwrap(), [(id("one"), 1), (id("one"), 3)].into());
}

async fn progress_has_the_last_event(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    assert_eq!(inbox.progress(SOURCE).await.unwrap()[0].last_event, None);
    let last_event = LastEvent { offset: Offset(4), event_id: history("one")[1].event_id };
    let batch = pvz::ports::InboxBatch {
        last_event: Some(last_event),
        ..super::inbox_batch(&history("one")[..2], 5)
    };
    let applied = inbox.apply(&assignment, &batch, pvz::domain::receive_events).await.unwrap();
    assert!(matches!(applied, pvz::ports::Applied::Done { .. }), "{applied:?}");
    assert_eq!(inbox.progress(SOURCE).await.unwrap()[0].last_event, Some(last_event));
    inbox.release(SOURCE, "a").await.unwrap();
    let released = &inbox.progress(SOURCE).await.unwrap()[0];
    assert_eq!((released.last_event, released.consumer.as_deref()), (Some(last_event), None));
}
