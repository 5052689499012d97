//! A stream both ways: rows as NDJSON in, a result for each out, as they are
//! done. Rows are read only as fast as the service takes them, and the service
//! is asked only as fast as the client reads: memory is constant.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _, TryFutureExt as _, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::gateway::Shared;
use super::lines::{BrokenOff, Lines, NdjsonLine};
use super::problem::Failure;
use super::watch::{problem_line, stream_headers};
use super::{body, call, idempotency};
use crate::adapters::proto_mapping;
use crate::domain::{Reason, Refusal};
use crate::proto::{json, v1};

/// The longest line, in bytes without its end.
pub const MAX_LINE: usize = 64 * 1024;

/// How many results of broken lines wait for the client before no more lines
/// are read.
const WAITING: usize = 64;

/// The most results in one chunk of the answer.
const CHUNK: usize = 64;

/// The media types of rows; the first is the one that is told.
pub const ROW_TYPES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// What the contract says about a stream both ways.
pub struct Import<Row, Q, A> {
    /// The request that carries a row.
    pub wrap: fn(Row) -> Q,
    /// The place of the row's index in an answer.
    pub index: fn(&mut A) -> &mut i64,
    /// The answer to a row that the service never sees.
    pub refused: fn(i64, v1::OrderResult) -> A,
}

/// Handles a method with streams both ways.
pub async fn import<S, Row, Q, A, St, F, R>(
    shared: Shared<S>,
    request: Request,
    rules: Import<Row, Q, A>,
    method: F,
) -> Response
where
    Row: DeserializeOwned + Send + 'static,
    Q: prost::Message + Default + Send + 'static,
    A: Serialize + Send + 'static,
    St: Stream<Item = Result<A, Status>> + Send + 'static,
    S: Send + Sync + 'static,
    F: FnOnce(Arc<S>, tonic::Request<Streaming<Q>>) -> R,
    R: Future<Output = Result<tonic::Response<St>, Status>> + Send + 'static,
{
    let correlation_id = call::settled(request.headers());
    let (parts, body) = request.into_parts();
    if let Err(refusal) = check(&parts) {
        return Failure::from(refusal).into_response(&correlation_id);
    }
    let (broken, mut broken_results) = mpsc::channel(WAITING);
    let places = Places::default();
    let ending = Ending::default();
    let rows = Rows {
        lines: Lines::new(body.into_data_stream(), MAX_LINE),
        rules: Rules { wrap: rules.wrap, refused: rules.refused },
        next: 0,
        sent: 0,
        places: places.clone(),
        broken,
        ending: ending.clone(),
        shared: shared.clone(),
    };
    let input = Streaming::new_request(
        tonic_prost::ProstDecoder::<Q>::default(),
        http_body_util::StreamBody::new(rows.frames()),
        None,
        None,
    );
    let mut answered = Box::pin(method(shared.service.clone(), call::request(parts.headers, input)));
    // The answer begins when the service answers, or at the first broken line:
    // a service that waits for its first row must not hold that up.
    let (headers, first, results): (_, _, Results<A>) = tokio::select! {
        reply = &mut answered => match reply {
            Ok(reply) => {
                let (metadata, results, _) = reply.into_parts();
                (metadata.into_headers(), None, Box::pin(results))
            }
            Err(status) => return Failure::from(status).into_response(&correlation_id),
        },
        Some(first) = broken_results.recv() => {
            let results = answered.map(|reply| reply.map(tonic::Response::into_inner)).try_flatten_stream();
            (HeaderMap::new(), Some(first), Box::pin(results))
        }
    };
    let index = rules.index;
    let results = results.map(move |result| result.map(|answer| places.restore(answer, index)));
    let merged = Merged { results: Box::pin(results), broken: broken_results, first, ending };
    respond(headers, merged, correlation_id)
}

type Results<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

fn check(parts: &http::request::Parts) -> Result<(), Refusal> {
    body::check_type(&parts.headers, &ROW_TYPES)?;
    call::no_query(parts)?;
    idempotency::forbid(&parts.headers)
}

