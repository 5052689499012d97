//! Single orders, read through the cache.

use std::sync::Arc;

use async_trait::async_trait;

use super::refuse;
use crate::domain::{Order, OrderId, Refusal};
use crate::ports::{OrderCache, OrderSource, OrderStore, PortError};

/// The orders of a store behind a cache.
#[derive(Clone)]
pub struct CachedOrders {
    cache: Arc<dyn OrderCache>,
    source: Arc<dyn OrderSource>,
}

impl CachedOrders {
    /// Returns the orders of a store. The store must show every commit that the cache learns of:
    /// one that reads from a standby would put old versions back.
    pub fn new(cache: Arc<dyn OrderCache>, store: Arc<dyn OrderStore>) -> Self {
        Self { cache, source: Arc::new(FromStore(store)) }
    }

    /// Returns the order with this id.
    ///
    /// # Errors
    /// Returns the store's error.
    pub async fn get(&self, order_id: &OrderId) -> Result<Option<Order>, Refusal> {
        let order = match self.cache.cached(order_id) {
            Some(order) => order,
            None => self.cache.load(order_id, &self.source).await.map_err(|error| refuse(&error))?,
        };
        Ok(order.map(Arc::unwrap_or_clone))
    }
}

struct FromStore(Arc<dyn OrderStore>);

#[async_trait]
impl OrderSource for FromStore {
    async fn load(&self, order_id: &OrderId) -> Result<Option<Order>, PortError> {
        self.0.order(order_id).await
    }
}
