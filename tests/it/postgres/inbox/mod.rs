//! Tests of the PostgreSQL inbox.

mod apply;
mod assignments;
mod races;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::{
    Day, DayStatistics, Event, EventType, Order, PickupPointId, Reception, assign_partitions, receive_events,
};
use pvz::ports::{Applied, Assignment, Inbox, InboxBatch, Offset, StatisticsFilter, StatisticsPage};

use super::cluster::{Database, store};
use crate::contract::fixtures::{accepted, event, handed_over, issued, returned};

pub const SOURCE: &str = "kafka:events";
/// The duration of a lease that does not expire during a test.
pub const LONG_LEASE: Duration = Duration::from_hours(1);

/// Returns an inbox in a new database.
pub async fn inbox() -> (Arc<PostgresStore>, Database) {
    store().await
}

/// Assigns partitions to a consumer, and returns all of its assignments.
pub async fn assign(inbox: &dyn Inbox, partitions: u32, consumer: &str, lease: Duration) -> Vec<Assignment> {
    let partitions: BTreeSet<u32> = (0..partitions).collect();
    inbox.assign(SOURCE, &partitions, consumer, lease, assign_partitions).await.unwrap()
}

/// Assigns the only partition to the only consumer.
pub async fn assign_only(inbox: &dyn Inbox) -> Assignment {
    assign(inbox, 1, "only", LONG_LEASE).await.into_iter().next().expect("an assignment")
}

/// Returns the events of complete order lifecycles, order by order.
pub fn lifecycles(orders: impl IntoIterator<Item = String>, point: &PickupPointId) -> Vec<Event> {
    let lifecycle = |order_id: String| {
        let accepted = Order { pickup_point_id: point.clone(), ..accepted(&order_id, 0) };
        let issued = issued(&accepted, 1);
        let returned = returned(&issued, 90_000_000_000);
        let handed_over = handed_over(&returned, 90_000_000_001);
        [accepted, issued, returned, handed_over].map(|order| event(&order))
    };
    orders.into_iter().flat_map(lifecycle).collect()
}

pub fn inbox_batch(events: &[Event], next: i64) -> InboxBatch {
    InboxBatch { events: events.to_vec(), next: Some(Offset(next)), ..InboxBatch::default() }
}

/// Applies a batch. Returns the first deliveries, and the numbers of gaps opened and closed.
pub async fn apply(inbox: &dyn Inbox, assignment: &Assignment, batch: &InboxBatch) -> (Vec<bool>, u64, u64) {
    match inbox.apply(assignment, batch, receive_events).await.unwrap() {
        Applied::Done { receptions, gaps_opened, gaps_closed } => {
            let is_first = receptions.iter().map(|reception| *reception == Reception::First);
            (is_first.collect(), gaps_opened, gaps_closed)
        }
        Applied::Fenced => panic!("{assignment:?} has expired"),
    }
}

pub async fn statistics(inbox: &dyn Inbox) -> Vec<DayStatistics> {
    let page = StatisticsPage { after: None, limit: 10_000 };
    inbox.statistics(&StatisticsFilter::default(), &page).await.unwrap()
}

/// Returns the statistics of events, each counted once: the reference for the inbox.
pub fn expected_statistics<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<DayStatistics> {
    let mut seen = BTreeSet::new();
    let mut days: BTreeMap<(PickupPointId, std::cmp::Reverse<Day>, String), DayStatistics> = BTreeMap::new();
    for event in events {
        if !seen.insert((event.order.order_id.clone(), event.sequence)) {
            continue;
        }
        let day = Day::of(event.occurred_at);
        let (point, currency) =
            (event.order.pickup_point_id.clone(), event.order.currency.as_str().to_owned());
        let key = (point.clone(), std::cmp::Reverse(day), currency.clone());
        let entry = days.entry(key).or_insert(DayStatistics {
            pickup_point_id: point,
            day,
            currency,
            accepted: 0,
            issued: 0,
            returned: 0,
            handed_to_courier: 0,
            surcharge_minor: 0,
            accepted_minor: 0,
            issued_minor: 0,
            returned_minor: 0,
        });
        let total = (event.order.price + event.order.surcharge).minor();
        match event.event_type {
            EventType::Accepted => {
                entry.accepted += 1;
                entry.surcharge_minor += event.order.surcharge.minor();
                entry.accepted_minor += total;
            }
            EventType::Issued => {
                (entry.issued, entry.issued_minor) = (entry.issued + 1, entry.issued_minor + total);
            }
            EventType::Returned => {
                (entry.returned, entry.returned_minor) = (entry.returned + 1, entry.returned_minor + total);
            }
            EventType::HandedToCourier => entry.handed_to_courier += 1,
        }
    }
    days.into_values().collect()
}

/// Returns order id and sequence of each applied event.
pub async fn applied_events(database: &Database) -> Vec<(String, i64)> {
    let query = "SELECT order_id, sequence FROM inbox_events ORDER BY 1, 2";
    let rows = database.shell().await.query(query, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Returns the distinct order ids and sequences of events, sorted.
pub fn event_keys<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<(String, i64)> {
    let keys = events.into_iter().map(|event| (event.order.order_id.to_string(), event.sequence));
    keys.collect::<BTreeSet<_>>().into_iter().collect()
}
