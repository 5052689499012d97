//! Rows of an inbox, and their conversion to and from the domain.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::Queryable;

use super::event::event_id_of;
use super::{Fault, instant};
use crate::adapters::proto_mapping;
use crate::domain::{Day, DayStatistics, Event, OrderId, OrderProgress, PartitionLease, PickupPointId};
use crate::ports::{Assignment, LastEvent, Offset, Progress, UndecodedRecord};

/// The columns of a row of `inbox_partitions`, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct PartitionRow {
    /// The partition.
    pub partition: i32,
    /// The offset to continue at.
    pub position: Option<i64>,
    /// The consumer that holds the lease.
    pub consumer: Option<String>,
    /// The fencing token of the lease.
    pub fence: i64,
    /// The end of the lease, in microseconds since the epoch.
    pub expires_at: i64,
    /// The offset of the last event.
    pub last_event_offset: Option<i64>,
    /// The id of the last event: the UUID, 16 bytes.
    pub last_event_id: Option<Vec<u8>>,
}

impl PartitionRow {
    /// Returns the number of the partition.
    pub fn number(&self) -> u32 {
        u32::try_from(self.partition).unwrap_or_default()
    }

    /// Returns the lease.
    pub fn lease(&self) -> PartitionLease {
        PartitionLease {
            partition: self.number(),
            consumer: self.consumer.clone(),
            fencing_token: self.fence,
            expires_at: self.expires_at,
        }
    }

    /// Returns the assignment to the consumer that holds the lease.
    ///
    /// # Errors
    /// The column of the last event whose value breaks an invariant.
    pub fn assignment(&self, source: &str, consumer: &str) -> Result<Assignment, Fault> {
        Ok(Assignment {
            source: source.to_owned(),
            partition: self.number(),
            consumer: consumer.to_owned(),
            fencing_token: self.fence,
            position: self.position.map(Offset),
            last_event: self.last_event()?,
        })
    }

    /// Returns the progress, with the consumer if its lease has not expired.
    ///
    /// # Errors
    /// The column of the last event whose value breaks an invariant.
    pub fn progress(&self, now: i64) -> Result<Progress, Fault> {
        Ok(Progress {
            partition: self.number(),
            position: self.position.map(Offset),
            last_event: self.last_event()?,
            consumer: self.lease().holder(now).map(str::to_owned),
        })
    }

    fn last_event(&self) -> Result<Option<LastEvent>, Fault> {
        let Some((offset, id)) = self.last_event_offset.zip(self.last_event_id.as_ref()) else {
            return Ok(None);
        };
        Ok(Some(LastEvent { offset: Offset(offset), event_id: event_id_of("last_event_id", id)? }))
    }
}

/// The columns of a row of `inbox_orders`, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct OrderProgressRow {
    /// The order.
    pub order_id: String,
    /// The number of its events that were received.
    pub seen: i64,
    /// The highest sequence received.
    pub highest: i64,
}

impl From<&OrderProgress> for OrderProgressRow {
    fn from(progress: &OrderProgress) -> Self {
        let OrderProgress { order_id, received, highest } = progress;
        Self { order_id: order_id.into(), seen: *received, highest: *highest }
    }
}

impl TryFrom<OrderProgressRow> for OrderProgress {
    type Error = Fault;

    fn try_from(row: OrderProgressRow) -> Result<Self, Fault> {
        let order_id = OrderId::parse(&row.order_id).map_err(|why| Fault::new("order_id", why))?;
        Ok(Self { order_id, received: row.seen, highest: row.highest })
    }
}

/// Encodes a conflicting event as a `pvz.v1.Event` in JSON.
///
/// # Errors
/// The event cannot be written as JSON. No valid event causes this.
pub fn event_json(event: &Event) -> Result<String, Fault> {
    serde_json::to_string(&proto_mapping::event(event))
        .map_err(|error| Fault::new("event", format!("cannot be written as JSON: {error}")))
}

/// The columns of a row of `inbox_statistics`, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct StatisticsRow {
    /// The pickup point.
    pub pickup_point_id: String,
    /// The day, in days since 1970-01-01.
    pub day: i32,
    /// The currency of the amounts.
    pub currency: String,
    /// The number of orders accepted.
    pub accepted: i64,
    /// The number of orders issued.
    pub issued: i64,
    /// The number of orders returned by customers.
    pub returned: i64,
    /// The number of orders handed to a courier.
    pub handed_to_courier: i64,
    /// The surcharges of the accepted orders, in minor units.
    pub surcharge_minor: i64,
    /// The total price of the accepted orders, in minor units.
    pub accepted_minor: i64,
    /// The total price of the issued orders, in minor units.
    pub issued_minor: i64,
    /// The total price of the returned orders, in minor units.
    pub returned_minor: i64,
}

impl TryFrom<StatisticsRow> for DayStatistics {
    type Error = Fault;

    fn try_from(row: StatisticsRow) -> Result<Self, Fault> {
        let point = PickupPointId::parse(&row.pickup_point_id);
        // The day must be one that a timestamp can represent.
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

/// The columns of a row of `inbox_unknown` after its source and partition, in
/// this order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct UnknownEventRow {
    /// The offset.
    pub offset: i64,
    /// The reason the release that kept the event could not read it.
    pub cause: String,
    /// The original key.
    pub key: Option<Vec<u8>>,
    /// The original value.
    pub value: Option<Vec<u8>>,
    /// The original headers: a JSON object of base64 strings.
    pub headers: String,
}

impl From<&UndecodedRecord> for UnknownEventRow {
    fn from(record: &UndecodedRecord) -> Self {
        let headers: BTreeMap<&str, String> =
            record.headers.iter().map(|(name, value)| (name.as_str(), STANDARD.encode(value))).collect();
        Self {
            offset: record.offset.0,
            cause: record.cause.clone(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: serde_json::to_string(&headers).unwrap_or_default(),
        }
    }
}

impl TryFrom<UnknownEventRow> for UndecodedRecord {
    type Error = Fault;

    fn try_from(row: UnknownEventRow) -> Result<Self, Fault> {
        let invalid = || Fault::new("headers", "is not a JSON object of base64 strings");
        let texts: BTreeMap<String, String> = serde_json::from_str(&row.headers).map_err(|_| invalid())?;
        let decode = |(name, text): (String, String)| Some((name, STANDARD.decode(text).ok()?));
        let headers = texts.into_iter().map(decode).collect::<Option<_>>().ok_or_else(invalid)?;
        Ok(Self { offset: Offset(row.offset), cause: row.cause, key: row.key, value: row.value, headers })
    }
}
