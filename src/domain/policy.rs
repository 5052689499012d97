//! The configurable parameters of the rules.

use std::time::Duration;

use super::{Catalogue, Currency, PickupPointId};

/// The parameters of the rules. All replicas must have the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The return window: time after `issued_at` during which a customer may return an order,
    /// half-open.
    pub return_window: Duration,
    /// The maximum time from now to a storage deadline, inclusive.
    pub max_storage: Duration,
    /// The default pickup point.
    pub pickup_point: PickupPointId,
    /// The currency of new orders.
    pub currency: Currency,
    /// The time for which an idempotency record counts.
    pub idempotency_retention: Duration,
    /// The packaging catalogue.
    pub catalogue: Catalogue,
}

impl Policy {
    const HOUR: Duration = Duration::from_hours(1);

    /// Returns the defaults of `docs/domain.md` with this default pickup point.
    pub fn standard(pickup_point: PickupPointId) -> Self {
        Self {
            return_window: 48 * Self::HOUR,
            max_storage: 365 * 24 * Self::HOUR,
            pickup_point,
            currency: Currency::RUB,
            idempotency_retention: 7 * 24 * Self::HOUR,
            catalogue: Catalogue::standard(),
        }
    }
}
