//! The cache in the memory of the process.
//!
//! moka alone would return stale orders: its operations do not exclude one another, and "only a
//! newer version replaces" does not help if the newer entry was evicted, rejected or expired before
//! a late fill arrives with the old version. So three rules apply:
//!
//! - Every change goes through `and_compute_with`, which excludes all others of its key.
//! - Each change first moves the epoch of its order (`epochs.rs`). Whoever wants to store an order
//!   has read the epoch before the order was loaded, or before its transaction began, and stores it
//!   only if the epoch has moved by its own change alone. Otherwise the entry is removed, unless it
//!   is at least as new. This holds for fills too: a load may have seen, and shown, a version that
//!   is newer than the one which somebody else is about to put.
//! - An entry remembers the generation of its epoch. A clear begins a new generation, so an entry
//!   that is stored while the cache is cleared is never shown.
//!
//! Concurrent loads of one order share a flight (`flights.rs`). The epoch is part of its key, so
//! nobody joins a load that began before a change.

mod entry;
mod epochs;
mod flights;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use self::entry::{Entry, Lifetimes, weigh};
use self::epochs::Epochs;
use self::flights::{Flights, Joined};
use crate::domain::{Order, OrderId};
use crate::ports::{
    Announcements, CacheStatistics, CacheUpdates, CachedOrder, Epoch, Fence, OrderCache, OrderSource,
    PortError, SortedKeys, StaleOrder,
};

/// The order in which entries are evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// The least recently used entry first. A new entry replaces only entries that were used less
    /// often, so a scan does not evict popular orders.
    TinyLfu,
    /// The least recently used entry first.
    Lru,
}

/// The settings of a [`MokaCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MokaOptions {
    /// The memory of all entries, in bytes.
    pub size: u64,
    /// The order in which entries are evicted.
    pub eviction: Eviction,
    /// The lifetime of an entry.
    pub time_to_live: Duration,
    /// The lifetime of an entry for an order that does not exist.
    pub negative_time_to_live: Duration,
    /// The number of counters for epochs. Orders that share one make each other's fills fail.
    pub counters: usize,
}

impl Default for MokaOptions {
    fn default() -> Self {
        Self {
            size: 64 << 20,
            eviction: Eviction::TinyLfu,
            time_to_live: Duration::from_secs(10),
            negative_time_to_live: Duration::from_secs(1),
            counters: 8_192,
        }
    }
}

/// An [`OrderCache`] in memory, bounded by bytes.
#[derive(Clone)]
pub struct MokaCache(Arc<Inner>);

struct Inner {
    entries: Cache<OrderId, Entry>,
    epochs: Epochs,
    flights: Arc<Flights>,
    announced: Arc<AtomicBool>,
    refused_fills: AtomicU64,
    evictions: Arc<AtomicU64>,
}

impl MokaCache {
    /// Returns an empty cache. Until it is cleared for the first time, changes by others count as
    /// missed.
    pub fn new(options: &MokaOptions) -> Self {
        let (evictions, announced) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let evicted = Arc::clone(&evictions);
        let entries = Cache::builder()
            .max_capacity(options.size)
            .weigher(weigh)
            .eviction_policy(match options.eviction {
                Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
                Eviction::Lru => EvictionPolicy::lru(),
            })
            .expire_after(Lifetimes::new(options, Arc::clone(&announced)))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evicted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        Self(Arc::new(Inner {
            entries,
            epochs: Epochs::new(options.counters),
            flights: Arc::default(),
            announced,
            refused_fills: AtomicU64::new(0),
            evictions,
        }))
    }
}

/// The reason for storing an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Loaded,
    Committed,
}

impl Inner {
    fn cached(&self, order_id: &OrderId) -> Option<CachedOrder> {
        let entry = self.entries.get(order_id)?;
        self.is_current(&entry).then_some(entry.order)
    }

    fn is_current(&self, entry: &Entry) -> bool {
        entry.generation == self.epochs.generation()
    }

