//! What every inbox must do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::metered::MeteredInbox;
use pvz::domain::{Currency, Day, DayStatistics, Event, assign_partitions, receive_events};
use pvz::ports::{
    Applied, Assignment, Gap, Inbox, InboxBatch, Offset, StatisticsFilter, StatisticsPage, UndecodedRecord,
};

use super::fixtures::{
    StoreFixture, accepted, at, event, handed_over, id, issued, on_every_store, point, returned,
};
use crate::process::TIMEOUT;

on_every_store! {
    begins_without_a_position,
    counts_each_event_once,
    counts_a_duplicate_within_a_batch_once,
    finds_gaps_and_sees_them_filled,
    assigns_partitions_fairly,
    refuses_a_batch_without_a_valid_lease,
    an_expired_lease_is_taken_by_any_consumer,
    an_operator_rewinds_a_partition,
    keeps_unknown_events_and_continues,
    pages_through_statistics,
    measures_without_changing_anything,
}

const SOURCE: &str = "kafka:events";
/// A day in microseconds.
const DAY: i64 = 86_400_000_000;
const LONG: Duration = Duration::from_mins(10);

fn partitions(count: u32) -> BTreeSet<u32> {
    (0..count).collect()
}

/// The only partition, lent to that consumer.
async fn only_partition(inbox: &dyn Inbox, consumer: &str) -> Assignment {
    let shares = inbox.assign(SOURCE, &partitions(1), consumer, LONG, assign_partitions).await.unwrap();
    shares.into_iter().next().expect("a partition for everybody who asks")
}

fn inbox_batch(events: &[Event], next: i64) -> InboxBatch {
    InboxBatch { events: events.to_vec(), next: Some(Offset(next)), ..InboxBatch::default() }
}

async fn apply(
    inbox: &dyn Inbox,
    assignment: &Assignment,
    events: &[Event],
    next: i64,
) -> (Vec<bool>, u64, u64) {
    match inbox.apply(assignment, &inbox_batch(events, next), receive_events).await.unwrap() {
        Applied::Done { is_first, gaps_opened, gaps_closed } => (is_first, gaps_opened, gaps_closed),
        Applied::Fenced => panic!("the lease is good"),
    }
}

