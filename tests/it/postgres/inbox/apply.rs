//! Tests of batches: redelivered and reordered events, gaps and statistics.

use pvz::domain::{Currency, Day, DayStatistics, Money, Order, Timestamp, receive_events};
use pvz::ports::{ErrorKind, Gap, Inbox as _, Offset, StatisticsFilter, StatisticsPage};

use super::{
    applied_events, apply, assign_only, event_keys, expected_statistics, inbox, inbox_batch, lifecycles,
    statistics,
};
use crate::contract::fixtures::{accepted, event, id, point};

fn order_ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("order-{number}")).collect()
}

#[tokio::test]
async fn redelivered_events_are_applied_once() {
    let (inbox, database) = inbox().await;
    let assignment = assign_only(&*inbox).await;
    assert_eq!(assignment.position, None);
    let events = lifecycles(order_ids(50), &point("main"));
    let (is_first, gaps_opened, gaps_closed) =
        apply(&*inbox, &assignment, &inbox_batch(&events[..120], 120)).await;
    assert!(is_first.iter().all(|is_first| *is_first) && gaps_opened == 0 && gaps_closed == 0);
    // Duplicates of earlier events and within the batch.
    let repeated: Vec<_> = [&events[100..], &events[150..]].concat();
    let (is_first, ..) = apply(&*inbox, &assignment, &inbox_batch(&repeated, 300)).await;
    let expected: Vec<bool> = (100..250).map(|number| (120..200).contains(&number)).collect();
    assert_eq!(is_first, expected);
    let (is_first, ..) = apply(&*inbox, &assignment, &inbox_batch(&events, 400)).await;
    assert!(is_first.iter().all(|is_first| !is_first));
    assert_eq!(applied_events(&database).await, event_keys(&events));
    assert_eq!(statistics(&*inbox).await, expected_statistics(&events));
    assert_eq!(assign_only(&*inbox).await.position, Some(Offset(400)));
    // A batch without events moves the position.
    assert_eq!(apply(&*inbox, &assignment, &inbox_batch(&[], 500)).await, (Vec::new(), 0, 0));
    let progress = inbox.progress(super::SOURCE).await.unwrap();
    assert_eq!(progress[0].position, Some(Offset(500)));
    assert_eq!(progress[0].consumer.as_deref(), Some("only"));
}

#[tokio::test]
async fn redelivery_without_the_primary_key_is_detected() {
    let (inbox, database) = inbox().await;
    let shell = database.shell().await;
    shell.batch_execute("ALTER TABLE inbox_events DROP CONSTRAINT inbox_events_pkey").await.unwrap();
    let assignment = assign_only(&*inbox).await;
    let events = lifecycles(order_ids(3), &point("main"));
    apply(&*inbox, &assignment, &inbox_batch(&events, 12)).await;
    // A check refuses more events of an order than its highest sequence.
    let refused = inbox.apply(&assignment, &inbox_batch(&events, 24), receive_events).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Inconsistent, "{refused:?}");
    assert_eq!(statistics(&*inbox).await, expected_statistics(&events));
    // Without that check, the statistics are wrong.
    shell.batch_execute("ALTER TABLE inbox_orders DROP CONSTRAINT inbox_orders_check").await.unwrap();
    apply(&*inbox, &assignment, &inbox_batch(&events, 24)).await;
    assert_ne!(statistics(&*inbox).await, expected_statistics(&events));
    assert_ne!(applied_events(&database).await, event_keys(&events));
}

