//! Call context: actor, correlation id, trace, deadline, drain and log line of
//! every call, over gRPC and REST alike. It also catches panics.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{FutureExt as _, Stream};
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Answers, RequestMemory};
use crate::app::Caller;
use crate::domain::{Actor, Form, Refusal, Traceparent, echo};
use crate::ports::Ids;

/// Header of the actor: `<kind>:<id>`.
pub const ACTOR: &str = "pvz-actor";
/// Header of the correlation id.
pub const CORRELATION_ID: &str = "x-request-id";
/// Header of the trace context.
const TRACEPARENT: &str = "traceparent";
/// Header of the caller's timeout.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Header of an answer that was stored under the idempotency key.
pub const REPLAYED: &str = "idempotent-replayed";
/// The longest correlation id that is accepted from a caller, in bytes.
const MAX_CORRELATION_ID: usize = 128;
/// The most orders that a log line names.
const MAX_LOGGED_ORDERS: usize = 8;
/// The server's deadline is this much earlier than the caller's, so that the
/// refusal with its reason arrives before the transport's error without one.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

/// Begins and ends calls. Clones share it.
#[derive(Clone)]
pub struct CallContext {
    ids: Arc<dyn Ids>,
    request_timeout: Duration,
    drain: CancellationToken,
    memory: RequestMemory,
}

/// A call in progress.
pub struct Call {
    /// The correlation id, echoed and logged.
    pub correlation_id: String,
    deadline: Instant,
    /// True if the deadline is the caller's own.
    has_own_deadline: bool,
    actor: Result<Actor, &'static str>,
    traceparent: Option<Traceparent>,
    log: Arc<CallLog>,
}

/// The log line of a call.
struct CallLog {
    method: &'static str,
    correlation_id: String,
    /// `None` if it is malformed.
    actor: Option<Actor>,
    /// The first orders that the request names.
    orders: OnceLock<String>,
    started: Instant,
}

/// An answer.
pub struct Answered<T> {
    /// The message.
    pub message: T,
    /// True if it is the stored answer to an earlier request.
    pub replayed: bool,
}

impl<T> Answered<T> {
    /// Maps the message.
    pub fn map<U>(self, message: impl FnOnce(T) -> U) -> Answered<U> {
        Answered { message: message(self.message), replayed: self.replayed }
    }
}

impl<T> From<T> for Answered<T> {
    fn from(message: T) -> Self {
        Self { message, replayed: false }
    }
}

/// A refused call.
pub struct Refused {
    /// The refusal.
    pub refusal: Refusal,
    /// True if it is the stored answer to an earlier request.
    pub replayed: bool,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, replayed: false }
    }
}

impl CallContext {
    /// Creates a call context. Calls without a deadline get `request_timeout`; a cancelled `drain`
    /// refuses new calls. Streams of answers share `memory` with incomplete requests.
    pub fn new(
        ids: Arc<dyn Ids>,
        request_timeout: Duration,
        drain: CancellationToken,
        memory: RequestMemory,
    ) -> Self {
        Self { ids, request_timeout, drain, memory }
    }

    /// Begins a call with these headers.
    pub fn begin(&self, method: &'static str, headers: &HeaderMap) -> Call {
        let started = Instant::now();
        let requested = headers.get(GRPC_TIMEOUT).and_then(|value| grpc_timeout(value.to_str().ok()?));
        let allowed = match requested {
            Some(requested) => requested.saturating_sub(DEADLINE_MARGIN.min(requested / 10)),
            None => self.request_timeout,
        };
        let (correlation_id, actor) = (correlation_id(headers, self.ids.as_ref()), actor(headers));
        Call {
            correlation_id: correlation_id.clone(),
            deadline: started + allowed,
            has_own_deadline: requested.is_some(),
            log: Arc::new(CallLog {
                method,
                correlation_id,
                actor: actor.clone().ok(),
                orders: OnceLock::new(),
                started,
            }),
            actor,
            traceparent: traceparent(headers),
        }
    }

