//! Up to when the statistics count the events of the log.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use pvz::adapters::memory::MemoryStore;
use pvz::adapters::null::NullSink;
use pvz::app::{CountedEvents, OpenInbox, PageTokens, ReadStatistics};
use pvz::domain::{Event, EventId, PartitionClaim, PartitionLease, receive_events};
use pvz::ports::{
    Applied, Clock as _, EventLog as _, EventSink as _, Inbox, InboxBatch, LastEvent, LoggedEvent, Offset,
    Position, StatisticsFilter,
};

use crate::contract::fixtures::{accepted, accepting, write};
use crate::support::time::{SECOND, TestClock};

/// A log whose events have ids with their times, an inbox and a clock.
struct Case {
    store: Arc<MemoryStore>,
    clock: Arc<TestClock>,
    /// The time of the next event, and the time between events, in milliseconds.
    next: i64,
    step: i64,
}

/// The first event, in seconds.
const BEGIN: i64 = 1_790_000_000;

fn everything(leases: &[PartitionLease], claim: &PartitionClaim) -> Vec<PartitionLease> {
    let take = |lease: &PartitionLease| PartitionLease {
        consumer: Some(claim.consumer.clone()),
        expires_at: claim.expires_at,
        ..lease.clone()
    };
    leases.iter().map(take).collect()
}

impl Case {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new([7; 32]));
        Self { store, clock: Arc::default(), next: BEGIN * 1_000, step: 100_000 }
    }

    /// Writes events, and sets the clock to 10 seconds after the last one.
    async fn log(&mut self, count: i64) {
        let mut writes = accepting(&[]);
        for _ in 0..count {
            let millis = self.next - BEGIN * 1_000;
            let mut more = accepting(&[accepted(&format!("o-{millis}"), millis * 1_000)]);
            for event in &mut more.events {
                event.event_id = EventId(u128::from(self.next.unsigned_abs()) << 80);
            }
            writes.inserted.append(&mut more.inserted);
            writes.events.append(&mut more.events);
            self.next += self.step;
        }
        writes.inserted.sort_by(|one, other| one.order_id.cmp(&other.order_id));
        write(&*self.store, writes).await.unwrap();
        self.clock.set((self.next - self.step + 10_000) * 1_000);
    }

    async fn all(&self) -> Vec<LoggedEvent> {
        self.store.feed(Position(0), 100_000).await.unwrap()
    }

    /// Applies events of a partition. `count` is the number of partitions.
    async fn count<'a>(&self, partition: u32, count: u32, events: impl Iterator<Item = &'a LoggedEvent>) {
        let events: Vec<Event> = events.map(|logged| logged.event.clone()).collect();
        let sink = NullSink;
        let lease = Duration::from_mins(10);
        let assigned =
            self.store.assign(sink.name(), &(0..count).collect(), "only", lease, everything).await.unwrap();
        let last = events.last().map(|event| LastEvent { offset: Offset(7), event_id: event.event_id });
        let batch = InboxBatch { events, next: Some(Offset(8)), last_event: last, ..InboxBatch::default() };
        let applied = self.store.apply(&assigned[partition as usize], &batch, receive_events).await.unwrap();
        assert!(matches!(applied, Applied::Done { .. }), "{applied:?}");
    }

    async fn counted(&self) -> Option<CountedEvents> {
        let store = Arc::clone(&self.store);
        let open: OpenInbox = Box::new(move || {
            let inbox: Arc<dyn Inbox> = store.clone();
            async move { Ok(inbox) }.boxed()
        });
        let tokens = PageTokens::new([7; 32]);
        let statistics =
            ReadStatistics::new(open, self.store.clone(), Arc::new(NullSink), self.clock.clone(), tokens);
        statistics.page(&StatisticsFilter::default(), 10, "").await.unwrap().counted
    }

    /// Returns the position, the lag in events and in seconds, and the time in seconds after the first
    /// event.
    async fn lag(&self) -> (i64, i64, i64, i64) {
        let counted = self.counted().await.unwrap();
        let as_of = counted.as_of.micros() / SECOND - BEGIN;
        (counted.position.0, counted.lag_events, counted.lag_seconds, as_of)
    }
}

#[tokio::test]
async fn without_a_consumer_it_is_not_known() {
    let mut case = Case::new();
    assert_eq!(case.counted().await, None);
    case.log(3).await;
    assert_eq!(case.counted().await, None);
}

#[tokio::test]
async fn if_all_events_are_counted_it_is_now() {
    let mut case = Case::new();
    case.count(0, 1, [].iter()).await;
    let counted = case.counted().await.unwrap();
    assert_eq!((counted.as_of, counted.position, counted.consumers), (case.clock.now(), Position(0), 1));
    case.log(3).await;
    case.count(0, 1, case.all().await.iter()).await;
    assert_eq!(case.lag().await, (3, 0, 0, 210));
    // Time passes without events.
    case.clock.advance(1_000 * SECOND);
    assert_eq!(case.lag().await, (3, 0, 0, 1_210));
}

#[tokio::test]
async fn it_is_the_time_of_the_oldest_event_that_is_not_counted() {
    let mut case = Case::new();
    case.log(20).await;
    case.count(0, 1, [].iter()).await;
    assert_eq!(case.lag().await, (0, 20, 1_910, 0));
    case.count(0, 1, case.all().await.iter().take(12)).await;
    assert_eq!(case.lag().await, (12, 8, 710, 1_200));
    case.store.release(NullSink.name(), "only").await.unwrap();
    assert_eq!(case.counted().await.unwrap().consumers, 0);
}

#[tokio::test]
async fn a_partition_that_is_behind_determines_it() {
    let mut case = Case::new();
    case.log(40).await;
    let all = case.all().await;
    let of = |partition: usize| all.iter().skip(partition).step_by(4);
    // The last partition has no event.
    for partition in 0..3 {
        case.count(u32::try_from(partition).unwrap(), 5, of(partition)).await;
    }
    case.count(3, 5, of(3).take(4)).await;
    assert_eq!(case.lag().await, (19, 21, 2_010, 1_900));
    case.count(3, 5, of(3)).await;
    assert_eq!(case.lag().await, (40, 0, 0, 3_910));
}

#[tokio::test]
async fn the_search_begins_at_the_last_events() {
    let mut case = Case::new();
    case.log(30_000).await;
    let all = case.all().await;
    // A consumer that began at the latest events.
    case.count(0, 2, all[29_000..29_500].iter().step_by(2)).await;
    case.count(1, 2, all[29_001..29_500].iter().step_by(2)).await;
    assert_eq!(case.lag().await, (29_500, 500, 49_910, 2_950_000));
    case.count(0, 2, all[29_500..].iter()).await;
    // Half of those events are of the other partition, and the search checks them.
    assert_eq!(case.lag().await, (30_000, 0, 0, 2_999_910));
}

#[tokio::test]
async fn many_events_at_once_do_not_end_the_search() {
    let mut case = Case::new();
    case.step = 1;
    case.log(60_000).await;
    case.count(0, 1, case.all().await.iter()).await;
    assert_eq!(case.counted().await.unwrap().lag_events, 0);
}

#[tokio::test]
async fn the_search_ends_and_claims_no_more_than_it_checked() {
    let mut case = Case::new();
    case.log(52_000).await;
    let all = case.all().await;
    case.count(0, 2, all.iter()).await;
    // The other partition was rewound.
    case.store.rewind(NullSink.name(), 1, Offset(0)).await.unwrap();
    assert_eq!(case.lag().await, (50_000, 2_000, 200_010, 4_999_900));
}
