//! Batches: each event once, whatever comes how often and in which order.

use pvz::domain::{Currency, Day, DayStatistics, Money, Order, Timestamp, receive_events};
use pvz::ports::{ErrorKind, Gap, Inbox as _, Offset, StatisticsFilter, StatisticsPage};

use super::{alone, applied, apply, ids, inbox, inbox_batch, lives, model, statistics};
use crate::contract::fixtures::{accepted, event, id, point};

fn named(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("order-{number}")).collect()
}

#[tokio::test]
async fn each_event_is_applied_once_however_often_it_comes() {
    let (inbox, database) = inbox().await;
    let share = alone(&*inbox).await;
    assert_eq!(share.position, None);
    let events = lives(named(50), &point("main"));
    let (is_first, gaps_opened, gaps_closed) =
        apply(&*inbox, &share, &inbox_batch(&events[..120], 120)).await;
    assert!(is_first.iter().all(|is_first| *is_first) && gaps_opened == 0 && gaps_closed == 0);
    // Some of it again, with more, and that twice.
    let again: Vec<_> = [&events[100..], &events[150..]].concat();
    let (is_first, ..) = apply(&*inbox, &share, &inbox_batch(&again, 300)).await;
    let expected: Vec<bool> = (100..250).map(|number| (120..200).contains(&number)).collect();
    assert_eq!(is_first, expected);
    let (is_first, ..) = apply(&*inbox, &share, &inbox_batch(&events, 400)).await;
    assert!(is_first.iter().all(|is_first| !is_first));
    assert_eq!(applied(&database).await, ids(&events));
    assert_eq!(statistics(&*inbox).await, model(&events));
    assert_eq!(alone(&*inbox).await.position, Some(Offset(400)));
    // A batch may bring nothing but a position.
    assert_eq!(apply(&*inbox, &share, &inbox_batch(&[], 500)).await, (Vec::new(), 0, 0));
    let progress = inbox.progress(super::SOURCE).await.unwrap();
    assert_eq!(progress[0].position, Some(Offset(500)));
    assert_eq!(progress[0].consumer.as_deref(), Some("alone"));
}

#[tokio::test]
async fn without_its_key_the_events_would_double_and_this_suite_would_see_it() {
    let (inbox, database) = inbox().await;
    let shell = database.shell().await;
    shell.batch_execute("ALTER TABLE inbox_events DROP CONSTRAINT inbox_events_pkey").await.unwrap();
    let share = alone(&*inbox).await;
    let events = lives(named(3), &point("main"));
    apply(&*inbox, &share, &inbox_batch(&events, 12)).await;
    // The count of an order's events would be above their highest sequence.
    let refused = inbox.apply(&share, &inbox_batch(&events, 24), receive_events).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Inconsistent, "{refused:?}");
    assert_eq!(statistics(&*inbox).await, model(&events));
    // Without that check too.
    shell.batch_execute("ALTER TABLE inbox_orders DROP CONSTRAINT inbox_orders_check").await.unwrap();
    apply(&*inbox, &share, &inbox_batch(&events, 24)).await;
    assert_ne!(statistics(&*inbox).await, model(&events));
    assert_ne!(applied(&database).await, ids(&events));
}

#[tokio::test]
async fn gaps_are_found_told_and_filled() {
    let (inbox, _database) = inbox().await;
    let share = alone(&*inbox).await;
    let events = lives(named(4), &point("main"));
    let of = |order: usize, sequences: &[usize]| -> Vec<_> {
        sequences.iter().map(|sequence| events[order * 4 + sequence - 1].clone()).collect()
    };
    // The first missing one of each, and the last that was seen.
    let first = [of(0, &[1, 2]), of(1, &[2]), of(2, &[1, 3]), of(3, &[4, 1])].concat();
    assert_eq!(apply(&*inbox, &share, &inbox_batch(&first, 1)).await.1, 3);
    let gap =
        |order: usize, missing, highest| Gap { order_id: id(&format!("order-{order}")), missing, highest };
    let gaps = inbox.gaps(10).await.unwrap();
    assert_eq!((gaps.orders, gaps.first), (3, vec![gap(1, 1, 2), gap(2, 2, 3), gap(3, 2, 4)]));
    let gaps = inbox.gaps(1).await.unwrap();
    assert_eq!((gaps.orders, gaps.first), (3, vec![gap(1, 1, 2)]));
    // A hole that becomes smaller is one still; one that was told is not told
    // again.
    let second = [of(0, &[3, 4]), of(1, &[1]), of(2, &[4]), of(3, &[3])].concat();
    let (_, gaps_opened, gaps_closed) = apply(&*inbox, &share, &inbox_batch(&second, 2)).await;
    assert_eq!((gaps_opened, gaps_closed), (0, 1));
    assert_eq!(inbox.gaps(10).await.unwrap().first, [gap(2, 2, 4), gap(3, 2, 4)]);
    let (_, gaps_opened, gaps_closed) = apply(&*inbox, &share, &inbox_batch(&events, 3)).await;
    assert_eq!((gaps_opened, gaps_closed), (0, 2));
    assert_eq!(inbox.gaps(10).await.unwrap().orders, 0);
}

/// Events at many points, on many days before and after 1970, in many
/// currencies, and with the largest of sums.
fn widely() -> Vec<pvz::domain::Event> {
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
async fn statistics_page_by_their_keys_and_are_filtered() {
    let (inbox, _database) = inbox().await;
    let share = alone(&*inbox).await;
    let events = widely();
    apply(&*inbox, &share, &inbox_batch(&events, 1)).await;
    let all = model(&events);
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
async fn a_sequence_that_nobody_could_count_to_is_a_gap_like_any_other() {
    let (inbox, _database) = inbox().await;
    let share = alone(&*inbox).await;
    let mut forged = event(&Order { version: i64::MAX, ..accepted("forged", 0) });
    forged.sequence = i64::MAX;
    assert_eq!(apply(&*inbox, &share, &inbox_batch(&[forged], 1)).await.1, 1);
    let gap = Gap { order_id: id("forged"), missing: 1, highest: i64::MAX };
    assert_eq!(inbox.gaps(10).await.unwrap().first, [gap]);
}
