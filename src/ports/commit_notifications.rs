use async_trait::async_trait;

use super::{PortError, StaleOrder};

/// Notifications of commits among the replicas on one store, so that replicas need not poll
/// often, and learn which orders changed. Notifications may be lost only if the connection is, or
/// repeated.
#[async_trait]
pub trait CommitNotifications: Send + Sync {
    /// Starts to listen. Notifications arrive from the time of the answer until the notifier is
    /// dropped.
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError>;
}

/// A connection to the other replicas. After an error, open a new one.
#[async_trait]
pub trait CommitNotifier: Send {
    /// Notifies the other replicas of commits, after they are durable.
    async fn notify(&mut self, changed: &ChangedOrders) -> Result<(), PortError>;

    /// Waits for a notification from another replica. Notifications that arrive between calls
    /// are returned together by the next call. The call is cancel-safe.
    async fn wait(&mut self) -> Result<ChangedOrders, PortError>;
}

/// The orders that commits changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedOrders {
    /// These orders. There may be none.
    Named(Vec<StaleOrder>),
    /// Any order may have changed.
    Any,
}

impl Default for ChangedOrders {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

impl ChangedOrders {
    /// Adds changes. More than `limit` changed orders become [`ChangedOrders::Any`].
    pub fn add(&mut self, changed: Self, limit: usize) {
        match changed {
            Self::Any => *self = Self::Any,
            Self::Named(more) => {
                if let Self::Named(orders) = self {
                    orders.extend(more);
                    if orders.len() > limit {
                        *self = Self::Any;
                    }
                }
            }
        }
    }

    /// Returns true if no order changed.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Named(orders) if orders.is_empty())
    }
}