    /// Runs the handler of a call until its deadline, and writes the log line.
    pub async fn run<A, F>(
        &self,
        call: Call,
        handler: impl FnOnce(Form, Call) -> F,
    ) -> Result<Answered<A>, Refused>
    where
        F: Future<Output = Result<Answered<A>, Refused>>,
    {
        let (line, deadline) = (Arc::clone(&call.log), call.deadline);
        let answer = if let Err(refusal) = self.admit() {
            Err(refusal.into())
        } else {
            let running = AssertUnwindSafe(handler(call.form(), call)).catch_unwind();
            match timeout_at(deadline, running).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_panic)) => {
                    tracing::error!(
                        method = line.method,
                        request_id = line.correlation_id,
                        orders = line.orders.get(),
                        "a call panicked"
                    );
                    Err(Refusal::internal().into())
                }
                Err(_elapsed) => Err(Refusal::deadline_exceeded().into()),
            }
        };
        line.write(answer.as_ref().err().map(|refused| &refused.refusal));
        answer
    }

    /// Refuses new work while the service drains.
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub fn admit(&self) -> Result<(), Refusal> {
        if self.drain.is_cancelled() { Err(Refusal::stopping()) } else { Ok(()) }
    }

    /// Spawns a task that produces the answers. It ends with `DEADLINE_EXCEEDED` when the caller's
    /// own deadline passes. Without a deadline, the stream may last for any time.
    ///
    /// # Errors
    /// `OVERLOADED` if the open streams use all of their memory.
    pub fn stream<T: Send + 'static>(
        &self,
        call: &Call,
        items: impl Stream<Item = Result<T, Refusal>> + Send + 'static,
    ) -> Result<Answers<T>, Refusal> {
        let account = self.memory.open_stream()?;
        Ok(Answers::spawn(items, call.has_own_deadline.then_some(call.deadline), account))
    }
}

impl Call {
    /// Returns the form of the request. It already contains the violation of a
    /// malformed actor.
    pub fn form(&self) -> Form {
        let mut form = Form::default();
        if let Err(description) = self.actor {
            form.fault(ACTOR, description);
        }
        form
    }

    /// Returns the caller. Valid only after the form was found valid.
    pub fn caller(&self) -> Caller {
        let actor = self.actor.clone().unwrap_or_else(|_| Actor::anonymous());
        let traceparent = self.traceparent.clone();
        Caller { actor, scope: String::new(), traceparent, deadline: self.deadline }
    }

    /// Names the orders of the request in the log line, as the request spells them.
    pub fn names_orders<'m>(&self, order_ids: impl IntoIterator<Item = &'m str>) {
        let mut order_ids = order_ids.into_iter();
        let first: Vec<String> = order_ids.by_ref().take(MAX_LOGGED_ORDERS).map(echo).collect();
        let more = match order_ids.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        // A second call would be of the same request.
        _ = self.log.orders.set(first.join(" ") + &more);
    }

    /// Writes the log line of a call that answers with a stream.
    pub fn log(&self, refusal: Option<&Refusal>) {
        self.log.write(refusal);
    }
}

impl CallLog {
    /// Successful calls are logged at debug level only, because the event log
    /// records their effects and a line per call costs throughput. A refusal is
    /// recorded nowhere else.
    fn write(&self, refusal: Option<&Refusal>) {
        let elapsed_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let reason = refusal.map_or("OK", |refusal| refusal.reason.name());
        let Self { method, correlation_id: request_id, actor, orders, .. } = self;
        let (actor, orders) = (actor.as_ref().map(tracing::field::display), orders.get());
        if refusal.is_some() {
            tracing::info!(target: "pvz::calls", method, actor, orders, reason, request_id, elapsed_us, "call");
        } else {
            tracing::debug!(target: "pvz::calls", method, actor, orders, reason, request_id, elapsed_us, "call");
        }
    }
}

fn actor(headers: &HeaderMap) -> Result<Actor, &'static str> {
    let mut values = headers.get_all(ACTOR).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Actor::anonymous()),
        (Some(_), Some(_)) => Err("must be given once"),
        (Some(value), None) => Actor::parse(value.to_str().map_err(|_| "must be visible ASCII characters")?),
    }
}

/// Returns the trace context if there is exactly one and it is valid.
fn traceparent(headers: &HeaderMap) -> Option<Traceparent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    Traceparent::parse(value.to_str().ok()?)
}

/// Returns the caller's correlation id, or a new one if it is absent, too long,
/// or not visible ASCII.
pub fn correlation_id(headers: &HeaderMap, ids: &dyn Ids) -> String {
    let given = headers.get(CORRELATION_ID).and_then(|value| value.to_str().ok());
    let valid = given.filter(|id| {
        (1..=MAX_CORRELATION_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    });
    valid.map_or_else(|| ids.correlation_id(), str::to_owned)
}

/// Parses a `grpc-timeout` header: up to eight digits and a unit.
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
