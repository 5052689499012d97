//! Lines of a body, as they come, each at most so long.

use axum::body::BodyDataStream;
use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum NdjsonLine {
    /// A line with something in it.
    Text(Bytes),
    /// A line that is too long; it was thrown away.
    TooLong,
}

/// The body broke off.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off before its end")]
pub struct BrokenOff;

/// Cuts a body into lines. Holds one line at most, and a chunk of the body.
pub struct Lines {
    body: BodyDataStream,
    limit: usize,
    held: BytesMut,
    /// How much of `held` is known to have no line end.
    searched: usize,
    /// The line is too long; its rest is thrown away.
    skipping: bool,
    ended: bool,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub fn new(body: BodyDataStream, limit: usize) -> Self {
        Self { body, limit, held: BytesMut::new(), searched: 0, skipping: false, ended: false }
    }

    /// The next line that is not blank; `None` at the end. Cancelling loses
    /// nothing.
    ///
    /// # Errors
    /// When the body broke off; what was read of the last line is lost.
    pub async fn next(&mut self) -> Result<Option<NdjsonLine>, BrokenOff> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.held.extend_from_slice(&chunk),
                Some(Err(_)) => {
                    self.ended = true;
                    self.held.clear();
                    return Err(BrokenOff);
                }
                None => self.ended = true,
            }
        }
    }

    /// The next line of what is held.
    fn take(&mut self) -> Option<NdjsonLine> {
        loop {
            let end = self.held[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(end) = end.map(|end| end + self.searched) else {
                if self.ended {
                    return self.last();
                }
                self.searched = self.held.len();
                if self.held.len() > self.limit {
                    self.skipping = true;
                }
                if self.skipping {
                    self.held.clear();
                    self.searched = 0;
                }
                return None;
            };
            let line = self.held.split_to(end).freeze();
            self.held.advance(1);
            self.searched = 0;
            if let Some(line) = self.line(line) {
                return Some(line);
            }
        }
    }

    /// What stands after the last line end.
    fn last(&mut self) -> Option<NdjsonLine> {
        let rest = self.held.split().freeze();
        self.searched = 0;
        self.line(rest)
    }

    fn line(&mut self, text: Bytes) -> Option<NdjsonLine> {
        if std::mem::take(&mut self.skipping) || text.len() > self.limit {
            return Some(NdjsonLine::TooLong);
        }
        if text.iter().all(u8::is_ascii_whitespace) { None } else { Some(NdjsonLine::Text(text)) }
    }
}