    /// Stores an order that is the latest version at some instant after `epoch`, unless another
    /// change followed. Then removes what is older.
    fn store(&self, order_id: &OrderId, epoch: Option<Epoch>, order: CachedOrder, reason: Stored) {
        let generation = epoch.unwrap_or_default().generation;
        let entry = Entry { order, generation };
        let expected = epoch.map(|epoch| Epoch { changes: epoch.changes.wrapping_add(1), ..epoch });
        self.epochs.advance(order_id);
        self.entries.entry_by_ref(order_id).and_compute_with(|existing| {
            let existing = existing.map(moka::Entry::into_value).filter(|entry| self.is_current(entry));
            let unchanged = Some(self.epochs.of(order_id)) == expected;
            if !unchanged && reason == Stored::Loaded {
                self.refused_fills.fetch_add(1, Ordering::Relaxed);
            }
            match existing {
                Some(existing) if existing.version() >= entry.version() => Op::Nop,
                _ if unchanged => Op::Put(entry),
                _ => Op::Remove,
            }
        });
    }

    /// Removes an entry that is older than `version`.
    fn remove(&self, order_id: &OrderId, version: Option<i64>) {
        self.epochs.advance(order_id);
        self.entries.entry_by_ref(order_id).and_compute_with(|existing| {
            let existing = existing.map(moka::Entry::into_value).filter(|entry| self.is_current(entry));
            match (existing, version) {
                (Some(existing), Some(version)) if existing.version() >= version => Op::Nop,
                _ => Op::Remove,
            }
        });
    }
}

#[async_trait]
impl OrderCache for MokaCache {
    fn cached(&self, order_id: &OrderId) -> Option<CachedOrder> {
        self.0.cached(order_id)
    }

    async fn load(
        &self,
        order_id: &OrderId,
        source: &Arc<dyn OrderSource>,
    ) -> Result<CachedOrder, Arc<PortError>> {
        let (inner, source, order_id) = (Arc::clone(&self.0), Arc::clone(source), order_id.clone());
        let epoch = inner.epochs.of(&order_id);
        let joined = self.0.flights.join(
            (order_id.clone(), epoch),
            // A flight stores its order before it ends.
            |order_id| self.0.cached(order_id),
            async move {
                let order = source.load(&order_id).await?.map(Arc::new);
                inner.store(&order_id, Some(epoch), order.clone(), Stored::Loaded);
                Ok(order)
            }
            .boxed(),
        );
        match joined {
            Joined::Found(order) => Ok(order),
            Joined::Flight(flight) => flight.await,
        }
    }

    fn statistics(&self) -> CacheStatistics {
        self.0.entries.run_pending_tasks();
        CacheStatistics {
            entries: self.0.entries.entry_count(),
            bytes: self.0.entries.weighted_size(),
            refused_fills: self.0.refused_fills.load(Ordering::Relaxed),
            evictions: self.0.evictions.load(Ordering::Relaxed),
        }
    }
}

#[async_trait]
impl CacheUpdates for MokaCache {
    fn begin(&self, order_ids: &SortedKeys<OrderId>) -> Fence {
        let epochs = order_ids.iter().map(|order_id| self.0.epochs.of(order_id)).collect();
        Fence { order_ids: order_ids.clone(), epochs }
    }

    async fn put(&self, fence: &Fence, orders: &[Order]) {
        for order in orders {
            let epoch = fence.epoch(&order.order_id);
            self.0.store(&order.order_id, epoch, Some(Arc::new(order.clone())), Stored::Committed);
        }
    }

    async fn invalidate(&self, stale: &[StaleOrder]) {
        for StaleOrder { order_id, version } in stale {
            self.0.remove(order_id, *version);
        }
    }

    async fn clear(&self, announcements: Announcements) {
        self.0.announced.store(announcements == Announcements::Received, Ordering::Release);
        self.0.epochs.begin_generation();
        // Entries of earlier generations are not shown. This frees their memory.
        self.0.entries.invalidate_all();
    }
}