#[tokio::test]
async fn gaps_are_opened_reported_and_closed() {
    let (inbox, _database) = inbox().await;
    let assignment = assign_only(&*inbox).await;
    let events = lifecycles(order_ids(4), &point("main"));
    let of = |order: usize, sequences: &[usize]| -> Vec<_> {
        sequences.iter().map(|sequence| events[order * 4 + sequence - 1].clone()).collect()
    };
    // A gap has the first missing and the highest received sequence of an order.
    let first = [of(0, &[1, 2]), of(1, &[2]), of(2, &[1, 3]), of(3, &[4, 1])].concat();
    assert_eq!(apply(&*inbox, &assignment, &inbox_batch(&first, 1)).await.1, 3);
    let gap =
        |order: usize, missing, highest| Gap { order_id: id(&format!("order-{order}")), missing, highest };
    let gaps = inbox.gaps(10).await.unwrap();
    assert_eq!((gaps.orders, gaps.first), (3, vec![gap(1, 1, 2), gap(2, 2, 3), gap(3, 2, 4)]));
    let gaps = inbox.gaps(1).await.unwrap();
    assert_eq!((gaps.orders, gaps.first), (3, vec![gap(1, 1, 2)]));
    // A gap that becomes smaller stays open and is not counted again.
    let second = [of(0, &[3, 4]), of(1, &[1]), of(2, &[4]), of(3, &[3])].concat();
    let (_, gaps_opened, gaps_closed) = apply(&*inbox, &assignment, &inbox_batch(&second, 2)).await;
    assert_eq!((gaps_opened, gaps_closed), (0, 1));
    assert_eq!(inbox.gaps(10).await.unwrap().first, [gap(2, 2, 4), gap(3, 2, 4)]);
    let (_, gaps_opened, gaps_closed) = apply(&*inbox, &assignment, &inbox_batch(&events, 3)).await;
    assert_eq!((gaps_opened, gaps_closed), (0, 2));
    assert_eq!(inbox.gaps(10).await.unwrap().orders, 0);
}

/// Returns events of several pickup points, days before and after 1970 and currencies,
/// with the highest price.
fn varied_events() -> Vec<pvz::domain::Event> {
    let mut events = Vec::new();
    for (number, place) in ["b", "B", "a.1", "a-1", "Z", "10", "9"].into_iter().enumerate() {
        for day in [-1, 0, 1, 20_000] {
            for currency in ["RUB", "AMD", "KZT"] {
                let order = Order {
                    pickup_point_id: point(place),
                    accepted_at: Timestamp::from_micros(day * 86_400_000_000).unwrap(),
                    currency: Currency::parse(currency).unwrap(),
                    price: Money::price(1_000_000_000_000).unwrap(),
                    ..accepted(&format!("{number}.{day}.{currency}").replace(".-", ".minus"), 0)
                };
                events.push(event(&order));
            }
        }
    }
    events
}

#[tokio::test]
async fn statistics_are_paged_and_filtered() {
    let (inbox, _database) = inbox().await;
    let assignment = assign_only(&*inbox).await;
    let events = varied_events();
    apply(&*inbox, &assignment, &inbox_batch(&events, 1)).await;
    let all = expected_statistics(&events);
    assert_eq!(all.len(), events.len());
    for (place, first, last) in [
        (None, None, None),
        (Some("a-1"), None, None),
        (None, Some(0), None),
        (None, None, Some(0)),
        (Some("Z"), Some(1), Some(1)),
        (Some("nowhere"), None, None),
    ] {
        let filter = StatisticsFilter {
            pickup_point_id: place.map(point),
            first_day: first.map(Day),
            last_day: last.map(Day),
        };
        let matches = |found: &&DayStatistics| {
            place.is_none_or(|place| found.pickup_point_id == point(place))
                && first.is_none_or(|first| found.day >= Day(first))
                && last.is_none_or(|last| found.day <= Day(last))
        };
        let expected: Vec<DayStatistics> = all.iter().filter(matches).cloned().collect();
        for limit in [1, 5, 1_000] {
            let mut found: Vec<DayStatistics> = Vec::new();
            loop {
                let after =
                    found.last().map(|last| (last.pickup_point_id.clone(), last.day, last.currency.clone()));
                let page = inbox.statistics(&filter, &StatisticsPage { after, limit }).await.unwrap();
                let is_last = page.len() < limit;
                found.extend(page);
                if is_last {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn highest_possible_sequence_opens_a_gap() {
    let (inbox, _database) = inbox().await;
    let assignment = assign_only(&*inbox).await;
    let mut forged = event(&Order { version: i64::MAX, ..accepted("forged", 0) });
    forged.sequence = i64::MAX;
    assert_eq!(apply(&*inbox, &assignment, &inbox_batch(&[forged], 1)).await.1, 1);
    let gap = Gap { order_id: id("forged"), missing: 1, highest: i64::MAX };
    assert_eq!(inbox.gaps(10).await.unwrap().first, [gap]);
}
