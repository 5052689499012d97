//! The body of a request. A call whose message does not arrive would hold the
//! drain, so the body ends soon after the service begins to stop.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The time that a message may still take after the service begins to stop.
const GRACE: Duration = Duration::from_secs(1);

/// A body that fails with UNAVAILABLE if the service stops before it is complete.
/// [`ErrorDetailsLayer`](super::error_details::ErrorDetailsLayer) adds the details.
pub struct RequestBody {
    body: Incoming,
    stop: CancellationToken,
    /// Set while the body waits for the client.
    stopped: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl RequestBody {
    /// Wraps a body. `stop` is cancelled when the service begins to stop.
    pub fn new(body: Incoming, stop: &CancellationToken) -> Self {
        Self { body, stop: stop.clone(), stopped: None }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.stopped = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))));
        }
        let stop = self.stop.clone();
        let stopped = self.stopped.get_or_insert_with(|| {
            Box::pin(async move {
                stop.cancelled().await;
                tokio::time::sleep(GRACE).await;
            })
        });
        stopped.as_mut().poll(context).map(|()| Some(Err(Status::unavailable("the service is stopping"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
