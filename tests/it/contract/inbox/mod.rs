//! The contract of [`Inbox`].

mod conflicts;
mod counted;
mod last_events;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::metered::MeteredInbox;
use pvz::domain::{Currency, Day, DayStatistics, Event, Reception, assign_partitions, receive_events};
use pvz::ports::{
    Applied, Assignment, Gap, Gaps, Inbox, InboxBatch, Offset, StatisticsFilter, StatisticsPage,
    UndecodedRecord,
};

use super::fixtures::{
    StoreFixture, accepted, at, event, handed_over, id, issued, on_every_store, point, returned,
};
use crate::process::TIMEOUT;

on_every_store! {
    new_partition_has_no_position,
    redelivered_event_is_counted_once,
    duplicate_within_a_batch_is_counted_once,
    gaps_are_listed_until_they_close,
    partitions_are_assigned_in_fair_shares,
    batch_without_a_valid_lease_is_fenced,
    expired_lease_is_taken_by_any_consumer,
    rewind_moves_the_position_and_revokes_the_lease,
    unknown_events_are_kept_and_do_not_block,
    unknown_events_are_listed_by_offset_and_page,
    resolved_events_are_deleted_and_the_position_stays,
    gap_closes_when_a_kept_event_is_applied,
    fenced_consumer_resolves_no_events,
    statistics_are_paged_and_filtered,
    metered_inbox_behaves_the_same,
}

const SOURCE: &str = "kafka:events";
/// A day in microseconds.
const DAY: i64 = 86_400_000_000;
const LONG: Duration = Duration::from_mins(10);

fn partitions(count: u32) -> BTreeSet<u32> {
    (0..count).collect()
}

/// Assigns the only partition to a consumer.
async fn assign_only_partition(inbox: &dyn Inbox, consumer: &str) -> Assignment {
    let assignments = inbox.assign(SOURCE, &partitions(1), consumer, LONG, assign_partitions).await.unwrap();
    assignments.into_iter().next().expect("the only partition")
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
        Applied::Done { receptions, gaps_opened, gaps_closed } => {
            let is_first = receptions.iter().map(|reception| *reception == Reception::First);
            (is_first.collect(), gaps_opened, gaps_closed)
        }
        Applied::Fenced => panic!("the lease is valid"),
    }
}

/// Returns an event that only a later release can read.
fn unknown(offset: i64) -> UndecodedRecord {
    UndecodedRecord {
        offset: Offset(offset),
        cause: "its type is \"new\"".to_owned(),
        key: Some(b"one".to_vec()),
        value: Some(vec![0, 255, 7]),
        headers: [("ce_type".to_owned(), b"pvz.order.moved.v1".to_vec())].into(),
    }
}

/// Applies a batch of unknown events, and moves the position to 9.
async fn keep(inbox: &dyn Inbox, assignment: &Assignment, unknown: Vec<UndecodedRecord>) {
    let batch = InboxBatch { unknown, ..inbox_batch(&[], 9) };
    let applied = inbox.apply(assignment, &batch, receive_events).await.unwrap();
    assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
}

/// Returns the unknown events of the only partition.
async fn kept(inbox: &dyn Inbox) -> Vec<UndecodedRecord> {
    inbox.unknown_events(SOURCE, 0, None, 100).await.unwrap()
}

/// Reads all statistics, in pages of `limit`.
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

/// Returns every event of an order that is accepted, issued, returned and handed
/// to a courier.
fn history(order_id: &str) -> Vec<Event> {
    let first = accepted(order_id, 0);
    let second = issued(&first, 1);
    let third = returned(&second, 2);
    let fourth = handed_over(&third, 3);
    [first, second, third, fourth].iter().map(event).collect()
}

async fn new_partition_has_no_position(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    assert_eq!((assignment.partition, assignment.position, assignment.source.as_str()), (0, None, SOURCE));
    assert_eq!(apply(&*inbox, &assignment, &[], 7).await, (Vec::new(), 0, 0));
    assert_eq!(
        assign_only_partition(&*inbox, "a").await.position,
        Some(Offset(7)),
        "a renewed lease has the current position"
    );
    let progress = inbox.progress(SOURCE).await.unwrap();
    assert_eq!(progress.len(), 1);
    assert_eq!((progress[0].position, progress[0].consumer.as_deref()), (Some(Offset(7)), Some("a")));
    assert!(inbox.progress("another").await.unwrap().is_empty());
}

