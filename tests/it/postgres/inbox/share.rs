//! Leases: who has which partition, and what becomes of who had it.

use std::time::Duration;

use pvz::domain::{assign_partitions, receive_events};
use pvz::ports::{Applied, Assignment, Inbox as _, Offset};

use super::{LONG, SOURCE, alone, applied, apply, ids, inbox, inbox_batch, lives, model, shares, statistics};
use crate::contract::fixtures::point;

fn numbers(shares: &[Assignment]) -> Vec<u32> {
    shares.iter().map(|share| share.partition).collect()
}

#[tokio::test]
async fn partitions_are_shared_fairly_and_given_back_for_who_joins() {
    let (inbox, _database) = inbox().await;
    assert_eq!(numbers(&shares(&*inbox, 8, "a", LONG).await), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(numbers(&shares(&*inbox, 8, "b", LONG).await), [] as [u32; 0]);
    assert_eq!(numbers(&shares(&*inbox, 8, "a", LONG).await), [0, 1, 2, 3]);
    assert_eq!(numbers(&shares(&*inbox, 8, "b", LONG).await), [4, 5, 6, 7]);
    // The third gets what the others can spare.
    assert_eq!(numbers(&shares(&*inbox, 8, "c", LONG).await), [] as [u32; 0]);
    assert_eq!(numbers(&shares(&*inbox, 8, "a", LONG).await), [0, 1, 2]);
    assert_eq!(numbers(&shares(&*inbox, 8, "b", LONG).await), [4, 5, 6]);
    assert_eq!(numbers(&shares(&*inbox, 8, "c", LONG).await), [3, 7]);
    // And once it is settled nothing moves any more.
    for _ in 0..3 {
        assert_eq!(numbers(&shares(&*inbox, 8, "a", LONG).await), [0, 1, 2]);
        assert_eq!(numbers(&shares(&*inbox, 8, "b", LONG).await), [4, 5, 6]);
        assert_eq!(numbers(&shares(&*inbox, 8, "c", LONG).await), [3, 7]);
    }
    inbox.release(SOURCE, "b").await.unwrap();
    assert_eq!(numbers(&shares(&*inbox, 8, "a", LONG).await), [0, 1, 2, 4]);
    assert_eq!(numbers(&shares(&*inbox, 8, "c", LONG).await), [3, 5, 6, 7]);
    // Another source is another matter.
    let other = inbox.assign("journal:x", &[0].into(), "b", LONG, assign_partitions).await.unwrap();
    assert_eq!(numbers(&other), [0]);
    // More partitions than there were.
    assert_eq!(numbers(&shares(&*inbox, 10, "a", LONG).await), [0, 1, 2, 4, 8]);
    let progress = inbox.progress(SOURCE).await.unwrap();
    assert_eq!(progress.len(), 10);
    assert_eq!((progress[3].consumer.as_deref(), progress[9].consumer.as_deref()), (Some("c"), None));
}

#[tokio::test]
async fn what_a_dead_consumer_had_is_taken_over_and_what_it_still_writes_is_not_done() {
    let (inbox, database) = inbox().await;
    let events = lives(["1".to_owned(), "2".to_owned()], &point("main"));
    let old = shares(&*inbox, 2, "dead", Duration::from_millis(1)).await;
    apply(&*inbox, &old[0], &inbox_batch(&events[..4], 4)).await;
    let mut new = Vec::new();
    while new.len() < 2 {
        new = shares(&*inbox, 2, "alive", LONG).await;
    }
    for (old, new) in old.iter().zip(&new) {
        assert!(new.fence > old.fence, "{new:?}");
    }
    assert_eq!((new[0].position, new[1].position), (Some(Offset(4)), None));
    // It wakes up, and knows nothing of it.
    for share in &old {
        assert_eq!(
            inbox.apply(share, &inbox_batch(&events[4..], 8), receive_events).await.unwrap(),
            Applied::Fenced
        );
    }
    assert_eq!(applied(&database).await, ids(&events[..4]));
    assert_eq!(statistics(&*inbox).await, model(&events[..4]));
    assert_eq!(inbox.progress(SOURCE).await.unwrap()[0].position, Some(Offset(4)));
    // A forged fence of somebody else's lease is no better.
    let forged = Assignment { consumer: "dead".to_owned(), ..new[0].clone() };
    assert_eq!(
        inbox.apply(&forged, &inbox_batch(&events[4..], 8), receive_events).await.unwrap(),
        Applied::Fenced
    );
    apply(&*inbox, &new[0], &inbox_batch(&events[4..], 8)).await;
    assert_eq!(statistics(&*inbox).await, model(&events));
}

#[tokio::test]
async fn a_consumer_that_is_late_but_alone_goes_on() {
    let (inbox, _database) = inbox().await;
    let first = shares(&*inbox, 1, "late", Duration::from_micros(1)).await;
    apply(&*inbox, &first[0], &inbox_batch(&[], 3)).await;
    let second = shares(&*inbox, 1, "late", LONG).await;
    assert_eq!((second[0].fence, second[0].position), (first[0].fence, Some(Offset(3))));
}

#[tokio::test]
async fn an_operators_rewind_fences_the_reader_off_and_doubles_nothing() {
    let (inbox, database) = inbox().await;
    let events = lives(["1".to_owned(), "2".to_owned()], &point("main"));
    let before = alone(&*inbox).await;
    apply(&*inbox, &before, &inbox_batch(&events, 8)).await;
    inbox.rewind(SOURCE, 0, Offset(0)).await.unwrap();
    assert_eq!(inbox.apply(&before, &inbox_batch(&[], 9), receive_events).await.unwrap(), Applied::Fenced);
    let after = alone(&*inbox).await;
    assert_eq!(after.position, Some(Offset(0)));
    let (is_first, gaps_opened, gaps_closed) = apply(&*inbox, &after, &inbox_batch(&events, 8)).await;
    assert!(is_first.iter().all(|is_first| !is_first) && gaps_opened == 0 && gaps_closed == 0);
    assert_eq!(statistics(&*inbox).await, model(&events));
    assert_eq!(applied(&database).await, ids(&events));
    // Of one that nobody has read yet, too, and forward.
    inbox.rewind(SOURCE, 1, Offset(77)).await.unwrap();
    assert_eq!(shares(&*inbox, 2, "alone", LONG).await[1].position, Some(Offset(77)));
}
