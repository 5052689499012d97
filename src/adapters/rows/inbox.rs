//! What inboxes keep, and what they all work out in the same way: who reads
//! which partition, what events add up to, where a sequence has a gap.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use diesel::Queryable;

use super::{Fault, instant};
use crate::domain::{Day, Event, EventType, OrderId, PickupPointId};
use crate::ports::{DayStatistics, Offset, Share};

/// A partition of a source as the columns of its row, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct PartitionRow {
    /// The partition.
    pub partition: i32,
    /// The offset to go on from.
    pub position: Option<i64>,
    /// Who reads it.
    pub consumer: Option<String>,
    /// Above that of every lease before.
    pub fence: i64,
    /// When the lease is over, in microseconds since the epoch.
    pub expires_at: i64,
}

impl PartitionRow {
    /// A partition that nobody has read.
    pub fn new(partition: u32) -> Self {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        Self { partition, position: None, consumer: None, fence: 0, expires_at: 0 }
    }

    /// Who reads it now.
    pub fn reader(&self, now: i64) -> Option<&str> {
        self.consumer.as_deref().filter(|_| self.expires_at > now)
    }

    /// The lease.
    pub fn share(&self, source: &str, consumer: &str) -> Share {
        Share {
            source: source.to_owned(),
            partition: self.number(),
            consumer: consumer.to_owned(),
            fence: self.fence,
            position: self.position.map(Offset),
        }
    }

    /// The partition's number.
    pub fn number(&self) -> u32 {
        u32::try_from(self.partition).unwrap_or_default()
    }
}

/// Shares partitions out: `consumer`, who is one of so many, renews what it
/// has, takes up to its fair share of what is free, and gives back what is
/// beyond it. Answers the rows that changed.
pub fn share_out<'r>(
    rows: &'r mut [PartitionRow],
    consumer: &str,
    consumers: usize,
    now: i64,
    expires_at: i64,
) -> Vec<&'r PartitionRow> {
    let fair = rows.len().div_ceil(consumers.max(1));
    let mut mine = 0;
    let mut changed: BTreeSet<usize> = BTreeSet::new();
    for (index, row) in rows.iter_mut().enumerate() {
        // Nobody has taken it since, or the name would be another's.
        if row.consumer.as_deref() == Some(consumer) {
            changed.insert(index);
            mine += 1;
            if mine > fair {
                row.consumer = None;
            } else {
                row.expires_at = expires_at;
            }
        }
    }
    let free = rows.iter_mut().enumerate().filter(|(_, row)| row.reader(now).is_none());
    let wanted = fair.saturating_sub(mine);
    for (index, row) in free.filter(|(index, _)| !changed.contains(index)).take(wanted).collect::<Vec<_>>() {
        row.consumer = Some(consumer.to_owned());
        row.fence += 1;
        row.expires_at = expires_at;
        changed.insert(index);
    }
    let rows: &'r [PartitionRow] = rows;
    changed.into_iter().map(|index| &rows[index]).collect()
}

/// Whether each event is the first of its order and sequence in the batch, and
/// not known from before.
pub fn fresh(events: &[Event], known: impl Fn(&(OrderId, i64)) -> bool) -> Vec<bool> {
    let mut seen = HashSet::new();
    let key = |event: &Event| (event.order.order_id.clone(), event.sequence);
    events
        .iter()
        .map(|event| {
            let key = key(event);
            !known(&key) && seen.insert(key)
        })
        .collect()
}

/// What the events marked as fresh add up to: by point, day and currency.
pub fn add_up(events: &[Event], fresh: &[bool]) -> Vec<DayStatistics> {
    let mut days: BTreeMap<(PickupPointId, Day, String), DayStatistics> = BTreeMap::new();
    for (event, _) in events.iter().zip(fresh).filter(|(_, fresh)| **fresh) {
        let order = &event.order;
        let day = Day::of(event.occurred_at);
        let currency = order.currency.as_str().to_owned();
        let key = (order.pickup_point_id.clone(), day, currency.clone());
        let sums = days.entry(key).or_insert_with(|| empty(order.pickup_point_id.clone(), day, currency));
        let total = (order.price + order.surcharge).minor();
        match event.event_type {
            EventType::Accepted => {
                sums.accepted += 1;
                sums.accepted_minor += total;
                sums.surcharge_minor += order.surcharge.minor();
            }
            EventType::Issued => {
                sums.issued += 1;
                sums.issued_minor += total;
            }
            EventType::Returned => {
                sums.returned += 1;
                sums.returned_minor += total;
            }
            EventType::HandedToCourier => sums.handed_to_courier += 1,
        }
    }
    days.into_values().collect()
}

fn empty(pickup_point_id: PickupPointId, day: Day, currency: String) -> DayStatistics {
    DayStatistics {
        pickup_point_id,
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
    }
}

/// How many events of an order were read, and the highest sequence of them, as
/// the columns of its row.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct SeenRow {
    /// The order.
    pub order_id: String,
    /// How many of its events were read.
    pub seen: i64,
    /// The highest sequence.
    pub highest: i64,
}

impl SeenRow {
    /// Whether an event is missing between those that were read.
    pub fn has_gap(&self) -> bool {
        self.seen < self.highest
    }
}

/// What a batch makes of the rows of its orders.
#[derive(Debug, Default)]
pub struct Seen {
    /// The rows after it, by order id.
    pub rows: Vec<SeenRow>,
    /// How many have a gap that had none.
    pub opened: u64,
    /// How many had a gap and have none.
    pub filled: u64,
}