async fn redelivered_event_is_counted_once(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let (one, two) = (history("one"), history("two"));
    assert_eq!(apply(&*inbox, &assignment, &one[..2], 2).await, (vec![true, true], 0, 0));
    // The consumer reads from the beginning, as after a crash, and then on.
    let again = [&one[..], &two[..1]].concat();
    assert_eq!(apply(&*inbox, &assignment, &again, 5).await, (vec![false, false, true, true, true], 0, 0));
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

async fn duplicate_within_a_batch_is_counted_once(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let one = history("one");
    let twice = [&one[..2], &one[..2]].concat();
    assert_eq!(apply(&*inbox, &assignment, &twice, 4).await, (vec![true, true, false, false], 0, 0));
    let days = statistics(&*inbox, &StatisticsFilter::default(), 10).await;
    assert_eq!((days[0].accepted, days[0].issued), (1, 1));
}

async fn gaps_are_listed_until_they_close(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let (one, two) = (history("one"), history("two"));
    let with_gaps = [one[0].clone(), one[3].clone(), two[1].clone()];
    assert_eq!(apply(&*inbox, &assignment, &with_gaps, 3).await, (vec![true; 3], 2, 0));
    let gaps = inbox.gaps(10).await.unwrap();
    assert_eq!(gaps.orders, 2);
    let first = Gap { order_id: id("one"), missing: 2, highest: 4 };
    assert_eq!(gaps.first, [first.clone(), Gap { order_id: id("two"), missing: 1, highest: 2 }]);
    assert_eq!(inbox.gaps(1).await.unwrap().first, [first]);
    assert_eq!(apply(&*inbox, &assignment, &one[2..3], 4).await.1, 0, "a gap opens once");
    let missing = [one[1].clone(), two[0].clone()];
    assert_eq!(apply(&*inbox, &assignment, &missing, 5).await, (vec![true; 2], 0, 2));
    assert_eq!(inbox.gaps(10).await.unwrap().orders, 0);
}

async fn partitions_are_assigned_in_fair_shares(store: StoreFixture) {
    let inbox = store.inbox();
    let assign = async |consumer: &str| {
        let assignments =
            inbox.assign(SOURCE, &partitions(4), consumer, LONG, assign_partitions).await.unwrap();
        assignments.iter().map(|assignment| assignment.partition).collect::<BTreeSet<u32>>()
    };
    assert_eq!(assign("a").await, partitions(4), "a single consumer reads every partition");
    assert_eq!(assign("b").await, BTreeSet::new(), "a valid lease is not taken");
    assert_eq!(assign("a").await, partitions(2), "partitions beyond the fair share are released");
    assert_eq!(assign("b").await, [2, 3].into());
    inbox.release(SOURCE, "a").await.unwrap();
    assert_eq!(assign("b").await, partitions(4), "released partitions are free");
    // The source has more partitions than before.
    let more = inbox.assign(SOURCE, &partitions(6), "b", LONG, assign_partitions).await.unwrap();
    assert_eq!(more.len(), 6);
}

async fn batch_without_a_valid_lease_is_fenced(store: StoreFixture) {
    let inbox = store.inbox();
    let paused = assign_only_partition(&*inbox, "a").await;
    inbox.release(SOURCE, "a").await.unwrap();
    let assignment = assign_only_partition(&*inbox, "b").await;
    assert!(assignment.fencing_token > paused.fencing_token);
    let one = history("one");
    let late = inbox.apply(&paused, &inbox_batch(&one[..1], 9), receive_events).await.unwrap();
    assert_eq!(late, Applied::Fenced);
    assert!(statistics(&*inbox, &StatisticsFilter::default(), 10).await.is_empty());
    assert_eq!(assign_only_partition(&*inbox, "b").await.position, None, "a fenced batch changes nothing");
    assert_eq!(apply(&*inbox, &assignment, &one[..1], 1).await.0, [true]);
}

async fn expired_lease_is_taken_by_any_consumer(store: StoreFixture) {
    let inbox = store.inbox();
    let short = Duration::from_millis(20);
    let dead =
        inbox.assign(SOURCE, &partitions(1), "dead", short, assign_partitions).await.unwrap().remove(0);
    let taken = async {
        loop {
            if let Some(assignment) =
                inbox.assign(SOURCE, &partitions(1), "b", LONG, assign_partitions).await.unwrap().pop()
            {
                break assignment;
            }
            tokio::task::yield_now().await;
        }
    };
    let assignment = tokio::time::timeout(TIMEOUT, taken).await.expect("the lease expires");
    assert!(assignment.fencing_token > dead.fencing_token);
    assert_eq!(
        inbox.apply(&dead, &inbox_batch(&history("one")[..1], 1), receive_events).await.unwrap(),
        Applied::Fenced
    );
}

async fn rewind_moves_the_position_and_revokes_the_lease(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let one = history("one");
    apply(&*inbox, &assignment, &one, 4).await;
    inbox.rewind(SOURCE, 0, Offset(0)).await.unwrap();
    let late = inbox.apply(&assignment, &inbox_batch(&[], 9), receive_events).await.unwrap();
    assert_eq!(late, Applied::Fenced, "the lease was revoked");
    let assignment = assign_only_partition(&*inbox, "a").await;
    assert_eq!(assignment.position, Some(Offset(0)));
    assert_eq!(apply(&*inbox, &assignment, &one, 4).await.0, [false; 4], "the events are duplicates");
    // A partition that was never read can be rewound too.
    inbox.rewind(SOURCE, 3, Offset(12)).await.unwrap();
    let assignments = inbox.assign(SOURCE, &partitions(4), "a", LONG, assign_partitions).await.unwrap();
    assert_eq!(assignments[3].position, Some(Offset(12)));
}

async fn unknown_events_are_kept_and_do_not_block(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let mut batch = inbox_batch(&history("one")[..1], 5);
    batch.unknown = vec![unknown(3), unknown(4)];
    for _ in 0..2 {
        let applied = inbox.apply(&assignment, &batch, receive_events).await.unwrap();
        assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
    }
    assert_eq!(assign_only_partition(&*inbox, "a").await.position, Some(Offset(5)));
    assert_eq!(kept(&*inbox).await, [unknown(3), unknown(4)], "kept once");
}

async fn unknown_events_are_listed_by_offset_and_page(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let bare = UndecodedRecord { key: None, value: None, headers: BTreeMap::new(), ..unknown(300) };
    keep(&*inbox, &assignment, vec![unknown(20), bare.clone(), unknown(3), unknown(0)]).await;
    let list = async |after, limit| inbox.unknown_events(SOURCE, 0, after, limit).await.unwrap();
    assert_eq!(list(None, 3).await, [unknown(0), unknown(3), unknown(20)]);
    assert_eq!(list(Some(Offset(20)), 3).await, std::slice::from_ref(&bare));
    assert_eq!(list(Some(Offset(0)), 1).await, [unknown(3)]);
    assert_eq!(list(Some(Offset(10)), 3).await, [unknown(20), bare], "no event has this offset");
    assert_eq!(list(Some(Offset(300)), 3).await, []);
    assert_eq!(inbox.unknown_events(SOURCE, 1, None, 3).await.unwrap(), [], "another partition");
    assert_eq!(inbox.unknown_events("another", 0, None, 3).await.unwrap(), [], "another source");
}

async fn resolved_events_are_deleted_and_the_position_stays(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    keep(&*inbox, &assignment, vec![unknown(3), unknown(4), unknown(5)]).await;
    let events = history("one");
    // No event is kept at offset 7.
    let batch = InboxBatch {
        events: events[..1].to_vec(),
        resolved: vec![Offset(3), Offset(5), Offset(7)],
        ..InboxBatch::default()
    };
    for reception in [Reception::First, Reception::Repeated] {
        let applied = inbox.apply(&assignment, &batch, receive_events).await.unwrap();
        let expected = Applied::Done { receptions: vec![reception], gaps_opened: 0, gaps_closed: 0 };
        assert_eq!(applied, expected);
        assert_eq!(kept(&*inbox).await, [unknown(4)]);
    }
    assert_eq!(assign_only_partition(&*inbox, "a").await.position, Some(Offset(9)));
    assert_eq!(statistics(&*inbox, &StatisticsFilter::default(), 10).await[0].accepted, 1);
}

async fn gap_closes_when_a_kept_event_is_applied(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let events = history("one");
    let mut batch = inbox_batch(&[events[0].clone(), events[2].clone()], 3);
    batch.unknown = vec![unknown(1)];
    let applied = inbox.apply(&assignment, &batch, receive_events).await.unwrap();
    assert_eq!(
        applied,
        Applied::Done { receptions: vec![Reception::First; 2], gaps_opened: 1, gaps_closed: 0 }
    );
    assert_eq!(inbox.gaps(10).await.unwrap().first, [Gap { order_id: id("one"), missing: 2, highest: 3 }]);
    let batch =
        InboxBatch { events: vec![events[1].clone()], resolved: vec![Offset(1)], ..InboxBatch::default() };
    let applied = inbox.apply(&assignment, &batch, receive_events).await.unwrap();
    assert_eq!(applied, Applied::Done { receptions: vec![Reception::First], gaps_opened: 0, gaps_closed: 1 });
    assert_eq!(inbox.gaps(10).await.unwrap(), Gaps::default());
    assert_eq!(kept(&*inbox).await, []);
    let days = statistics(&*inbox, &StatisticsFilter::default(), 10).await;
    assert_eq!((days[0].accepted, days[0].issued, days[0].returned), (1, 1, 1));
}

async fn fenced_consumer_resolves_no_events(store: StoreFixture) {
    let inbox = store.inbox();
    let fenced = assign_only_partition(&*inbox, "a").await;
    keep(&*inbox, &fenced, vec![unknown(3)]).await;
    inbox.release(SOURCE, "a").await.unwrap();
    let assignment = assign_only_partition(&*inbox, "b").await;
    let batch = InboxBatch {
        events: history("one")[..1].to_vec(),
        resolved: vec![Offset(3)],
        ..InboxBatch::default()
    };
    assert_eq!(inbox.apply(&fenced, &batch, receive_events).await.unwrap(), Applied::Fenced);
    assert_eq!(kept(&*inbox).await, [unknown(3)]);
    assert_eq!(statistics(&*inbox, &StatisticsFilter::default(), 10).await, []);
    let applied = inbox.apply(&assignment, &batch, receive_events).await.unwrap();
    assert_eq!(applied, Applied::Done { receptions: vec![Reception::First], gaps_opened: 0, gaps_closed: 0 });
    assert_eq!(kept(&*inbox).await, []);
}

async fn statistics_are_paged_and_filtered(store: StoreFixture) {
    let inbox = store.inbox();
    let assignment = assign_only_partition(&*inbox, "a").await;
    let mut events = Vec::new();
    for (index, point_id) in ["b", "a", "b", "a", "c"].iter().enumerate() {
        for day in 0..3 {
            let mut order = accepted(&format!("{point_id}-{index}-{day}"), day * DAY);
            order.pickup_point_id = point(point_id);
            order.storage_until = at(10 * DAY);
            events.push(event(&order));
        }
    }
    apply(&*inbox, &assignment, &events, 15).await;
    let all = statistics(&*inbox, &StatisticsFilter::default(), 100).await;
    let key = |day: &DayStatistics| (day.pickup_point_id.to_string(), day.day, day.accepted);
    let days = [2, 1, 0].map(|day| Day::of(at(day * DAY)));
    let expected: Vec<_> = [("a", 2), ("b", 2), ("c", 1)]
        .iter()
        .flat_map(|(point_id, count)| days.iter().map(|day| ((*point_id).to_owned(), *day, *count)))
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

async fn metered_inbox_behaves_the_same(store: StoreFixture) {
    let inbox: Arc<dyn Inbox> = Arc::new(MeteredInbox::new(store.inbox()));
    let assignment = assign_only_partition(&*inbox, "a").await;
    let one = history("one");
    assert_eq!(apply(&*inbox, &assignment, &one, 4).await.0, [true; 4]);
    assert_eq!(apply(&*inbox, &assignment, &one, 4).await.0, [false; 4]);
    assert_eq!(statistics(&*inbox, &StatisticsFilter::default(), 10).await.len(), 1);
    inbox.release(SOURCE, "a").await.unwrap();
    assert_eq!(
        inbox.apply(&assignment, &inbox_batch(&one, 4), receive_events).await.unwrap(),
        Applied::Fenced
    );
}
