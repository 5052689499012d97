//! What an installation may set about the rules.

use std::time::Duration;

use super::{Catalogue, Currency, PickupPointId};

/// The rules' parameters. Replicas must share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long after `issued_at` a customer may bring an order back,
    /// half-open.
    pub return_window: Duration,
    /// How far ahead a storage deadline may be, inclusive.
    pub max_storage: Duration,
    /// The point of a command that names none.
    pub pickup_point: PickupPointId,
    /// The currency of new orders.
    pub currency: Currency,
    /// How long an idempotency record counts.
    pub idempotency_retention: Duration,
    /// The packaging on offer.
    pub catalogue: Catalogue,
}

impl Policy {
    const HOUR: Duration = Duration::from_hours(1);

    /// The defaults of `docs/domain.md`, with that default point.
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
