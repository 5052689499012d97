//! A stream that gathers what is written to it.
//!
//! One task writes for all calls of an HTTP/2 connection, and every call that
//! has something to say wakes it. What was just woken is what tokio runs next,
//! so of fifty calls that were answered together each would be a write of its
//! own: a system call, a packet, and a reader that is woken for it. Here the
//! first write after a flush gives way once to all that is ready to run, and
//! carries what they had to say as well. No time passes by: when nothing else
//! is ready, it is written at once. What it is worth is in benches/README.md.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writes give way.
#[derive(Debug)]
pub struct WriteCoalescing<S> {
    stream: S,
    /// The write that is next has given way already.
    gave_way: bool,
}

impl<S> WriteCoalescing<S> {
    /// Gathers what is written to that stream.
    pub fn new(stream: S) -> Self {
        Self { stream, gave_way: false }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn give_way(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.gave_way {
            return Poll::Ready(());
        }
        self.gave_way = true;
        // A task that wakes itself goes to the end of the queue.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteCoalescing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteCoalescing<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(self.give_way(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.gave_way = false;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        ready!(self.give_way(context));
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn a_write_comes_after_all_that_is_ready() {
        let (ours, mut theirs) = duplex(64);
        let said = Rc::new(Cell::new(0));
        let heard = Rc::clone(&said);
        LocalSet::new()
            .run_until(async move {
                let writer = spawn_local(async move {
                    let mut stream = WriteCoalescing::new(ours);
                    stream.write_all(b"a").await.unwrap();
                    stream.flush().await.unwrap();
                    let before = heard.get();
                    // The second as much as the first.
                    stream.write_all(b"b").await.unwrap();
                    stream.flush().await.unwrap();
                    before
                });
                for _ in 0..3 {
                    let said = Rc::clone(&said);
                    spawn_local(async move { said.set(said.get() + 1) });
                }
                assert_eq!(writer.await.unwrap(), 3);
            })
            .await;
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ab");
    }
}
