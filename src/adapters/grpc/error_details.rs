//! Details for the errors that tonic generates itself (an unknown method, a message that is too
//! large or cannot be decoded), which have none: every refusal carries a reason.
//!
//! The layer also answers calls whose deadline passes before they reach the
//! service.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::respond::refuse;
use super::status::broken_stream;
use crate::adapters::api::{CORRELATION_ID, GRPC_TIMEOUT, correlation_id, grpc_timeout};
use crate::domain::{Reason, Refusal};
use crate::ports::Ids;

/// The deadline of this layer is this much earlier than the caller's, so that the
/// reason arrives before the error of the caller's own transport.
const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

/// Adds details to statuses that have none.
#[derive(Clone)]
pub struct ErrorDetailsLayer {
    /// Generates correlation ids for calls without one.
    pub ids: Arc<dyn Ids>,
    /// Timeout of a call without a deadline until its answer, or the start of
    /// its stream. The service enforces its own; this one is for a request that
    /// never arrives completely, and so never reaches the service.
    pub timeout: Duration,
}

impl<S> Layer<S> for ErrorDetailsLayer {
    type Service = ErrorDetails<S>;

    fn layer(&self, inner: S) -> ErrorDetails<S> {
        ErrorDetails { inner, layer: self.clone() }
    }
}

/// The service that [`ErrorDetailsLayer`] creates.
#[derive(Clone)]
pub struct ErrorDetails<S> {
    inner: S,
    layer: ErrorDetailsLayer,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S, Q, B> Service<Request<Q>> for ErrorDetails<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let deadline = deadline(request.headers(), self.layer.timeout);
        // Parsed only when an answer turns out to have no details.
        let given_id = request.headers().get(CORRELATION_ID).cloned();
        let ids = Arc::clone(&self.layer.ids);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let refusal = match before(deadline, answer).await {
                None => Refusal::deadline_exceeded(),
                Some(response) => {
                    let response = response?;
                    let Some(refusal) = refusal_without_details(&response) else { return Ok(response) };
                    refusal
                }
            };
            let headers: HeaderMap =
                given_id.map(|id| (http::HeaderName::from_static(CORRELATION_ID), id)).into_iter().collect();
            let correlation_id = correlation_id(&headers, ids.as_ref());
            Ok(refuse(refusal, &correlation_id, false).into_http())
        })
    }
}

/// Returns the deadline of the call by its `grpc-timeout`. The call context,
/// which sees most calls, has a larger margin.
fn deadline(headers: &HeaderMap, timeout: Duration) -> Option<Instant> {
    let requested = headers.get(GRPC_TIMEOUT).and_then(|value| grpc_timeout(value.to_str().ok()?));
    let allowed = requested.map_or(timeout + DEADLINE_MARGIN, |requested| {
        requested.saturating_sub(DEADLINE_MARGIN.min(requested / 20))
    });
    Instant::now().checked_add(allowed)
}

/// Returns the answer, or `None` if the deadline passes first. A call whose
/// deadline has passed is not started. The clock is read on every poll, because
/// timers are accurate only to a millisecond.
async fn before<A: Future>(deadline: Option<Instant>, answer: A) -> Option<A::Output> {
    let Some(deadline) = deadline else { return Some(answer.await) };
    let mut answer = std::pin::pin!(answer);
    let mut timer = std::pin::pin!(tokio::time::sleep_until(deadline));
    std::future::poll_fn(|context| {
        if Instant::now() < deadline
            && let Poll::Ready(answer) = answer.as_mut().poll(context)
        {
            return Poll::Ready(Some(answer));
        }
        let late = Instant::now() >= deadline || timer.as_mut().poll(context).is_ready();
        if late { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// Returns the refusal for a status without details; `None` for a success, and
/// for a status that has details.
fn refusal_without_details<B>(response: &Response<B>) -> Option<Refusal> {
    let headers = response.headers();
    headers.get(Status::GRPC_STATUS)?;
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::Ok || !status.details().is_empty() {
        return None;
    }
    Some(match status.code() {
        Code::Unimplemented => Refusal::new(
            Reason::RouteNotFound,
            "the service has no such method, or does not support the encoding of the message",
        ),
        Code::OutOfRange | Code::ResourceExhausted | Code::Internal | Code::InvalidArgument => {
            broken_stream(&status)
        }
        Code::DeadlineExceeded | Code::Cancelled => Refusal::deadline_exceeded(),
        Code::Unavailable => Refusal::stopping(),
        // Health and reflection have errors of their own with these codes.
        _ => return None,
    })
}
