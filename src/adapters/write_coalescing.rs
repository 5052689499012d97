//! A stream that coalesces writes.
//!
//! A single task writes for all calls of an HTTP/2 connection, and each call that
//! has an answer wakes this task. tokio runs a task that was just woken next, so
//! that fifty calls that complete together would cause fifty writes: fifty system
//! calls, fifty packets, and as many wake-ups of the reader. This stream yields
//! once before the first write after a flush, so that all ready tasks run first
//! and their answers share the write. It uses no timer: if no other task is
//! ready, the write happens at once. Its effect is measured in
//! `benches/README.md`.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that yields before it writes.
#[derive(Debug)]
pub struct WriteCoalescing<S> {
    stream: S,
    /// True if the next write has already yielded.
    yielded: bool,
}

impl<S> WriteCoalescing<S> {
    /// Coalesces writes to a stream.
    pub fn new(stream: S) -> Self {
        Self { stream, yielded: false }
    }

    /// Returns the inner stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn yield_once(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        // A task that wakes itself goes to the end of the run queue.
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
        ready!(self.yield_once(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.yielded = false;
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
        ready!(self.yield_once(context));
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
    async fn ready_tasks_run_before_each_write() {
        let (ours, mut theirs) = duplex(64);
        let runs = Rc::new(Cell::new(0));
        let observed = Rc::clone(&runs);
        LocalSet::new()
            .run_until(async move {
                let writer = spawn_local(async move {
                    let mut stream = WriteCoalescing::new(ours);
                    stream.write_all(b"a").await.unwrap();
                    stream.flush().await.unwrap();
                    let runs_before_first_write = observed.get();
                    stream.write_all(b"b").await.unwrap();
                    stream.flush().await.unwrap();
                    runs_before_first_write
                });
                for _ in 0..3 {
                    let runs = Rc::clone(&runs);
                    spawn_local(async move { runs.set(runs.get() + 1) });
                }
                assert_eq!(writer.await.unwrap(), 3);
            })
            .await;
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ab");
    }
}
