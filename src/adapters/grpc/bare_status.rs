//! Errors that tonic makes itself (an unknown method, a message that is too
//! large or cannot be decoded) come without details. Every refusal carries a
//! reason, so they are completed here. Its timeout surrounds this, out of
//! reach, so a call whose deadline passes is answered here before tonic does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::call_context::{correlation, failed, grpc_timeout};
use super::import::broken;
use crate::domain::{Reason, Refusal};
use crate::ports::Ids;

/// By how much a late call is answered before tonic would.
const HEAD_START: Duration = Duration::from_millis(5);

/// Completes bare statuses.
#[derive(Clone)]
pub struct BareStatusLayer {
    /// Makes correlation ids for calls without one.
    pub ids: Arc<dyn Ids>,
    /// How long a call without a deadline may take to be answered, a stream to
    /// begin. The service counts down by itself; this is for a request that
    /// never arrives whole, and so never gets there.
    pub timeout: Duration,
}

impl<S> Layer<S> for BareStatusLayer {
    type Service = BareStatus<S>;

    fn layer(&self, inner: S) -> BareStatus<S> {
        BareStatus { inner, layer: self.clone() }
    }
}

/// The service that [`BareStatusLayer`] makes.
#[derive(Clone)]
pub struct BareStatus<S> {
    inner: S,
    layer: BareStatusLayer,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S, Q, B> Service<Request<Q>> for BareStatus<S>
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
        // The headers are only looked at when an answer turns out to be bare.
        let asked = request.headers().get(super::call_context::CORRELATION).cloned();
        let ids = Arc::clone(&self.layer.ids);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let refusal = match in_time(deadline, answer).await {
                None => Refusal::deadline_exceeded(),
                Some(response) => {
                    let response = response?;
                    let Some(refusal) = bare_refusal(&response) else { return Ok(response) };
                    refusal
                }
            };
            let mut headers = http::HeaderMap::new();
            if let Some(value) = asked {
                headers.insert(super::call_context::CORRELATION, value);
            }
            let correlation =
                correlation(&MetadataMap::from_headers(headers)).unwrap_or_else(|| ids.correlation_id());
            Ok(failed(&refusal, &correlation).into_http())
        })
    }
}

/// When the call must be answered, by its `grpc-timeout`. What knows the call
/// counts down with a longer head start; this is for what never got so far.
fn deadline(headers: &http::HeaderMap, timeout: Duration) -> Option<Instant> {
    let asked =
        headers.get(super::call_context::TIMEOUT).and_then(|value| grpc_timeout(value.to_str().ok()?));
    let allowed =
        asked.map_or(timeout + HEAD_START, |asked| asked.saturating_sub(HEAD_START.min(asked / 20)));
    Instant::now().checked_add(allowed)
}

/// The answer, unless the deadline passes first. A call whose deadline has
/// passed is not begun. The clock is read whenever the call is looked at,
/// because timers are only accurate to a millisecond.
async fn in_time<A: Future>(deadline: Option<Instant>, answer: A) -> Option<A::Output> {
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

/// The refusal that a bare status stands for; `None` for a success, and for a
/// status that has details.
fn bare_refusal<B>(response: &Response<B>) -> Option<Refusal> {
    let headers = response.headers();
    headers.get(Status::GRPC_STATUS)?;
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::Ok || !status.details().is_empty() {
        return None;
    }
    Some(match status.code() {
        Code::Unimplemented => {
            Refusal::new(Reason::RouteNotFound, "the service has no such method, or not in that encoding")
        }
        Code::OutOfRange | Code::ResourceExhausted | Code::Internal | Code::InvalidArgument => {
            broken(&status)
        }
        Code::DeadlineExceeded | Code::Cancelled => Refusal::deadline_exceeded(),
        // Health and reflection answer these of their own; they are not ours
        // to name.
        _ => return None,
    })
}
