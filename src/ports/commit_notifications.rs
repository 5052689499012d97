use async_trait::async_trait;

use super::PortError;

/// How replicas on one store tell each other that something was committed, so
/// that nobody has to look all the time. News may be lost, and come twice;
/// whoever acts on them looks by itself now and then.
#[async_trait]
pub trait CommitNotifications: Send + Sync {
    /// Listens, from when it answers on, until the line is dropped.
    async fn listen(&self) -> Result<Box<dyn CommitNotifier>, PortError>;
}

/// A line to the other replicas. Once it has failed, another one is needed.
#[async_trait]
pub trait CommitNotifier: Send {
    /// Tells the other replicas.
    async fn notify(&mut self) -> Result<(), PortError>;

    /// Waits until another replica tells something; what is told while nobody
    /// waits is answered at the next call, once. Nothing is lost when the call
    /// is given up.
    async fn wait(&mut self) -> Result<(), PortError>;
}
