//! The connections of every face: gRPC, REST and admin. One accept loop, the same
//! timeouts, and the same drain.
//!
//! A connection ends when its client is silent or takes nothing for too long.
//! After the service begins to stop, it waits only for work: a client that does
//! not answer, or does not read, has [`ConnectionOptions::grace`].

mod activity;
mod client_stream;
mod stream_executor;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use activity::{ActiveRequest, Activity};
pub use client_stream::ClientStream;
pub use stream_executor::StreamExecutor;

/// The pause after a failed accept. The usual cause is a lack of file
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits and timeouts of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// The most connections at once. Further connections wait in the accept
    /// queue of the kernel.
    pub max_connections: usize,
    /// Timeout for the head of a request. Over HTTP/1.1 it starts with the
    /// previous answer, so it also limits how long a connection is kept alive.
    pub header_timeout: Duration,
    /// Write timeout: the longest time that a client may stop reading.
    pub write_timeout: Duration,
    /// The longest time that a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// The time that a client has, after the service begins to stop, to take
    /// what is sent, and that a connection without a request stays open.
    pub grace: Duration,
}

impl Default for ConnectionOptions {
    /// Returns defaults that fit most installations.
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(2),
            idle_timeout: Duration::from_secs(75),
            grace: Duration::from_millis(750),
        }
    }
}

/// The time that a client may take nothing, before and after the service begins
/// to stop.
#[derive(Debug, Clone)]
struct WriteLimit {
    write_timeout: Duration,
    grace: Duration,
    shutdown: CancellationToken,
}

/// Resolves when a client has taken nothing for too long.
type Stalled = Pin<Box<dyn Future<Output = ()> + Send>>;

impl WriteLimit {
    fn stalled(&self) -> Stalled {
        let Self { write_timeout, grace, shutdown } = self.clone();
        Box::pin(async move {
            let stopped = async {
                shutdown.cancelled().await;
                tokio::time::sleep(grace).await;
            };
            _ = tokio::time::timeout(write_timeout, stopped).await;
        })
    }
}

/// The listener of a face with its limits.
pub struct Connections {
    listener: TcpListener,
    options: ConnectionOptions,
    shutdown: CancellationToken,
}

impl Connections {
    /// Creates the connections of a listener. They begin to end when `shutdown`
    /// is cancelled.
    pub fn new(listener: TcpListener, options: ConnectionOptions, shutdown: CancellationToken) -> Self {
        Self { listener, options, shutdown }
    }

    /// Returns a builder with the timeouts. The caller adds the limits of its
    /// protocol.
    pub fn builder(&self) -> Builder<StreamExecutor> {
        let mut builder = Builder::new(StreamExecutor::new(self.write_limit()));
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.options.header_timeout);
        builder.http2().timer(TokioTimer::new()).keep_alive_timeout(self.options.header_timeout);
        builder
    }

    fn write_limit(&self) -> WriteLimit {
        let ConnectionOptions { write_timeout, grace, .. } = self.options;
        WriteLimit { write_timeout, grace, shutdown: self.shutdown.clone() }
    }

    /// Serves until the token is cancelled, and then until every request is
    /// answered. `wrap` adds a layer to the stream of a connection. If the future
    /// is dropped, all connections are closed.
    pub async fn serve<H, F, B, S>(
        self,
        builder: Builder<StreamExecutor>,
        handler: H,
        wrap: impl Fn(ClientStream) -> S,
    ) where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let write_limit = self.write_limit();
        let Self { listener, options, shutdown } = self;
        let builder = Arc::new(builder);
        let permits = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        let _abort_on_drop = abort.clone().drop_guard();
        loop {
            // The permit is taken before the accept, so that connections above the
            // limit stay in the queue of the kernel.
            let accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (accept(&listener).await, permit)
            };
            let (stream, permit) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = accepted => accepted,
            };
            let connection = Connection {
                builder: builder.clone(),
                handler: handler.clone(),
                options,
                shutdown: shutdown.clone(),
            };
            let stream = wrap(ClientStream::new(stream, write_limit.clone()));
            let abort = abort.clone();
            connections.spawn(async move {
                abort.run_until_cancelled(connection.run(stream)).await;
                drop(permit);
            });
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }
}

/// Accepts a connection. After an error it pauses and tries again.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Fails if the client has disconnected, which the first read
                // reports.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Connection<H> {
    builder: Arc<Builder<StreamExecutor>>,
    handler: H,
    options: ConnectionOptions,
    shutdown: CancellationToken,
}

impl<H> Connection<H> {
    async fn run<F, B, S>(self, stream: S)
    where
        H: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let service = service_fn(|request| {
            let active = activity.begin();
            let response = (self.handler)(request);
            async move {
                let response = response.await;
                Ok::<_, Infallible>(response.map(|body| TrackedBody { body, _active: active }))
            }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return log(ended),
            () = self.shutdown.cancelled() => {}
            () = activity.quiet(self.options.idle_timeout) => {}
        }
        connection.as_mut().graceful_shutdown();
        // hyper would wait for the rest of an incomplete head, and for a client
        // that does not answer.
        tokio::select! {
            ended = connection.as_mut() => log(ended),
            () = activity.quiet(self.options.grace) => {}
        }
    }
}

fn log(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "connection failed");
    }
}

/// The body of a response. The request is in progress until its end.
struct TrackedBody<B> {
    body: B,
    _active: ActiveRequest,
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        stream_executor::note(matches!(frame, Poll::Ready(Some(Ok(_)))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
