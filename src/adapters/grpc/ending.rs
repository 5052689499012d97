//! The streams of health and reflection last as long as whoever asks likes.
//! When the service stops they end, so that they do not hold it up.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::call_context::stopping;
use super::status::to_status;

/// Ends answers once the token is cancelled and they have nothing to say.
#[derive(Clone)]
pub struct EndingLayer(pub CancellationToken);

impl<S> Layer<S> for EndingLayer {
    type Service = Ending<S>;

    fn layer(&self, inner: S) -> Ending<S> {
        Ending { inner, end: self.0.clone() }
    }
}

/// The service that [`EndingLayer`] makes.
#[derive(Clone)]
pub struct Ending<S> {
    inner: S,
    end: CancellationToken,
}

impl<S> Service<Request<Body>> for Ending<S>
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
        // What is asked ends too: a stream lives until both directions do.
        let asked = |body| Body::new(EndingBody::new(body, &self.end, None));
        let request = request.map(asked);
        let end = self.end.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut refusal = HeaderMap::new();
            // Only a value that is no header's could fail, and then there is
            // no reason, but an end all the same.
            let _ = to_status(&stopping()).add_header(&mut refusal);
            Ok(answer.await?.map(|body| Body::new(EndingBody::new(body, &end, Some(refusal)))))
        })
    }
}

/// A body that ends early.
struct EndingBody {
    body: Body,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What is said at the early end.
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl EndingBody {
    fn new(body: Body, end: &CancellationToken, trailers: Option<HeaderMap>) -> Self {
        Self { body, end: Box::pin(end.clone().cancelled_owned()), trailers, ended: false }
    }
}

impl http_body::Body for EndingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // What was said before the end is heard.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.end.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
