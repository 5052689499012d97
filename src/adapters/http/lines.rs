//! The lines of a body, each of limited length, as they arrive.

use axum::body::BodyDataStream;
use bytes::{Buf as _, Bytes, BytesMut};
use futures::{FutureExt as _, StreamExt as _};

use crate::adapters::api::RequestBytes;
use crate::domain::Refusal;
use crate::proto::json::without_byte_order_mark;

/// A line without its line end.
#[derive(Debug, PartialEq, Eq)]
pub enum NdjsonLine {
    /// A line that is not blank.
    Text(Bytes),
    /// A line that exceeds the limit. Its text was discarded.
    TooLong,
}

/// The reason why no more lines can be read.
#[derive(Debug)]
pub enum LinesError {
    /// The connection failed before the end of the body.
    Interrupted,
    /// The request was evicted for others.
    Overloaded(Refusal),
}

/// Splits a body into lines. It buffers at most one line and one chunk of the
/// body.
pub struct Lines {
    body: BodyDataStream,
    limit: usize,
    buffer: BytesMut,
    account: RequestBytes,
    /// The length of the prefix of `buffer` without a line end.
    searched: usize,
    /// True until the first line is complete. It may begin with a byte-order mark.
    at_start: bool,
    /// True while the rest of a line that is too long is discarded.
    discarding: bool,
    ended: bool,
}

impl Lines {
    /// Creates a splitter for lines of at most `limit` bytes.
    pub fn new(body: BodyDataStream, limit: usize, account: RequestBytes) -> Self {
        Self {
            body,
            limit,
            buffer: BytesMut::new(),
            account,
            searched: 0,
            at_start: true,
            discarding: false,
            ended: false,
        }
    }

    /// Returns the next line that is not blank; `None` at the end. It is
    /// cancellation-safe.
    ///
    /// # Errors
    /// The body cannot be read on. The incomplete line is lost.
    pub async fn next(&mut self) -> Result<Option<NdjsonLine>, LinesError> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            let chunk = match self.chunk().await {
                Ok(chunk) => chunk,
                Err(refusal) => {
                    self.end();
                    return Err(LinesError::Overloaded(refusal));
                }
            };
            match chunk {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(_)) => {
                    self.end();
                    return Err(LinesError::Interrupted);
                }
                None => self.ended = true,
            }
        }
    }

    /// Returns the next chunk of the body. An incomplete line counts while it waits for the
    /// client.
    async fn chunk(&mut self) -> Result<Option<Result<Bytes, axum::Error>>, Refusal> {
        if let Some(chunk) = self.body.next().now_or_never() {
            return Ok(chunk);
        }
        self.account.set(self.buffer.len())?;
        tokio::select! {
            chunk = self.body.next() => Ok(chunk),
            refusal = self.account.evicted() => Err(refusal),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.buffer.clear();
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

    fn line(&mut self, mut text: Bytes) -> Option<NdjsonLine> {
        if std::mem::take(&mut self.at_start) {
            text = text.slice_ref(without_byte_order_mark(&text));
        }
        if std::mem::take(&mut self.discarding) || text.len() > self.limit {
            return Some(NdjsonLine::TooLong);
        }
        if text.iter().all(u8::is_ascii_whitespace) { None } else { Some(NdjsonLine::Text(text)) }
    }
}
