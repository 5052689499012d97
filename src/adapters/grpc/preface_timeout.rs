//! Connections that never became one. A client that connects and says nothing
//! is waited for, also when the service stops; so its silence is ended then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::adapters::write_coalescing::WriteCoalescing;

/// What a client of HTTP/2 says first, in bytes.
const PREFACE: usize = 24;

/// A connection that ends with the service as long as it has not said hello.
pub struct PrefaceTimeout {
    stream: WriteCoalescing<TcpStream>,
    heard: usize,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl PrefaceTimeout {
    /// Waits for the client's first bytes until `end` is cancelled.
    pub fn new(stream: TcpStream, end: &CancellationToken) -> Self {
        Self { stream: WriteCoalescing::new(stream), heard: 0, end: Box::pin(end.clone().cancelled_owned()) }
    }
}

impl AsyncRead for PrefaceTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.heard >= PREFACE {
            return read;
        }
        self.heard += buffer.filled().len() - before;
        if read.is_pending() && self.end.as_mut().poll(context).is_ready() {
            // Nothing was read: the end of the stream.
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl AsyncWrite for PrefaceTimeout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for PrefaceTimeout {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.get_ref().connect_info()
    }
}
