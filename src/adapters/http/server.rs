//! Connections: accept, limits, and shutdown.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HttpOptions;
use super::router::HttpService;

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// The pause after a failed accept. The usual cause is a lack of file
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the token is cancelled, and then until every request is
/// answered or the drain deadline passes.
pub async fn serve(
    listener: TcpListener,
    service: HttpService,
    options: &HttpOptions,
    shutdown: &CancellationToken,
) {
    let builder = Arc::new(builder(options));
    let permits = Arc::new(Semaphore::new(options.max_connections));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        // The permit is taken before the accept, so that connections above the
        // limit stay in the queue of the kernel.
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            builder: builder.clone(),
            service: service.clone(),
            shutdown: shutdown.clone(),
            write_timeout: options.write_timeout,
            idle: options.idle_timeout,
            grace: options.grace,
        };
        let abort = abort.clone();
        connections.spawn(async move {
            abort.run_until_cancelled(connection.run(stream)).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.drain_deadline, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections at the drain deadline");
        abort.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

fn builder(options: &HttpOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(options.idle_timeout)
        .keep_alive_timeout(options.header_timeout);
    builder
}

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    service: HttpService,
    shutdown: CancellationToken,
    write_timeout: Duration,
    idle: Duration,
    grace: Duration,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let (open, mut requests) = watch::channel(0_usize);
        let open = Arc::new(open);
        let service = self.service;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let counted = Counted::new(open.clone());
            let mut service = service.clone();
            async move {
                let response = service.answer(request.map(Body::new)).await;
                Ok::<_, Infallible>(response.map(|body| CountedBody { body, _counted: counted }))
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let io = TokioIo::new(Box::pin(stream));
        let mut connection = pin!(self.builder.serve_connection(io, service));
        tokio::select! {
            ended = connection.as_mut() => return log(ended),
            () = self.shutdown.cancelled() => {}
            () = idle(&mut requests, self.idle) => {}
        }
        connection.as_mut().graceful_shutdown();
        // hyper would wait for the rest of an incomplete head.
        tokio::select! {
            ended = connection.as_mut() => log(ended),
            () = idle(&mut requests, self.grace) => {}
        }
    }
}

fn log(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "connection failed");
    }
}

/// Waits until there was no request for `time`.
async fn idle(requests: &mut watch::Receiver<usize>, time: Duration) {
    loop {
        // The sender lives as long as the connection.
        drop(requests.wait_for(|open| *open == 0).await);
        let begun = tokio::time::timeout(time, requests.wait_for(|open| *open > 0)).await.is_ok();
        if !begun {
            return;
        }
    }
}

/// A request in progress.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(open: Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// The body of a response. The request is in progress until its end.
struct CountedBody {
    body: Body,
    _counted: Counted,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