/// Counts the events marked as fresh into the rows that were there before.
pub fn count(before: Vec<SeenRow>, events: &[Event], fresh: &[bool]) -> Seen {
    let mut gaps: HashMap<String, bool> = HashMap::new();
    let mut rows: BTreeMap<String, SeenRow> = BTreeMap::new();
    for row in before {
        gaps.insert(row.order_id.clone(), row.has_gap());
        rows.insert(row.order_id.clone(), row);
    }
    let mut touched = BTreeSet::new();
    for (event, _) in events.iter().zip(fresh).filter(|(_, fresh)| **fresh) {
        let order_id = event.order.order_id.as_str();
        let new = || SeenRow { order_id: order_id.to_owned(), seen: 0, highest: 0 };
        let row = rows.entry(order_id.to_owned()).or_insert_with(new);
        row.seen += 1;
        row.highest = row.highest.max(event.sequence);
        touched.insert(order_id);
    }
    let mut seen = Seen::default();
    for (order_id, row) in rows {
        if !touched.contains(order_id.as_str()) {
            continue;
        }
        let had = gaps.get(&order_id).copied().unwrap_or_default();
        seen.opened += u64::from(!had && row.has_gap());
        seen.filled += u64::from(had && !row.has_gap());
        seen.rows.push(row);
    }
    seen
}

/// A day of a point as the columns of its row, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct StatisticsRow {
    /// The point.
    pub pickup_point_id: String,
    /// The day, since 1970-01-01.
    pub day: i32,
    /// The currency of the sums.
    pub currency: String,
    /// Orders that came.
    pub accepted: i64,
    /// Orders that were issued.
    pub issued: i64,
    /// Orders that were brought back.
    pub returned: i64,
    /// Orders that went away.
    pub handed_to_courier: i64,
    /// Surcharges of what came.
    pub surcharge_minor: i64,
    /// Totals of what came.
    pub accepted_minor: i64,
    /// Totals of what was issued.
    pub issued_minor: i64,
    /// Totals of what was brought back.
    pub returned_minor: i64,
}

impl TryFrom<StatisticsRow> for DayStatistics {
    type Error = Fault;

    fn try_from(row: StatisticsRow) -> Result<Self, Fault> {
        let point = PickupPointId::parse(&row.pickup_point_id);
        // The day must be one that a timestamp can name.
        instant("day", i64::from(row.day) * 86_400_000_000)?;
        Ok(Self {
            pickup_point_id: point.map_err(|why| Fault::new("pickup_point_id", why))?,
            day: Day(row.day),
            currency: row.currency,
            accepted: row.accepted,
            issued: row.issued,
            returned: row.returned,
            handed_to_courier: row.handed_to_courier,
            surcharge_minor: row.surcharge_minor,
            accepted_minor: row.accepted_minor,
            issued_minor: row.issued_minor,
            returned_minor: row.returned_minor,
        })
    }
}

/// The headers of a record as a JSON object of base64 texts.
pub fn headers_text(headers: &BTreeMap<String, Vec<u8>>) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let texts: BTreeMap<&str, String> =
        headers.iter().map(|(name, value)| (name.as_str(), STANDARD.encode(value))).collect();
    serde_json::to_string(&texts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{PartitionRow, share_out};

    fn rows(readers: &[Option<&str>]) -> Vec<PartitionRow> {
        let mut rows: Vec<PartitionRow> = (0..).take(readers.len()).map(PartitionRow::new).collect();
        for (row, reader) in rows.iter_mut().zip(readers) {
            row.consumer = reader.map(str::to_owned);
            row.expires_at = 10;
        }
        rows
    }

    fn readers(rows: &[PartitionRow], now: i64) -> Vec<Option<&str>> {
        rows.iter().map(|row| row.reader(now)).collect()
    }

    #[test]
    fn who_is_alone_takes_everything_and_keeps_its_fences() {
        let mut rows = rows(&[None, None, None]);
        assert_eq!(share_out(&mut rows, "a", 1, 0, 20).len(), 3);
        assert_eq!(readers(&rows, 0), [Some("a"); 3]);
        assert!(rows.iter().all(|row| row.fence == 1));
        share_out(&mut rows, "a", 1, 15, 30);
        assert!(rows.iter().all(|row| row.fence == 1 && row.expires_at == 30), "renewed, not taken again");
    }

    #[test]
    fn who_has_too_much_gives_back_and_who_comes_takes_what_is_free() {
        let mut rows = rows(&[Some("a"), Some("a"), Some("a"), Some("a")]);
        share_out(&mut rows, "b", 2, 5, 20);
        assert_eq!(readers(&rows, 5), [Some("a"); 4], "nobody takes what another has");
        share_out(&mut rows, "a", 2, 5, 20);
        assert_eq!(readers(&rows, 5), [Some("a"), Some("a"), None, None]);
        share_out(&mut rows, "b", 2, 5, 20);
        assert_eq!(readers(&rows, 5), [Some("a"), Some("a"), Some("b"), Some("b")]);
    }

    #[test]
    fn a_lease_that_is_over_is_anybodys() {
        let mut rows = rows(&[Some("dead"), Some("dead")]);
        share_out(&mut rows, "b", 1, 10, 20);
        assert_eq!(readers(&rows, 10), [Some("b"); 2]);
        assert!(rows.iter().all(|row| row.fence == 1));
    }
}
