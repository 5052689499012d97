//! What surrounds every call, over gRPC and REST alike: who asks, the
//! correlation id, the deadline, the drain, the log line, panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use super::status::to_status;
use crate::app::Caller;
use crate::domain::{Actor, Form, Refusal, Traceparent};
use crate::ports::Ids;

/// Who asks: `<kind>:<id>`.
pub const ACTOR: &str = "pvz-actor";
/// The correlation id.
pub const CORRELATION: &str = "x-request-id";
/// The trace that the call belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// How long the caller waits.
pub const TIMEOUT: &str = "grpc-timeout";
/// Set when a stored answer was given.
pub const REPLAYED: &str = "idempotent-replayed";
const MAX_CORRELATION: usize = 128;
/// Our deadline comes this much before the caller's, so that the answer with
/// its reason arrives before the transport's own, which has none.
const HEAD_START: Duration = Duration::from_millis(10);

/// What surrounds every call.
#[derive(Clone)]
pub struct CallContext {
    ids: Arc<dyn Ids>,
    request_timeout: Duration,
    drain: CancellationToken,
}

/// A call on its way through.
pub struct Call {
    /// Its name, for the log.
    pub method: &'static str,
    /// The correlation id, echoed and logged.
    pub correlation: String,
    /// When the caller stops waiting.
    pub deadline: Instant,
    actor: Result<Actor, &'static str>,
    traceparent: Option<Traceparent>,
    started: Instant,
    /// The caller itself said when it stops waiting.
    bounded: bool,
}

/// An answer, and whether it is a stored one.
pub struct Answered<T> {
    /// The message.
    pub message: T,
    /// It is the stored answer to an earlier request.
    pub replayed: bool,
}

impl<T> From<T> for Answered<T> {
    fn from(message: T) -> Self {
        Self { message, replayed: false }
    }
}

/// A refusal, and whether it is a stored one.
pub struct Refused {
    /// The refusal.
    pub refusal: Refusal,
    /// It is the stored answer to an earlier request.
    pub replayed: bool,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, replayed: false }
    }
}

impl CallContext {
    /// Calls without a deadline get `request_timeout`; a cancelled `drain`
    /// refuses new ones.
    pub fn new(ids: Arc<dyn Ids>, request_timeout: Duration, drain: CancellationToken) -> Self {
        Self { ids, request_timeout, drain }
    }

    /// Reads what surrounds a call.
    pub fn begin(&self, method: &'static str, metadata: &MetadataMap) -> Call {
        let started = Instant::now();
        let asked = metadata.get(TIMEOUT).and_then(|value| grpc_timeout(value.to_str().ok()?));
        let allowed = match asked {
            Some(asked) => asked.saturating_sub(HEAD_START.min(asked / 10)),
            None => self.request_timeout,
        };
        Call {
            method,
            correlation: correlation(metadata).unwrap_or_else(|| self.ids.correlation_id()),
            deadline: started + allowed,
            actor: actor(metadata),
            traceparent: traceparent(metadata),
            started,
            bounded: asked.is_some(),
        }
    }

    /// Runs a call to its answer.
    pub async fn unary<Q, A, F>(
        &self,
        method: &'static str,
        request: Request<Q>,
        handler: impl FnOnce(Q, Form, Call) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<Answered<A>, Refused>>,
    {
        let (metadata, _, message) = request.into_parts();
        let call = self.begin(method, &metadata);
        drop(metadata);
        let (correlation, started, deadline) = (call.correlation.clone(), call.started, call.deadline);
        let form = call.form();
        let answer = if self.drain.is_cancelled() {
            Err(stopping().into())
        } else {
            let running = AssertUnwindSafe(handler(message, form, call)).catch_unwind();
            match timeout_at(deadline, running).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(panicked(method)),
                Err(_) => Err(Refusal::deadline_exceeded().into()),
            }
        };
        log(method, &correlation, started, answer.as_ref().err().map(|refused| &refused.refusal));
        finish(answer, &correlation)
    }

    /// Whether the service takes new work.
    pub fn admit(&self) -> Result<(), Refusal> {
        if self.drain.is_cancelled() { Err(stopping()) } else { Ok(()) }
    }

    /// Ends streams.
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }
}

impl Call {
    /// The form of the request, with the fault of its headers already in it.
    pub fn form(&self) -> Form {
        let mut form = Form::default();
        if let Err(description) = self.actor {
            form.fault(ACTOR, description);
        }
        form
    }