/// All statistics, in pages of that many.
async fn statistics(inbox: &dyn Inbox, filter: &StatisticsFilter, limit: usize) -> Vec<DayStatistics> {
    let mut found: Vec<DayStatistics> = Vec::new();
    loop {
        let after = found.last().map(|day| (day.pickup_point_id.clone(), day.day, day.currency.clone()));
        let page = inbox.statistics(filter, &StatisticsPage { after, limit }).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

/// The events of an order's life, in sequence.
fn life(order_id: &str) -> Vec<Event> {
    let first = accepted(order_id, 0);
    let second = issued(&first, 1);
    let third = returned(&second, 2);
    let fourth = handed_over(&third, 3);
    [first, second, third, fourth].iter().map(event).collect()
}

async fn begins_without_a_position(given: StoreFixture) {
    let inbox = given.inbox();
    let share = only_partition(&*inbox, "a").await;
    assert_eq!((share.partition, share.position, share.source.as_str()), (0, None, SOURCE));
    assert_eq!(apply(&*inbox, &share, &[], 7).await, (Vec::new(), 0, 0));
    assert_eq!(
        only_partition(&*inbox, "a").await.position,
        Some(Offset(7)),
        "renewed, it tells how far it is"
    );
    let progress = inbox.progress(SOURCE).await.unwrap();
    assert_eq!(progress.len(), 1);
    assert_eq!((progress[0].position, progress[0].consumer.as_deref()), (Some(Offset(7)), Some("a")));
    assert!(inbox.progress("another").await.unwrap().is_empty());
}

async fn counts_each_event_once(given: StoreFixture) {
    let inbox = given.inbox();
    let share = only_partition(&*inbox, "a").await;
    let (one, two) = (life("one"), life("two"));
    assert_eq!(apply(&*inbox, &share, &one[..2], 2).await, (vec![true, true], 0, 0));
    // Read again from the beginning, as after a crash, with more behind it.
    let again = [&one[..], &two[..1]].concat();
    assert_eq!(apply(&*inbox, &share, &again, 5).await, (vec![false, false, true, true, true], 0, 0));
    let days = statistics(&*inbox, &StatisticsFilter::default(), 10).await;
    let total = 19_990 + 2_100;
    let expected = DayStatistics {
        pickup_point_id: point("main"),
        day: Day::of(at(0)),
        currency: Currency::RUB.as_str().to_owned(),
        accepted: 2,
        issued: 1,
        returned: 1,
        handed_to_courier: 1,
        surcharge_minor: 2 * 2_100,
        accepted_minor: 2 * total,
        issued_minor: total,
        returned_minor: total,
    };
    assert_eq!(days, [expected]);
}

async fn counts_a_duplicate_within_a_batch_once(given: StoreFixture) {
    let inbox = given.inbox();
    let share = only_partition(&*inbox, "a").await;
    let one = life("one");
    let twice = [&one[..2], &one[..2]].concat();
    assert_eq!(apply(&*inbox, &share, &twice, 4).await, (vec![true, true, false, false], 0, 0));
    let days = statistics(&*inbox, &StatisticsFilter::default(), 10).await;
    assert_eq!((days[0].accepted, days[0].issued), (1, 1));
}

async fn finds_gaps_and_sees_them_filled(given: StoreFixture) {
    let inbox = given.inbox();
    let share = only_partition(&*inbox, "a").await;
    let (one, two) = (life("one"), life("two"));
    let with_gaps = [one[0].clone(), one[3].clone(), two[1].clone()];
    assert_eq!(apply(&*inbox, &share, &with_gaps, 3).await, (vec![true; 3], 2, 0));
    let gaps = inbox.gaps(10).await.unwrap();
    assert_eq!(gaps.orders, 2);
    let first = Gap { order_id: id("one"), missing: 2, highest: 4 };
    assert_eq!(gaps.first, [first.clone(), Gap { order_id: id("two"), missing: 1, highest: 2 }]);
    assert_eq!(inbox.gaps(1).await.unwrap().first, [first]);
    assert_eq!(apply(&*inbox, &share, &one[2..3], 4).await.1, 0, "a gap is gaps_opened once");
    let missing = [one[1].clone(), two[0].clone()];
    assert_eq!(apply(&*inbox, &share, &missing, 5).await, (vec![true; 2], 0, 2));
    assert_eq!(inbox.gaps(10).await.unwrap().orders, 0);
}

async fn assigns_partitions_fairly(given: StoreFixture) {
    let inbox = given.inbox();
    let of = async |consumer: &str| {
        let shares = inbox.assign(SOURCE, &partitions(4), consumer, LONG, assign_partitions).await.unwrap();
        shares.iter().map(|share| share.partition).collect::<BTreeSet<u32>>()
    };
    assert_eq!(of("a").await, partitions(4), "who is alone reads everything");
    assert_eq!(of("b").await, BTreeSet::new(), "nothing is taken from who has it");
    assert_eq!(of("a").await, partitions(2), "who knows of another gives back");
    assert_eq!(of("b").await, [2, 3].into());
    inbox.release(SOURCE, "a").await.unwrap();
    assert_eq!(of("b").await, partitions(4), "who leaves leaves everything");
    // More partitions than before.
    let more = inbox.assign(SOURCE, &partitions(6), "b", LONG, assign_partitions).await.unwrap();
    assert_eq!(more.len(), 6);
}

async fn refuses_a_batch_without_a_valid_lease(given: StoreFixture) {
    let inbox = given.inbox();
    let paused = only_partition(&*inbox, "a").await;
    inbox.release(SOURCE, "a").await.unwrap();
    let share = only_partition(&*inbox, "b").await;
    assert!(share.fencing_token > paused.fencing_token);
    let one = life("one");
    let late = inbox.apply(&paused, &inbox_batch(&one[..1], 9), receive_events).await.unwrap();
    assert_eq!(late, Applied::Fenced);
    assert!(statistics(&*inbox, &StatisticsFilter::default(), 10).await.is_empty());
    assert_eq!(only_partition(&*inbox, "b").await.position, None, "nothing of it was done");
    assert_eq!(apply(&*inbox, &share, &one[..1], 1).await.0, [true]);
}

async fn an_expired_lease_is_taken_by_any_consumer(given: StoreFixture) {
    let inbox = given.inbox();
    let short = Duration::from_millis(20);
    let dead =
        inbox.assign(SOURCE, &partitions(1), "dead", short, assign_partitions).await.unwrap().remove(0);
    let taken = async {
        loop {
            if let Some(share) =
                inbox.assign(SOURCE, &partitions(1), "b", LONG, assign_partitions).await.unwrap().pop()
            {
                break share;
            }
            tokio::task::yield_now().await;
        }
    };
    let share = tokio::time::timeout(TIMEOUT, taken).await.expect("the lease ends");
    assert!(share.fencing_token > dead.fencing_token);
    assert_eq!(
        inbox.apply(&dead, &inbox_batch(&life("one")[..1], 1), receive_events).await.unwrap(),
        Applied::Fenced
    );
}

async fn an_operator_rewinds_a_partition(given: StoreFixture) {
    let inbox = given.inbox();
    let share = only_partition(&*inbox, "a").await;
    let one = life("one");
    apply(&*inbox, &share, &one, 4).await;
    inbox.rewind(SOURCE, 0, Offset(0)).await.unwrap();
    let late = inbox.apply(&share, &inbox_batch(&[], 9), receive_events).await.unwrap();
    assert_eq!(late, Applied::Fenced, "who reads on meanwhile moves nothing");
    let share = only_partition(&*inbox, "a").await;
    assert_eq!(share.position, Some(Offset(0)));
    assert_eq!(apply(&*inbox, &share, &one, 4).await.0, [false; 4], "what is read again changes nothing");
    // Also one that was never read.
    inbox.rewind(SOURCE, 3, Offset(12)).await.unwrap();
    let shares = inbox.assign(SOURCE, &partitions(4), "a", LONG, assign_partitions).await.unwrap();
    assert_eq!(shares[3].position, Some(Offset(12)));
}

async fn keeps_unknown_events_and_continues(given: StoreFixture) {
    let inbox = given.inbox();
    let share = only_partition(&*inbox, "a").await;
    let unknown = UndecodedRecord {
        offset: Offset(3),
        cause: "its type is \"new\"".to_owned(),
        key: Some(b"one".to_vec()),
        value: Some(vec![0, 255, 7]),
        headers: [("ce_type".to_owned(), b"pvz.order.moved.v1".to_vec())].into(),
    };
    let mut batch = inbox_batch(&life("one")[..1], 5);
    batch.unknown =
        vec![unknown.clone(), UndecodedRecord { offset: Offset(4), key: None, value: None, ..unknown }];
    for _ in 0..2 {
        assert!(
            matches!(inbox.apply(&share, &batch, receive_events).await.unwrap(), Applied::Done { .. }),
            "also twice"
        );
    }
    assert_eq!(only_partition(&*inbox, "a").await.position, Some(Offset(5)));
}

async fn pages_through_statistics(given: StoreFixture) {
    let inbox = given.inbox();
    let share = only_partition(&*inbox, "a").await;
    let mut events = Vec::new();
    for (index, place) in ["b", "a", "b", "a", "c"].iter().enumerate() {
        for day in 0..3 {
            let mut order = accepted(&format!("{place}-{index}-{day}"), day * DAY);
            order.pickup_point_id = point(place);
            order.storage_until = at(10 * DAY);
            events.push(event(&order));
        }
    }
    apply(&*inbox, &share, &events, 15).await;
    let all = statistics(&*inbox, &StatisticsFilter::default(), 100).await;
    let key = |day: &DayStatistics| (day.pickup_point_id.to_string(), day.day, day.accepted);
    let days = [2, 1, 0].map(|day| Day::of(at(day * DAY)));
    let expected: Vec<_> = [("a", 2), ("b", 2), ("c", 1)]
        .iter()
        .flat_map(|(place, count)| days.iter().map(|day| ((*place).to_owned(), *day, *count)))
        .collect();
    assert_eq!(all.iter().map(key).collect::<Vec<_>>(), expected);
    for limit in 1..5 {
        assert_eq!(statistics(&*inbox, &StatisticsFilter::default(), limit).await, all, "{limit} a page");
    }
    let filter = StatisticsFilter {
        pickup_point_id: Some(point("b")),
        first_day: Some(days[1]),
        last_day: Some(days[1]),
    };
    let found = statistics(&*inbox, &filter, 2).await;
    assert_eq!(found.iter().map(key).collect::<Vec<_>>(), [("b".to_owned(), days[1], 2)]);
    let later = StatisticsFilter { first_day: Some(Day(days[0].0 + 1)), ..StatisticsFilter::default() };
    assert!(statistics(&*inbox, &later, 2).await.is_empty());
}

async fn measures_without_changing_anything(given: StoreFixture) {
    let inbox: Arc<dyn Inbox> = Arc::new(MeteredInbox::new(given.inbox()));
    let share = only_partition(&*inbox, "a").await;
    let one = life("one");
    assert_eq!(apply(&*inbox, &share, &one, 4).await.0, [true; 4]);
    assert_eq!(apply(&*inbox, &share, &one, 4).await.0, [false; 4]);
    assert_eq!(statistics(&*inbox, &StatisticsFilter::default(), 10).await.len(), 1);
    inbox.release(SOURCE, "a").await.unwrap();
    assert_eq!(inbox.apply(&share, &inbox_batch(&one, 4), receive_events).await.unwrap(), Applied::Fenced);
}
