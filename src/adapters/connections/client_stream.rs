//! The stream of a connection, with turns for its reads, a timeout for its preface and a write timeout.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::turns::{ReadTurns, Turns};
use super::{ConnectionOptions, Stalled, WriteLimit};

/// The client preface of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The stream of an accepted connection. A write fails if the client takes nothing
/// for the write timeout, and the stream ends if no preface arrives within the
/// header timeout.
pub struct ClientStream {
    stream: TcpStream,
    turns: ReadTurns,
    write_limit: WriteLimit,
    /// Set while a write waits for the client.
    stalled: Option<Stalled>,
    /// Set until the preface has arrived.
    preface: Option<Preface>,
}

/// A preface of HTTP/2 that is still arriving. hyper has a timeout for the head of
/// an HTTP/1.1 request, but none before it knows the protocol.
struct Preface {
    received: usize,
    timeout: Pin<Box<Sleep>>,
}

impl Preface {
    /// Returns true if more is needed: `bytes` arrived, and all is a part of the
    /// preface.
    fn continues_with(&mut self, bytes: &[u8]) -> bool {
        let expected = &PREFACE[self.received..];
        self.received += bytes.len();
        bytes.len() < expected.len() && expected.starts_with(bytes)
    }
}

impl ClientStream {
    pub(super) fn new(
        stream: TcpStream,
        turns: Turns,
        write_limit: WriteLimit,
        options: &ConnectionOptions,
    ) -> Self {
        let preface = Preface { received: 0, timeout: Box::pin(sleep(options.header_timeout)) };
        Self { stream, turns: ReadTurns::new(turns), write_limit, stalled: None, preface: Some(preface) }
    }

    /// Limits the time that a write is pending.
    fn limited<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| self.write_limit.stalled());
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = ready!(self.turns.poll_limit(context));
        let before = buffer.filled().len();
        let read = poll_read(&mut self.stream, context, buffer, limit);
        self.turns.count(buffer.filled().len() - before);
        let Some(preface) = &mut self.preface else { return read };
        if read.is_pending() {
            // A read of zero bytes is the end of the stream.
            return preface.timeout.as_mut().poll(context).map(Ok);
        }
        if !preface.continues_with(&buffer.filled()[before..]) {
            self.preface = None;
        }
        read
    }
}

/// Reads at most `limit` bytes.
fn poll_read(
    stream: &mut TcpStream,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
    limit: usize,
) -> Poll<io::Result<()>> {
    if buffer.remaining() <= limit {
        return Pin::new(stream).poll_read(context, buffer);
    }
    let mut part = ReadBuf::new(buffer.initialize_unfilled_to(limit));
    let read = Pin::new(stream).poll_read(context, &mut part);
    let length = part.filled().len();
    buffer.advance(length);
    read
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limited(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.limited(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