    /// Who asks. Only read once the form was found without fault.
    pub fn caller(&self) -> Caller {
        let actor = self.actor.clone().unwrap_or_else(|_| Actor::anonymous());
        let traceparent = self.traceparent.clone();
        Caller { actor, scope: String::new(), traceparent, deadline: self.deadline }
    }

    /// A stream that ends with `DEADLINE_EXCEEDED` when the caller's own
    /// deadline passes; without one it goes on for ever.
    pub fn bound<T: Send + 'static>(
        &self,
        items: impl Stream<Item = Result<T, Refusal>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, Status>> {
        enum Step<T> {
            Item(T),
            End,
        }
        let correlation = self.correlation.clone();
        let with_status =
            move |item: Result<T, Refusal>| item.map_err(|refusal| failed(&refusal, &correlation));
        if !self.bounded {
            return items.map(with_status).boxed();
        }
        let late = stream::once(tokio::time::sleep_until(self.deadline))
            .flat_map(|()| stream::iter([Step::Item(Err(Refusal::deadline_exceeded())), Step::End]));
        let items = items.map(Step::Item).chain(stream::once(std::future::ready(Step::End)));
        let steps = stream::select(items, late);
        steps
            .scan((), |(), step| {
                std::future::ready(match step {
                    Step::Item(item) => Some(item),
                    Step::End => None,
                })
            })
            .map(with_status)
            .boxed()
    }

    /// Writes the log line of a stream, at its end.
    pub fn log(&self, refusal: Option<&Refusal>) {
        log(self.method, &self.correlation, self.started, refusal);
    }
}

/// A refusal as the status of a call.
pub fn failed(refusal: &Refusal, correlation: &str) -> Status {
    let mut status = to_status(refusal);
    decorate(status.metadata_mut(), correlation, false);
    status
}

/// The refusal of a service that drains.
pub fn stopping() -> Refusal {
    Refusal::unavailable("the service is stopping", Duration::from_secs(1))
}

fn panicked(method: &'static str) -> Refused {
    tracing::error!(method, "a call panicked");
    Refusal::internal().into()
}

fn log(method: &'static str, correlation: &str, started: Instant, refusal: Option<&Refusal>) {
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let reason = refusal.map_or("OK", |refusal| refusal.reason.name());
    // What was done is in the log of events; to write each call down once more
    // would cost a sixth of the throughput. What was refused is nowhere else.
    match refusal {
        None => {
            tracing::debug!(target: "pvz::calls", method, reason, request_id = correlation, elapsed_us, "call");
        }
        Some(_) => {
            tracing::info!(target: "pvz::calls", method, reason, request_id = correlation, elapsed_us, "call");
        }
    }
}

/// The answer with what surrounds it.
fn finish<A>(answer: Result<Answered<A>, Refused>, correlation: &str) -> Result<Response<A>, Status> {
    match answer {
        Ok(Answered { message, replayed }) => {
            let mut response = Response::new(message);
            decorate(response.metadata_mut(), correlation, replayed);
            Ok(response)
        }
        Err(Refused { refusal, replayed }) => {
            let mut status = to_status(&refusal);
            decorate(status.metadata_mut(), correlation, replayed);
            Err(status)
        }
    }
}

/// Writes the correlation id, and whether the answer is a stored one.
pub fn decorate(metadata: &mut MetadataMap, correlation: &str, replayed: bool) {
    if let Ok(value) = MetadataValue::try_from(correlation) {
        metadata.insert(CORRELATION, value);
    }
    if replayed {
        metadata.insert(REPLAYED, MetadataValue::from_static("true"));
    }
}

fn actor(metadata: &MetadataMap) -> Result<Actor, &'static str> {
    let mut values = metadata.get_all(ACTOR).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Actor::anonymous()),
        (Some(_), Some(_)) => Err("must be given once"),
        (Some(value), None) => Actor::parse(value.to_str().map_err(|_| "must be visible ASCII characters")?),
    }
}

/// The trace, if there is exactly one and it is valid.
fn traceparent(metadata: &MetadataMap) -> Option<Traceparent> {
    let mut values = metadata.get_all(TRACEPARENT).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    Traceparent::parse(value.to_str().ok()?)
}

/// The caller's correlation id, if it is one to echo.
pub fn correlation(metadata: &MetadataMap) -> Option<String> {
    let value = metadata.get(CORRELATION)?.to_str().ok()?;
    let fits = (1..=MAX_CORRELATION).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| value.to_owned())
}

/// The `grpc-timeout` header: up to eight digits and a unit.
pub fn grpc_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let count: u64 = if digits.len() <= 8 { digits.parse().ok()? } else { return None };
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}
