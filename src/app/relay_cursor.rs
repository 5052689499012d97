//! The cursor of the relay: the position up to which every event is settled, and the saved
//! position.

use tokio::time::Instant;

use super::relay_batch::Waiting;
use super::relay_events::{Ended, Lead};
use crate::ports::{DeadLetter, LeaseWrite};

impl Lead<'_> {
    /// Advances the position up to which every event is settled.
    pub(super) fn settle(&mut self, waiting: &Waiting) {
        let settled = waiting.settled(self.settled);
        if settled > self.settled {
            self.settled = settled;
            self.unsaved.get_or_insert_with(Instant::now);
        }
    }

    /// Saves dead letters and cursor atomically, so that no later leader publishes past a dead
    /// letter.
    pub(super) async fn bury(&mut self, letters: &[DeadLetter]) -> Result<(), Ended> {
        for letter in letters {
            tracing::error!(
                sink = self.relay.sink.name(),
                order_id = %letter.order_id,
                sequence = letter.sequence,
                position = letter.position.0,
                cause = letter.cause,
                "sink refused an event: it is now a dead letter and its order is held back, see pvz dlq list"
            );
        }
        self.letters = true;
        self.advance(letters).await
    }

    pub(super) async fn save_if_due(&mut self) -> Result<(), Ended> {
        match self.unsaved {
            Some(since) if since.elapsed() >= self.relay.options.save_after => self.save().await,
            _ => Ok(()),
        }
    }

    pub(super) async fn save(&mut self) -> Result<(), Ended> {
        if self.unsaved.is_some() { self.advance(&[]).await } else { Ok(()) }
    }

    async fn advance(&mut self, letters: &[DeadLetter]) -> Result<(), Ended> {
        match self.relay.outbox.advance(&self.lease.token, self.settled, letters).await? {
            LeaseWrite::Done => {
                self.unsaved = None;
                self.saved = (self.settled, Instant::now());
                Ok(())
            }
            LeaseWrite::Fenced => Err(Ended::Fenced),
        }
    }

    /// Ends the lease if an operator has moved the cursor back. An idle leader writes nothing, so
    /// the fencing token alone would not stop it.
    pub(super) async fn check_cursor(&mut self) -> Result<(), Ended> {
        let (saved, checked) = self.saved;
        if checked.elapsed() < self.relay.options.poll {
            return Ok(());
        }
        let cursor = self.relay.outbox.cursor(self.relay.sink.name()).await?;
        if cursor.is_some_and(|cursor| cursor < saved) {
            return Err(Ended::Fenced);
        }
        self.saved = (saved, Instant::now());
        Ok(())
    }
}
