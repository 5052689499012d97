//! Event streams: NDJSON, or Server-Sent Events if the client accepts them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::call;
use super::gateway::Shared;
use super::problem::{Failure, Problem, ProblemContext};
use crate::domain::{Refusal, echo};

/// The properties of a method that answers with a stream.
pub struct Watch<Q, T> {
    /// The field of the cursor to continue from.
    pub after: fn(&mut Q) -> &mut Option<String>,
    /// The cursor of an item.
    pub cursor: fn(&T) -> Option<&str>,
}

/// The format of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Sse,
}

impl Format {
    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Sse => "text/event-stream",
        })
    }

    fn heartbeat(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Ndjson => b"\n",
            Self::Sse => b":\n\n",
        })
    }

    fn item<T: Serialize>(self, item: &T, cursor: Option<&str>) -> Result<Bytes, serde_json::Error> {
        let mut text = Vec::with_capacity(1024);
        if self == Self::Sse {
            if let Some(cursor) = cursor {
                text.extend_from_slice(format!("id: {cursor}\n").as_bytes());
            }
            text.extend_from_slice(b"data: ");
        }
        serde_json::to_writer(&mut text, item)?;
        text.extend_from_slice(if self == Self::Sse { b"\n\n" } else { b"\n" });
        Ok(text.into())
    }

    fn problem(self, problem: &Problem) -> Bytes {
        let line = problem_line(problem);
        match self {
            Self::Ndjson => line,
            Self::Sse => [b"event: problem\ndata: ".as_slice(), &line, b"\n"].concat().into(),
        }
    }
}

/// Returns the last line of a failed stream.
pub fn problem_line(problem: &Problem) -> Bytes {
    #[derive(Serialize)]
    struct ProblemLine<'p> {
        problem: &'p Problem,
    }
    let mut text = serde_json::to_vec(&ProblemLine { problem }).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Handles a method that answers with a stream.
pub async fn watch<S, Q, T, St, F, R>(
    shared: Shared<S>,
    request: Request,
    rules: Watch<Q, T>,
    method: F,
) -> Response
where
    Q: DeserializeOwned,
    T: Serialize + 'static,
    St: Stream<Item = Result<T, Status>> + Send + 'static,
    F: FnOnce(Arc<S>, tonic::Request<Q>) -> R,
    R: Future<Output = Result<tonic::Response<St>, Status>>,
{
    let context = ProblemContext::of(request.extensions());
    let format = format(request.headers());
    let started = async {
        let (mut parts, _) = request.into_parts();
        let mut message = call::bind(&mut parts).await?;
        resume(&parts.headers, (rules.after)(&mut message))?;
        let reply = method(shared.service.clone(), call::request(parts.headers, message)).await?;
        Ok::<_, Failure>(reply)
    };
    let reply = match started.await {
        Ok(reply) => reply,
        Err(failure) => return failure.into_response(&context),
    };
    let (metadata, items, _) = reply.into_parts();
    let events = EventStream {
        items: Box::pin(items),
        format,
        cursor: rules.cursor,
        heartbeat: shared.options.heartbeat,
        next_heartbeat: Instant::now() + shared.options.heartbeat,
        shutdown: shared.shutdown.clone(),
        context,
    };
    let chunks = stream::unfold(Some(events), |events| async move { events?.next().await });
    let mut response = Response::new(Body::from_stream(chunks.map(Ok::<_, std::convert::Infallible>)));
    let headers = response.headers_mut();
    *headers = metadata.into_headers();
    headers.insert(CONTENT_TYPE, format.media_type());
    headers.insert(VARY, HeaderValue::from_static("accept"));
    stream_headers(headers);
    response
}

/// Adds headers that keep caches and proxies from buffering a stream.
pub fn stream_headers(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

fn format(headers: &HeaderMap) -> Format {
    let accepts_sse = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|range| {
            let (essence, parameters) = range.split_once(';').unwrap_or((range, ""));
            let rejected = parameters.replace(' ', "").split(';').any(|one| {
                one.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
            });
            essence.trim().eq_ignore_ascii_case("text/event-stream") && !rejected
        })
    });
    if accepts_sse { Format::Sse } else { Format::Ndjson }
}

/// Replaces the cursor by that of `Last-Event-ID`: a client that reconnects
/// repeats the original query, so the header is newer.
fn resume(headers: &HeaderMap, after: &mut Option<String>) -> Result<(), Refusal> {
    if let Some(last) = headers.get("last-event-id") {
        let last = last.to_str().map_err(|_| Refusal::invalid("Last-Event-ID", "must be a cursor"))?;
        if !last.is_empty() {
            if !last.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Refusal::invalid(
                    "Last-Event-ID",
                    format!("must be a cursor, not {}", echo(last)),
                ));
            }
            *after = Some(last.to_owned());
        }
    }
    Ok(())
}

/// An event stream in progress.
struct EventStream<T> {
    items: Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>,
    format: Format,
    cursor: fn(&T) -> Option<&str>,
    heartbeat: Duration,
    next_heartbeat: Instant,
    shutdown: CancellationToken,
    context: ProblemContext,
}

impl<T: Serialize> EventStream<T> {
    /// Returns the next chunk, and the stream unless the chunk is the last. An
    /// item is taken only when the client can receive it, so a slow client slows
    /// only its own stream.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        let failure = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Failure::from(Refusal::stopping()),
            item = self.items.next() => match item {
                Some(Ok(item)) => match self.format.item(&item, (self.cursor)(&item)) {
                    Ok(bytes) => {
                        self.next_heartbeat = Instant::now() + self.heartbeat;
                        return Some((bytes, Some(self)));
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot write an item of a stream as JSON");
                        Failure::from(Refusal::internal())
                    }
                },
                Some(Err(status)) => Failure::from(status),
                None => return None,
            },
            () = sleep_until(self.next_heartbeat) => {
                self.next_heartbeat = Instant::now() + self.heartbeat;
                return Some((self.format.heartbeat(), Some(self)));
            }
        };
        Some((self.format.problem(&failure.into_problem(&self.context)), None))
    }
}
