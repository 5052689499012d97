//! Cutoff of health and reflection streams. Clients keep these open without
//! limit; they end when the service stops, so that they do not delay it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::status::to_status;
use crate::domain::Refusal;

/// Ends the streams of a service once the token is cancelled and no message is
/// pending.
#[derive(Clone)]
pub struct StreamCutoffLayer(pub CancellationToken);

impl<S> Layer<S> for StreamCutoffLayer {
    type Service = StreamCutoff<S>;

    fn layer(&self, inner: S) -> StreamCutoff<S> {
        StreamCutoff { inner, stop: self.0.clone() }
    }
}

/// The service that [`StreamCutoffLayer`] creates.
#[derive(Clone)]
pub struct StreamCutoff<S> {
    inner: S,
    stop: CancellationToken,
}

impl<S> Service<Request<Body>> for StreamCutoff<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The request ends too: a stream stays open until both directions end.
        let request = request.map(|body| Body::new(CutoffBody::new(body, &self.stop, None)));
        let stop = self.stop.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut trailers = HeaderMap::new();
            // Fails only for a value that cannot be a header. The stream then
            // ends without a reason.
            let _ = to_status(Refusal::stopping()).add_header(&mut trailers);
            Ok(answer.await?.map(|body| Body::new(CutoffBody::new(body, &stop, Some(trailers)))))
        })
    }
}

/// A body that ends early.
struct CutoffBody {
    body: Body,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The trailers to send at the cutoff.
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl CutoffBody {
    fn new(body: Body, stop: &CancellationToken, trailers: Option<HeaderMap>) -> Self {
        Self { body, stop: Box::pin(stop.clone().cancelled_owned()), trailers, ended: false }
    }
}

impl http_body::Body for CutoffBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Pending messages are sent before the cutoff.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.stop.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
