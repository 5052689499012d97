//! The connections of every endpoint: gRPC, REST and admin. One accept loop, the same
//! limit and timeouts, and the same drain.
//!
//! A connection above the limit is answered with a refusal and closed, so that
//! its client is told, and the descriptors of the store and of the admin endpoint are
//! not used up.
//!
//! A connection ends when its client is silent or takes nothing for too long.
//! After the service begins to stop, it waits only for work: a client that does
//! not answer, or does not read, has [`ConnectionOptions::grace`].

mod activity;
mod client_stream;
mod host;
mod stream_executor;
mod turns;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use activity::{ActiveRequest, Activity};
pub use client_stream::ClientStream;
pub use host::check_host;
pub use stream_executor::StreamExecutor;
use turns::{StartTurns, Turns};

use crate::domain::Refusal;

/// The pause after a failed accept. The usual cause is a lack of file
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most refused connections at once. Further connections are closed without
/// an answer.
const MAX_REFUSED: usize = 16;

/// The time in which a refused connection sends its request and takes the answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The delay after which a refused client should connect again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Limits and timeouts of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// The most connections at once. Further connections are refused.
    pub max_connections: usize,
    /// Timeout for the preface of a connection and for the head of a request. Over
    /// HTTP/1.1 it starts with the previous answer, so it also limits how long a
    /// connection is kept alive.
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

/// The requests of an endpoint and their answers.
#[derive(Clone)]
pub struct Endpoint<A, R, W> {
    /// Answers a request.
    pub answer: A,
    /// Refuses a request on a connection above the limit, with [`refusal`].
    pub refuse: R,
    /// Adds a layer to the stream of a connection.
    pub wrap: W,
}

/// Returns the refusal of requests on a connection above the limit.
pub fn refusal() -> Refusal {
    let sentence = "the service has as many connections as it accepts; connect again later";
    Refusal::unavailable(sentence, RETRY_DELAY)
}

/// The listener of an endpoint with its limits.
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
    /// answered. If the future is dropped, all connections are closed.
    pub async fn serve<A, F, B, R, W, S>(self, builder: Builder<StreamExecutor>, endpoint: Endpoint<A, R, W>)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        R: Fn(&Request<Incoming>) -> Response<B> + Clone + Send + Sync + 'static,
        W: Fn(ClientStream) -> S + Clone + Send + Sync + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let write_limit = self.write_limit();
        let Self { listener, options, shutdown } = self;
        let mut limit = Limit::new(options.max_connections);
        let turns = Turns::new();
        let builder = Arc::new(builder);
        let connections = TaskTracker::new();
        let stop_connections = CancellationToken::new();
        let abort = CancellationToken::new();
        let _abort_on_drop = abort.clone().drop_guard();
        loop {
            let stream = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                stream = accept(&listener) => stream,
            };
            // Many clients may connect at once; the requests of the others must not wait for all of them.
            yield_now().await;
            let Some(admission) = limit.admit() else { continue };
            let (builder, endpoint, shutdown, abort) =
                (builder.clone(), endpoint.clone(), stop_connections.clone(), abort.clone());
            let stream =
                (endpoint.wrap)(ClientStream::new(stream, turns.clone(), write_limit.clone(), &options));
            let turns = turns.clone();
            connections.spawn(async move {
                let connection = Connection { builder, endpoint, options, turns, shutdown };
                match admission {
                    Admission::Served(_permit) => _ = abort.run_until_cancelled(connection.run(stream)).await,
                    Admission::Refused(_permit) => {
                        _ = abort.run_until_cancelled(connection.refuse(stream)).await;
                    }
                }
            });
        }
        // The listener closes first: a client that is told to leave and connects again is then
        // refused, instead of losing a call on a connection that nobody accepts.
        drop(listener);
        stop_connections.cancel();
        connections.close();
        connections.wait().await;
    }
}

/// Counts the connections of an endpoint.
struct Limit {
    served: Arc<Semaphore>,
    refused: Arc<Semaphore>,
    /// True if the last connection was above the limit.
    reached: bool,
}

/// The permit of a connection.
enum Admission {
    Served(OwnedSemaphorePermit),
    Refused(OwnedSemaphorePermit),
}

impl Limit {
    fn new(max_connections: usize) -> Self {
        let served = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self { served, refused: Arc::new(Semaphore::new(MAX_REFUSED)), reached: false }
    }

    /// Admits a connection; `None` if it must be closed without an answer.
    fn admit(&mut self) -> Option<Admission> {
        let served = self.served.clone().try_acquire_owned();
        if served.is_err() && !self.reached {
            tracing::warn!("refusing connections above the limit (server.max_connections)");
        }
        self.reached = served.is_err();
        served
            .map(Admission::Served)
            .or_else(|_| self.refused.clone().try_acquire_owned().map(Admission::Refused))
            .ok()
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

struct Connection<A, R, W> {
    builder: Arc<Builder<StreamExecutor>>,
    endpoint: Endpoint<A, R, W>,
    options: ConnectionOptions,
    turns: Turns,
    shutdown: CancellationToken,
}

impl<A, R, W> Connection<A, R, W> {
    /// Serves a connection to its end.
    async fn run<F, B, S>(self, stream: S)
    where
        A: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let starts = StartTurns::new(self.turns);
        let service = service_fn(|request| {
            let active = activity.begin();
            let start = starts.wait();
            let response = (self.endpoint.answer)(request);
            async move {
                start.await;
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

    /// Refuses the requests of a connection, and closes it.
    async fn refuse<B, S>(self, stream: S)
    where
        R: Fn(&Request<Incoming>) -> Response<B>,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| {
            let mut response = (self.endpoint.refuse)(&request);
            if request.version() < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection => log(ended),
            () = tokio::time::sleep(REFUSAL_TIME) => {}
            () = self.shutdown.cancelled() => {}
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
