//! Entries: their weight and their lifetime.

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;

use super::MokaOptions;
use crate::domain::{Order, OrderId, PackagingCode};
use crate::ports::CachedOrder;

/// The longest lifetime of an entry while changes by others may be missed.
const UNANNOUNCED_TIME_TO_LIVE: Duration = Duration::from_secs(1);
/// The memory that moka and the allocator need per entry.
const OVERHEAD: usize = 512;
/// The counters of an `Arc`.
const SHARED: usize = 2 * size_of::<usize>();

/// An order, or the knowledge that it does not exist, and the generation in which it was stored.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) order: CachedOrder,
    pub(super) generation: u64,
}

impl Entry {
    /// Returns the version of the order, 0 if it does not exist.
    pub(super) fn version(&self) -> i64 {
        self.order.as_ref().map_or(0, |order| order.version)
    }
}

/// Returns the memory of an entry in bytes. The texts of an order may be shared with others, and are
/// counted all the same.
pub(super) fn weigh(order_id: &OrderId, entry: &Entry) -> u32 {
    let text = |text: &str| SHARED + text.len();
    let order = entry.order.as_deref().map_or(0, |order| {
        let packaging = order.packaging.iter().map(|code| size_of::<PackagingCode>() + text(code.as_str()));
        SHARED
            + size_of::<Order>()
            + text(order.order_id.as_str())
            + text(order.customer_id.as_str())
            + text(order.pickup_point_id.as_str())
            + SHARED
            + packaging.sum::<usize>()
    });
    u32::try_from(OVERHEAD + text(order_id.as_str()) + order).unwrap_or(u32::MAX)
}

/// The lifetimes of entries, from the last change.
pub(super) struct Lifetimes {
    positive: Duration,
    negative: Duration,
    announced: Arc<AtomicBool>,
}

impl Lifetimes {
    pub(super) fn new(options: &MokaOptions, announced: Arc<AtomicBool>) -> Self {
        Self { positive: options.time_to_live, negative: options.negative_time_to_live, announced }
    }

    fn of(&self, entry: &Entry) -> Duration {
        let lifetime = if entry.order.is_some() { self.positive } else { self.negative };
        if self.announced.load(Ordering::Acquire) { lifetime } else { lifetime.min(UNANNOUNCED_TIME_TO_LIVE) }
    }
}

impl Expiry<OrderId, Entry> for Lifetimes {
    fn expire_after_create(&self, _: &OrderId, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(self.of(entry))
    }

    fn expire_after_update(
        &self,
        _: &OrderId,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.of(entry))
    }
}