fn respond<A>(headers: HeaderMap, merged: Merged<A>, correlation_id: String) -> Response
where
    A: Serialize + Send + 'static,
{
    let chunks = merged.into_stream().ready_chunks(CHUNK).map(move |results| {
        let mut text = Vec::new();
        for result in results {
            match result.and_then(|answer| line(&mut text, &answer)) {
                Ok(()) => {}
                Err(failure) => text.extend_from_slice(&problem_line(&failure.into_problem(&correlation_id))),
            }
        }
        Ok::<_, Infallible>(Bytes::from(text))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(ROW_TYPES[0]));
    stream_headers(response.headers_mut());
    response
}

fn line<A: Serialize>(text: &mut Vec<u8>, answer: &A) -> Result<(), Failure> {
    let before = text.len();
    serde_json::to_writer(&mut *text, answer).map_err(|error| {
        tracing::error!(%error, "a result of an import cannot be written as JSON");
        text.truncate(before);
        Refusal::internal()
    })?;
    text.push(b'\n');
    Ok(())
}

/// Which line each row of the service was, for rows after a broken line. Holds
/// only rows that are on their way.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<HashMap<i64, i64>>>);

impl Places {
    fn remember(&self, sent: i64, line: i64) {
        if sent != line {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(sent, line);
        }
    }

    fn restore<A>(&self, mut answer: A, index: fn(&mut A) -> &mut i64) -> A {
        let place = index(&mut answer);
        if let Some(line) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(place) {
            *place = line;
        }
        answer
    }
}

/// Why the gateway stopped reading rows before the client had sent all.
#[derive(Clone, Default)]
struct Ending(Arc<Mutex<Option<Refusal>>>);

impl Ending {
    fn set(&self, refusal: Refusal) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    fn take(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Rules<Row, Q, A> {
    wrap: fn(Row) -> Q,
    refused: fn(i64, v1::OrderResult) -> A,
}

/// The rows of a body on their way to the service.
struct Rows<S, Row, Q, A> {
    lines: Lines,
    rules: Rules<Row, Q, A>,
    /// The index of the next line.
    next: i64,
    /// How many rows the service was given.
    sent: i64,
    places: Places,
    broken: mpsc::Sender<A>,
    ending: Ending,
    shared: Shared<S>,
}

impl<S, Row, Q, A> Rows<S, Row, Q, A>
where
    S: Send + Sync + 'static,
    Row: DeserializeOwned + Send + 'static,
    Q: prost::Message + 'static,
    A: Send + 'static,
{
    /// The rows as tonic frames messages.
    fn frames(self) -> impl Stream<Item = Result<http_body::Frame<Bytes>, Status>> + Send {
        stream::unfold(self, |mut rows| async move {
            let row = rows.next().await.transpose()?;
            Some((row.map(|message| http_body::Frame::data(frame(&message))), rows))
        })
    }

    /// The next row that can be read; the results of others are told here.
    async fn next(&mut self) -> Result<Option<Q>, Status> {
        loop {
            let line = tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => {
                    self.ending.set(body::stopping());
                    return Ok(None);
                }
                line = tokio::time::timeout(self.shared.options.stream_timeout, self.lines.next()) => line,
            };
            let line = match line {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(broken @ BrokenOff)) => return Err(Status::cancelled(broken.to_string())),
                Err(_elapsed) => {
                    self.ending.set(body::too_slow(self.shared.options.stream_timeout));
                    return Ok(None);
                }
            };
            let index = self.next;
            self.next += 1;
            match parse(&line) {
                Ok(row) => {
                    self.places.remember(self.sent, index);
                    self.sent += 1;
                    return Ok(Some((self.rules.wrap)(row)));
                }
                Err(refusal) => self.tell(index, &refusal).await,
            }
        }
    }

    async fn tell(&mut self, index: i64, refusal: &Refusal) {
        let outcome = v1::order_result::Outcome::Refusal(proto_mapping::refusal(refusal));
        let result = v1::OrderResult { order_id: String::new(), outcome: Some(outcome) };
        // Nobody listens any more when the client has gone.
        let _gone = self.broken.send((self.rules.refused)(index, result)).await;
    }
}

fn parse<Row: DeserializeOwned>(line: &NdjsonLine) -> Result<Row, Refusal> {
    match line {
        NdjsonLine::TooLong => {
            Err(Refusal::new(Reason::TooLarge, format!("the line is longer than {MAX_LINE} bytes"))
                .with("limit_bytes", MAX_LINE))
        }
        NdjsonLine::Text(text) => json::parse(text).map_err(|mut fault| {
            // The line of the file is the row's index; the one of the text is
            // always the first.
            fault.description = fault.description.replace(" at line 1 column ", " at column ");
            let mut refusal = call::refusal(fault, "the line");
            refusal.metadata.remove("line");
            refusal
        }),
    }
}

/// A message as gRPC frames it: not compressed, its length, its bytes.
fn frame(message: &impl prost::Message) -> Bytes {
    let mut framed = Vec::with_capacity(5 + message.encoded_len());
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.encoded_len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message.encode_to_vec());
    framed.into()
}

/// The results of the service and of broken lines, as they are done.
struct Merged<A> {
    results: Results<A>,
    broken: mpsc::Receiver<A>,
    first: Option<A>,
    ending: Ending,
}

impl<A: Send + 'static> Merged<A> {
    fn into_stream(self) -> impl Stream<Item = Result<A, Failure>> + Send {
        stream::unfold(Some(self), |merged| async move { merged?.next().await })
    }

    async fn next(mut self) -> Option<(Result<A, Failure>, Option<Self>)> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first), Some(self)));
        }
        let next = tokio::select! {
            Some(answer) = self.broken.recv() => return Some((Ok(answer), Some(self))),
            next = self.results.next() => next,
        };
        match next {
            Some(Ok(answer)) => Some((Ok(answer), Some(self))),
            Some(Err(status)) => Some((Err(Failure::from(status)), None)),
            // The service has ended, so every broken line has been told.
            None => match (self.broken.recv().now_or_never().flatten(), self.ending.take()) {
                (Some(answer), ending) => {
                    if let Some(ending) = ending {
                        self.ending.set(ending);
                    }
                    self.results = Box::pin(stream::empty());
                    Some((Ok(answer), Some(self)))
                }
                (None, Some(ending)) => Some((Err(Failure::from(ending)), None)),
                (None, None) => None,
            },
        }
    }
}
