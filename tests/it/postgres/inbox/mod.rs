//! What consumers have read, in a real PostgreSQL.

mod apply;
mod races;
mod share;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::{
    Day, DayStatistics, Event, EventType, Order, PickupPointId, assign_partitions, receive_events,
};
use pvz::ports::{Applied, Assignment, Inbox, InboxBatch, Offset, StatisticsFilter, StatisticsPage};

use super::cluster::{Database, store};
use crate::contract::fixtures::{accepted, event, handed_over, issued, returned};

pub const SOURCE: &str = "kafka:events";
/// Longer than any test.
pub const LONG: Duration = Duration::from_hours(1);

/// An inbox in a database of its own.
pub async fn inbox() -> (Arc<PostgresStore>, Database) {
    store().await
}

/// All of the partitions that a consumer gets.
pub async fn shares(inbox: &dyn Inbox, partitions: u32, consumer: &str, ttl: Duration) -> Vec<Assignment> {
    let partitions: BTreeSet<u32> = (0..partitions).collect();
    inbox.assign(SOURCE, &partitions, consumer, ttl, assign_partitions).await.unwrap()
}

/// The only partition, for the only consumer.
pub async fn alone(inbox: &dyn Inbox) -> Assignment {
    shares(inbox, 1, "alone", LONG).await.into_iter().next().expect("a share")
}

/// The events of whole lives of orders, order after order.
pub fn lives(orders: impl IntoIterator<Item = String>, point: &PickupPointId) -> Vec<Event> {
    let life = |order_id: String| {
        let accepted = Order { pickup_point_id: point.clone(), ..accepted(&order_id, 0) };
        let issued = issued(&accepted, 1);
        let returned = returned(&issued, 90_000_000_000);
        let handed_over = handed_over(&returned, 90_000_000_001);
        [accepted, issued, returned, handed_over].map(|order| event(&order))
    };
    orders.into_iter().flat_map(life).collect()
}

pub fn inbox_batch(events: &[Event], next: i64) -> InboxBatch {
    InboxBatch { events: events.to_vec(), next: Some(Offset(next)), ..InboxBatch::default() }
}

/// Applies a batch. Returns the first deliveries, and the numbers of gaps opened and closed.
pub async fn apply(inbox: &dyn Inbox, assignment: &Assignment, batch: &InboxBatch) -> (Vec<bool>, u64, u64) {
    match inbox.apply(assignment, batch, receive_events).await.unwrap() {
        Applied::Done { is_first, gaps_opened, gaps_closed } => (is_first, gaps_opened, gaps_closed),
        Applied::Fenced => panic!("{assignment:?} has expired"),
    }
}

pub async fn statistics(inbox: &dyn Inbox) -> Vec<DayStatistics> {
    let page = StatisticsPage { after: None, limit: 10_000 };
    inbox.statistics(&StatisticsFilter::default(), &page).await.unwrap()
}

/// What events add up to, each counted once, as slowly and plainly as can be.
pub fn model<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<DayStatistics> {
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

/// Order and sequence of each event that was applied.
pub async fn applied(database: &Database) -> Vec<(String, i64)> {
    let query = "SELECT order_id, sequence FROM inbox_events ORDER BY 1, 2";
    let rows = database.shell().await.query(query, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

pub fn ids<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<(String, i64)> {
    let ids = events.into_iter().map(|event| (event.order.order_id.to_string(), event.sequence));
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}
