//! The lines of a body, each of limited length, as they arrive.

use axum::body::BodyDataStream;
use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;

/// A line without its line end.
#[derive(Debug, PartialEq, Eq)]
pub enum NdjsonLine {
    /// A line that is not blank.
    Text(Bytes),
    /// A line that exceeds the limit. Its text was discarded.
    TooLong,
}

/// The body was interrupted: the connection failed before its end.
#[derive(Debug)]
pub struct Interrupted;

/// Splits a body into lines. It buffers at most one line and one chunk of the
/// body.
pub struct Lines {
    body: BodyDataStream,
    limit: usize,
    buffer: BytesMut,
    /// The length of the prefix of `buffer` without a line end.
    searched: usize,
    /// True while the rest of a line that is too long is discarded.
    discarding: bool,
    ended: bool,
}

impl Lines {
    /// Creates a splitter for lines of at most `limit` bytes.
    pub fn new(body: BodyDataStream, limit: usize) -> Self {
        Self { body, limit, buffer: BytesMut::new(), searched: 0, discarding: false, ended: false }
    }

    /// Returns the next line that is not blank; `None` at the end. It is
    /// cancellation-safe.
    ///
    /// # Errors
    /// The body was interrupted. The incomplete line is lost.
    pub async fn next(&mut self) -> Result<Option<NdjsonLine>, Interrupted> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(_)) => {
                    self.ended = true;
                    self.buffer.clear();
                    return Err(Interrupted);
                }
                None => self.ended = true,
            }
        }
    }

    /// Takes the next line from the buffer.
    fn take(&mut self) -> Option<NdjsonLine> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(end) = end.map(|end| end + self.searched) else {
                if self.ended {
                    return self.last();
                }
                self.searched = self.buffer.len();
                if self.buffer.len() > self.limit {
                    self.discarding = true;
                }
                if self.discarding {
                    self.buffer.clear();
                    self.searched = 0;
                }
                return None;
            };
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if let Some(line) = self.line(line) {
                return Some(line);
            }
        }
    }

    /// Takes the text after the last line end.
    fn last(&mut self) -> Option<NdjsonLine> {
        let rest = self.buffer.split().freeze();
        self.searched = 0;
        self.line(rest)
    }

    fn line(&mut self, text: Bytes) -> Option<NdjsonLine> {
        if std::mem::take(&mut self.discarding) || text.len() > self.limit {
            return Some(NdjsonLine::TooLong);
        }
        if text.iter().all(u8::is_ascii_whitespace) { None } else { Some(NdjsonLine::Text(text)) }
    }
}
