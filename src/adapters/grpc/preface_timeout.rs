//! Connections without an HTTP/2 preface. The shutdown of the server waits for
//! every open connection, also for a client that connected and sent nothing, so
//! such connections end when the service stops.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::adapters::write_coalescing::WriteCoalescing;

/// The length of the client preface of HTTP/2, in bytes.
const PREFACE: usize = 24;

/// A connection that ends when the service stops before the preface has
/// arrived.
pub struct PrefaceTimeout {
    stream: WriteCoalescing<TcpStream>,
    /// Bytes received, up to the preface.
    received: usize,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl PrefaceTimeout {
    /// Wraps a connection. `stop` is cancelled when the service stops.
    pub fn new(stream: TcpStream, stop: &CancellationToken) -> Self {
        Self {
            stream: WriteCoalescing::new(stream),
            received: 0,
            stop: Box::pin(stop.clone().cancelled_owned()),
        }
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
        if self.received >= PREFACE {
            return read;
        }
        self.received += buffer.filled().len() - before;
        if read.is_pending() && self.stop.as_mut().poll(context).is_ready() {
            // A read of zero bytes is the end of the stream.
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
