//! The relay's comparison of the sink with the log, before it publishes.

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Fork;
use super::relay_events::{Ended, Lead, pause};
use crate::ports::{PortError, Position, SinkTail, chain};

impl Lead<'_> {
    /// Compares the sink with the log until they agree or an operator has accepted the difference.
    /// Returns false after a stop request; then the relay must not publish.
    pub(super) async fn agree(&mut self, stop: &CancellationToken) -> Result<bool, Ended> {
        self.agreed = false;
        while !stop.is_cancelled() {
            if self.lease.is_lost() {
                return Err(Ended::Fenced);
            }
            match stop.run_until_cancelled(self.read_tail()).await {
                Some(Ok(tail)) => self.agreed = self.agrees(&tail).await?,
                Some(Err(error)) => {
                    self.tell(&chain(&error), 0);
                    self.note_failure(&error).await?;
                }
                None => break,
            }
            if self.agreed {
                return Ok(true);
            }
            self.failures += 1;
            pause(stop, self.relay.backoff(self.failures)).await;
        }
        Ok(false)
    }

    async fn read_tail(&self) -> Result<SinkTail, PortError> {
        match timeout(self.relay.options.publish_timeout, self.relay.sink.tail()).await {
            Ok(read) => read,
            Err(elapsed) => Err(PortError::unavailable("the sink did not answer in time", elapsed)),
        }
    }

    async fn agrees(&mut self, tail: &SinkTail) -> Result<bool, Ended> {
        let compare = &self.relay.compare;
        let compared = compare.compare(tail).await?;
        match compared.fork() {
            Some(_) if self.relay.options.allow_empty_store && self.lease.cursor == Position(0) => {
                compare.accept(&compared).await?;
                tracing::info!(
                    sink = self.relay.sink.name(),
                    "the events of the sink are accepted, because store.allow_empty is set"
                );
            }
            Some(fork) => {
                self.stop_publishing(&fork).await?;
                return Ok(false);
            }
            None => compare.record(&compared).await?,
        }
        if self.status.stopped.take().is_some() {
            tracing::info!(sink = self.relay.sink.name(), "the sink is accepted, publishing continues");
            self.write_note().await?;
        }
        Ok(true)
    }

    async fn stop_publishing(&mut self, fork: &Fork) -> Result<(), Ended> {
        let reason = fork.to_string();
        if self.status.stopped.as_ref() == Some(&reason) {
            return Ok(());
        }
        tracing::error!(sink = self.relay.sink.name(), reason, "publishing has stopped");
        self.status.stopped = Some(reason);
        self.write_note().await
    }
}
