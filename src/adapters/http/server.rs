//! Connections: accepting them, bounding them, and letting them go.

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
use super::hyper_errors::HyperErrors;
use super::router::HttpService;

/// The most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;

/// The most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// How long to wait after an accept that failed: the usual cause is that there
/// are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the token is cancelled, and then until every request is
/// answered, or the drain deadline.
pub async fn serve(
    listener: TcpListener,
    front: HttpService,
    options: &HttpOptions,
    shutdown: &CancellationToken,
) {
    let builder = Arc::new(builder(options));
    let places = Arc::new(Semaphore::new(options.max_connections));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        // Taking the place first leaves whoever is too many in the kernel's
        // queue.
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            builder: builder.clone(),
            front: front.clone(),
            shutdown: shutdown.clone(),
            write_timeout: options.write_timeout,
            idle: options.idle_timeout,
            grace: options.grace,
        };
        let cut = cut.clone();
        connections.spawn(async move {
            cut.run_until_cancelled(connection.run(stream)).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.drain_deadline, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut at the drain deadline");
        cut.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
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
    front: HttpService,
    shutdown: CancellationToken,
    write_timeout: Duration,
    idle: Duration,
    grace: Duration,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let (open, mut requests) = watch::channel(0_usize);
        let open = Arc::new(open);
        let (ids, front) = (self.front.ids().clone(), self.front);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let counted = Counted::new(open.clone());
            let mut front = front.clone();
            async move {
                let response = front.answer(request.map(Body::new)).await;
                Ok::<_, Infallible>(response.map(|body| CountedBody { body, _counted: counted }))
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let io = TokioIo::new(HyperErrors::new(Box::pin(stream), ids));
        let mut connection = pin!(self.builder.serve_connection(io, service));
        tokio::select! {
            ended = connection.as_mut() => return log(ended),
            () = self.shutdown.cancelled() => {}
            () = idle(&mut requests, self.idle) => {}
        }
        connection.as_mut().graceful_shutdown();
        // hyper waits for a head that was begun; nobody else should.
        tokio::select! {
            ended = connection.as_mut() => log(ended),
            () = idle(&mut requests, self.grace) => {}
        }
    }
}

fn log(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended in an error");
    }
}

/// When there was no request for that long.
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

/// A request that is not answered yet.
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

/// The body of an answer, which counts until its end.
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
