use async_trait::async_trait;

use super::PortError;

/// Notifications of commits among the replicas on one store, so that replicas need not poll
/// often. Notifications may be lost or repeated, so receivers also poll.
#[async_trait]
pub trait CommitNotifications: Send + Sync {
    /// Starts to listen. Notifications arrive from the time of the answer until the notifier is
    /// dropped.
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError>;
}

/// A connection to the other replicas. After an error, open a new one.
#[async_trait]
pub trait CommitNotifier: Send {
    /// Notifies the other replicas of a commit.
    async fn notify(&mut self) -> Result<(), PortError>;

    /// Waits for a notification from another replica. Notifications that arrive between calls
    /// are returned once by the next call. The call is cancel-safe.
    async fn wait(&mut self) -> Result<(), PortError>;
}
