//! Requests whose head is no HTTP, or too large. hyper answers them itself,
//! without asking anybody and without a body, and says nothing of it. Every
//! answer that is not a success is a problem, so its bytes are exchanged for
//! one on their way out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::CONTENT_TYPE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::call::REQUEST_ID;
use super::problem::{PROBLEM_JSON, Problem};
use crate::domain::{Reason, Refusal};
use crate::ports::Ids;

/// A connection on which hyper's own refusals become problems.
pub struct HyperErrors<S> {
    stream: S,
    ids: Arc<dyn Ids>,
    /// The problem that goes out, and for how many bytes of hyper's.
    problem: Option<(Vec<u8>, usize)>,
    /// How much of it is out.
    written: usize,
}

impl<S> HyperErrors<S> {
    pub fn new(stream: S, ids: Arc<dyn Ids>) -> Self {
        Self { stream, ids, problem: None, written: 0 }
    }
}

/// What hyper refuses by itself; `None` for everything that has a body, as
/// each answer of ours that is no success has.
fn refused(bytes: &[u8]) -> Option<Refusal> {
    // Before it looks at more: this is asked of every write.
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
    let head = std::str::from_utf8(bytes).ok()?;
    if !head.ends_with("\r\n\r\n") || !head.contains("\r\ncontent-length: 0\r\n") {
        return None;
    }
    match status {
        b"00" => Some(Refusal::new(
            Reason::ValidationFailed,
            "the request does not begin as HTTP does: its first line or its headers cannot be read",
        )),
        b"14" => Some(Refusal::new(Reason::TooLarge, "the address of the request is too long")),
        b"31" => Some(Refusal::new(Reason::TooLarge, "the headers of the request are too many or too large")),
        _ => None,
    }
}

/// The problem as the whole answer; its connection ends with it.
fn answer(refusal: Refusal, ids: &dyn Ids) -> Vec<u8> {
    let correlation_id = ids.correlation_id();
    let problem = Problem::of_refusal(refusal, &correlation_id);
    let status = problem.status();
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\n{CONTENT_TYPE}: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         {REQUEST_ID}: {correlation_id}\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        PROBLEM_JSON.to_str().unwrap_or_default(),
        body.len(),
    )
    .into_bytes();
    answer.extend(body);
    answer
}

impl<S: AsyncWrite + Unpin> HyperErrors<S> {
    /// Writes the problem for a refusal of hyper's; `None` if the bytes are
    /// none.
    fn exchange(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<io::Result<usize>>> {
        if self.problem.is_none()
            && let Some(refusal) = refused(bytes)
        {
            self.problem = Some((answer(refusal, self.ids.as_ref()), bytes.len()));
            self.written = 0;
        }
        let Some((problem, length)) = &self.problem else { return Poll::Ready(None) };
        while self.written < problem.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &problem[self.written..])) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(written) => self.written += written,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let length = *length;
        self.problem = None;
        Poll::Ready(Some(Ok(length)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HyperErrors<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.exchange(context, bytes)) {
            Some(exchanged) => Poll::Ready(exchanged),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map(|slice| &**slice).unwrap_or_default();
        match ready!(self.exchange(context, first)) {
            Some(exchanged) => Poll::Ready(exchanged),
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HyperErrors<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}
