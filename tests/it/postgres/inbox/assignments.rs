//! Tests of partition assignment: leases, takeover, fencing and rewinds.

use std::time::Duration;

use pvz::domain::{assign_partitions, receive_events};
use pvz::ports::{Applied, Assignment, Inbox as _, Offset};

use super::{
    LONG_LEASE, SOURCE, applied_events, apply, assign, assign_only, event_keys, expected_statistics, inbox,
    inbox_batch, lifecycles, statistics,
};
use crate::contract::fixtures::point;

fn partitions(assignments: &[Assignment]) -> Vec<u32> {
    assignments.iter().map(|assignment| assignment.partition).collect()
}

#[tokio::test]
async fn partitions_are_divided_evenly_and_released_for_new_consumers() {
    let (inbox, _database) = inbox().await;
    assert_eq!(partitions(&assign(&*inbox, 8, "a", LONG_LEASE).await), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(partitions(&assign(&*inbox, 8, "b", LONG_LEASE).await), [] as [u32; 0]);
    assert_eq!(partitions(&assign(&*inbox, 8, "a", LONG_LEASE).await), [0, 1, 2, 3]);
    assert_eq!(partitions(&assign(&*inbox, 8, "b", LONG_LEASE).await), [4, 5, 6, 7]);
    // A third consumer gets the partitions that the others release.
    assert_eq!(partitions(&assign(&*inbox, 8, "c", LONG_LEASE).await), [] as [u32; 0]);
    assert_eq!(partitions(&assign(&*inbox, 8, "a", LONG_LEASE).await), [0, 1, 2]);
    assert_eq!(partitions(&assign(&*inbox, 8, "b", LONG_LEASE).await), [4, 5, 6]);
    assert_eq!(partitions(&assign(&*inbox, 8, "c", LONG_LEASE).await), [3, 7]);
    // A balanced assignment is stable.
    for _ in 0..3 {
        assert_eq!(partitions(&assign(&*inbox, 8, "a", LONG_LEASE).await), [0, 1, 2]);
        assert_eq!(partitions(&assign(&*inbox, 8, "b", LONG_LEASE).await), [4, 5, 6]);
        assert_eq!(partitions(&assign(&*inbox, 8, "c", LONG_LEASE).await), [3, 7]);
    }
    inbox.release(SOURCE, "b").await.unwrap();
    assert_eq!(partitions(&assign(&*inbox, 8, "a", LONG_LEASE).await), [0, 1, 2, 4]);
    assert_eq!(partitions(&assign(&*inbox, 8, "c", LONG_LEASE).await), [3, 5, 6, 7]);
    // Assignments of another source are independent.
    let other = inbox.assign("journal:x", &[0].into(), "b", LONG_LEASE, assign_partitions).await.unwrap();
    assert_eq!(partitions(&other), [0]);
    // The topic has more partitions than before.
    assert_eq!(partitions(&assign(&*inbox, 10, "a", LONG_LEASE).await), [0, 1, 2, 4, 8]);
    let progress = inbox.progress(SOURCE).await.unwrap();
    assert_eq!(progress.len(), 10);
    assert_eq!((progress[3].consumer.as_deref(), progress[9].consumer.as_deref()), (Some("c"), None));
}

#[tokio::test]
async fn expired_partitions_are_taken_over_and_late_batches_are_fenced() {
    let (inbox, database) = inbox().await;
    let events = lifecycles(["1".to_owned(), "2".to_owned()], &point("main"));
    let old = assign(&*inbox, 2, "dead", Duration::from_millis(1)).await;
    apply(&*inbox, &old[0], &inbox_batch(&events[..4], 4)).await;
    let mut new = Vec::new();
    while new.len() < 2 {
        new = assign(&*inbox, 2, "alive", LONG_LEASE).await;
    }
    for (old, new) in old.iter().zip(&new) {
        assert!(new.fencing_token > old.fencing_token, "{new:?}");
    }
    assert_eq!((new[0].position, new[1].position), (Some(Offset(4)), None));
    // The first consumer resumes without knowing that its leases have expired.
    for assignment in &old {
        assert_eq!(
            inbox.apply(assignment, &inbox_batch(&events[4..], 8), receive_events).await.unwrap(),
            Applied::Fenced
        );
    }
    assert_eq!(applied_events(&database).await, event_keys(&events[..4]));
    assert_eq!(statistics(&*inbox).await, expected_statistics(&events[..4]));
    assert_eq!(inbox.progress(SOURCE).await.unwrap()[0].position, Some(Offset(4)));
    // The fencing token of another consumer's lease is not accepted.
    let forged = Assignment { consumer: "dead".to_owned(), ..new[0].clone() };
    assert_eq!(
        inbox.apply(&forged, &inbox_batch(&events[4..], 8), receive_events).await.unwrap(),
        Applied::Fenced
    );
    apply(&*inbox, &new[0], &inbox_batch(&events[4..], 8)).await;
    assert_eq!(statistics(&*inbox).await, expected_statistics(&events));
}

#[tokio::test]
async fn only_consumer_keeps_its_expired_lease() {
    let (inbox, _database) = inbox().await;
    let first = assign(&*inbox, 1, "late", Duration::from_micros(1)).await;
    apply(&*inbox, &first[0], &inbox_batch(&[], 3)).await;
    let second = assign(&*inbox, 1, "late", LONG_LEASE).await;
    assert_eq!((second[0].fencing_token, second[0].position), (first[0].fencing_token, Some(Offset(3))));
}

#[tokio::test]
async fn rewind_fences_the_consumer_and_counts_no_event_twice() {
    let (inbox, database) = inbox().await;
    let events = lifecycles(["1".to_owned(), "2".to_owned()], &point("main"));
    let before = assign_only(&*inbox).await;
    apply(&*inbox, &before, &inbox_batch(&events, 8)).await;
    inbox.rewind(SOURCE, 0, Offset(0)).await.unwrap();
    assert_eq!(inbox.apply(&before, &inbox_batch(&[], 9), receive_events).await.unwrap(), Applied::Fenced);
    let after = assign_only(&*inbox).await;
    assert_eq!(after.position, Some(Offset(0)));
    let (is_first, gaps_opened, gaps_closed) = apply(&*inbox, &after, &inbox_batch(&events, 8)).await;
    assert!(is_first.iter().all(|is_first| !is_first) && gaps_opened == 0 && gaps_closed == 0);
    assert_eq!(statistics(&*inbox).await, expected_statistics(&events));
    assert_eq!(applied_events(&database).await, event_keys(&events));
    // A partition without an assignment can be moved too, also forward.
    inbox.rewind(SOURCE, 1, Offset(77)).await.unwrap();
    assert_eq!(assign(&*inbox, 2, "only", LONG_LEASE).await[1].position, Some(Offset(77)));
}
