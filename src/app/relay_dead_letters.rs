//! The relay's work on dead letters that an operator resolved, and its status for operators.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::relay_events::{Ended, Lead};
use crate::ports::{DeadLetter, LeaseWrite, LoggedEvent, PortError, Receipt, Resolution};

/// Maximum number of dead letters resolved in one round.
const LETTERS: usize = 100;

/// The result of resolving a dead letter.
enum Mended {
    /// The sink has the events that were held back.
    Yes,
    /// The sink refused another event of the order, which becomes the new dead letter.
    Refused(DeadLetter),
    /// The sink is not available.
    Later,
}

impl Lead<'_> {
    /// Carries out operators' decisions about dead letters, at intervals. After a failure, the
    /// dead letter stays as it is until the next round.
    pub(super) async fn mend(&mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= self.relay.options.poll);
        if !self.letters || !due {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let sink = self.relay.sink.name();
        let resolved = self.relay.outbox.resolved_dead_letters(sink, LETTERS).await?;
        for letter in &resolved {
            match self.publish_held_back(letter, stop).await? {
                Mended::Yes => {
                    tracing::info!(sink, order_id = %letter.order_id, sequence = letter.sequence, resolution = ?letter.resolution, "dead letter resolved");
                    if self.relay.outbox.remove_dead_letter(&self.lease.token, letter).await?
                        == LeaseWrite::Fenced
                    {
                        return Err(Ended::Fenced);
                    }
                }
                Mended::Refused(letter) => self.bury(&[letter]).await?,
                Mended::Later => return Ok(()),
            }
        }
        if !resolved.is_empty() {
            self.letters = !self.relay.outbox.dead_letters(sink, None, 1).await?.is_empty();
        }
        Ok(())
    }

    /// Publishes the rest of an order's history up to the settled position. Later events follow
    /// with the log.
    async fn publish_held_back(
        &mut self,
        letter: &DeadLetter,
        stop: &CancellationToken,
    ) -> Result<Mended, Ended> {
        let mut after = match letter.resolution {
            Some(Resolution::Retry) => letter.sequence - 1,
            Some(Resolution::Drop) => letter.sequence,
            None => return Ok(Mended::Later),
        };
        loop {
            let relay = self.relay;
            let history = relay.log.history(&letter.order_id, after, relay.options.batch).await?;
            let held: Vec<LoggedEvent> =
                history.into_iter().take_while(|logged| logged.position <= self.settled).collect();
            if held.is_empty() {
                return Ok(Mended::Yes);
            }
            let delivery = relay.publish(&held, stop).await;
            for (logged, receipt) in held.into_iter().zip(delivery.receipts) {
                match receipt {
                    Receipt::Acknowledged => after = logged.event.sequence,
                    Receipt::Refused(cause) => {
                        return Ok(Mended::Refused(DeadLetter {
                            order_id: letter.order_id.clone(),
                            sequence: logged.event.sequence,
                            position: logged.position,
                            cause,
                            refused_at: relay.clock.now(),
                            resolution: None,
                        }));
                    }
                    Receipt::Pending => {
                        if let Some(error) = delivery.failure {
                            self.note_failure(&error).await?;
                        }
                        return Ok(Mended::Later);
                    }
                }
            }
        }
    }

    /// Records a failure for operators: the first of a series, then at most one per round.
    pub(super) async fn note_failure(&mut self, error: &PortError) -> Result<(), Ended> {
        let recent = |at: Instant| at.elapsed() < self.relay.options.poll;
        if self.failed.is_some_and(recent) {
            return Ok(());
        }
        self.failed = Some(Instant::now());
        self.status.failure = Some((error.to_string(), self.relay.clock.now()));
        self.write_note().await
    }

    pub(super) async fn write_note(&mut self) -> Result<(), Ended> {
        match self.relay.outbox.record_leader_status(&self.lease.token, &self.status).await? {
            LeaseWrite::Done => Ok(()),
            LeaseWrite::Fenced => Err(Ended::Fenced),
        }
    }
}
