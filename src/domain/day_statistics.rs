//! Statistics of a pickup point by day.

use std::collections::BTreeMap;

use super::{Day, Event, EventType, PickupPointId};

/// The events of a pickup point on a day in one currency. An event belongs to
/// the day on which it occurred, in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayStatistics {
    /// The pickup point.
    pub pickup_point_id: PickupPointId,
    /// The day.
    pub day: Day,
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

impl DayStatistics {
    /// Statistics without events.
    pub fn empty(pickup_point_id: PickupPointId, day: Day, currency: String) -> Self {
        Self {
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

    fn count(&mut self, event: &Event) {
        let order = &event.order;
        let total = (order.price + order.surcharge).minor();
        match event.event_type {
            EventType::Accepted => {
                self.accepted += 1;
                self.accepted_minor += total;
                self.surcharge_minor += order.surcharge.minor();
            }
            EventType::Issued => {
                self.issued += 1;
                self.issued_minor += total;
            }
            EventType::Returned => {
                self.returned += 1;
                self.returned_minor += total;
            }
            EventType::HandedToCourier => self.handed_to_courier += 1,
        }
    }
}

impl std::ops::AddAssign<&Self> for DayStatistics {
    /// Adds the counts and amounts of the same pickup point, day and currency.
    fn add_assign(&mut self, more: &Self) {
        // A new field must not be forgotten here.
        let Self {
            pickup_point_id: _,
            day: _,
            currency: _,
            accepted,
            issued,
            returned,
            handed_to_courier,
            surcharge_minor,
            accepted_minor,
            issued_minor,
            returned_minor,
        } = more;
        self.accepted += accepted;
        self.issued += issued;
        self.returned += returned;
        self.handed_to_courier += handed_to_courier;
        self.surcharge_minor += surcharge_minor;
        self.accepted_minor += accepted_minor;
        self.issued_minor += issued_minor;
        self.returned_minor += returned_minor;
    }
}

/// Sums up events, by pickup point, day and currency ascending.
pub(super) fn statistics_of<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<DayStatistics> {
    let mut days: BTreeMap<(PickupPointId, Day, String), DayStatistics> = BTreeMap::new();
    for event in events {
        let point = event.order.pickup_point_id.clone();
        let day = Day::of(event.occurred_at);
        let currency = event.order.currency.as_str().to_owned();
        let key = (point.clone(), day, currency.clone());
        days.entry(key).or_insert_with(|| DayStatistics::empty(point, day, currency)).count(event);
    }
    days.into_values().collect()
}
