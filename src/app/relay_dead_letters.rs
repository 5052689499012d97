//! What the relay does besides the log: dead letters that an operator decided
//! about, and the note of how it goes.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::relay_events::{Ended, Lead};
use crate::ports::{DeadLetter, LeaseWrite, LoggedEvent, PortError, Receipt, Resolution};

/// How many letters are mended at a look.
const LETTERS: usize = 100;

/// What became of a dead letter.
enum Mended {
    /// The sink has what was held back.
    Yes,
    /// The sink refused another event of the order: there is a letter for that.
    Refused(DeadLetter),
    /// Not now.
    Later,
}

impl Lead<'_> {
    /// Does what operators decided about dead letters, if it is time to look.
    /// A failure holds nobody up: the letter stays as it is until the next
    /// look.
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
                    tracing::info!(sink, order_id = %letter.order_id, sequence = letter.sequence, resolution = ?letter.resolution, "a dead letter is settled");
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

    /// Publishes the rest of an order's history, up to where everything is
    /// settled; what is behind that comes with the log.
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

    /// Keeps what failed for operators: the first of a row of failures, and
    /// then at most one at a look.
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
