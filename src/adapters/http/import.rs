//! The import over REST: NDJSON rows in, NDJSON results out.
//!
//! A line is read only when the use case takes a row, and the use case runs only
//! as fast as the client reads results, so memory is constant.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use super::gateway::Shared;
use super::large_texts::LargeTexts;
use super::lines::{Lines, LinesError, NdjsonLine};
use super::problem::{Failure, ProblemContext};
use super::watch::{problem_line, stream_headers};
use super::{body, call, idempotency};
use crate::adapters::api::import_request;
use crate::app::ImportRequest;
use crate::domain::{Reason, Refusal};
use crate::proto::json;

/// The longest line, in bytes without the line end.
const MAX_LINE: usize = 64 * 1024;
/// The most results in one chunk of the answer.
const CHUNK: usize = 64;
/// The media types of rows. Answers use the first. Tools that send a file without
/// knowing its type use the last.
const ROW_TYPES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/octet-stream"];

/// Handles `ImportOrders`.
pub async fn import<S>(shared: Shared<S>, request: Request) -> Response {
    let context = ProblemContext::of(request.extensions());
    let (parts, body) = request.into_parts();
    let started = check(&parts).and_then(|()| {
        let lines = Lines::new(body.into_data_stream(), MAX_LINE, shared.options.request_memory.open());
        let call = shared.imports.begin(&parts.headers);
        shared.imports.run(&call, rows(lines, shared.options.stream_timeout, shared.large_texts.clone()))
    });
    match started {
        Ok(results) => respond(results, context),
        Err(refusal) => Failure::from(refusal).into_response(&context),
    }
}

fn check(parts: &http::request::Parts) -> Result<(), Refusal> {
    body::check_type(&parts.headers, &ROW_TYPES)?;
    call::no_query(parts)?;
    idempotency::forbid(&parts.headers)
}

/// Reads the lines as rows. A line that is not a row is a refused row; an
/// interrupted or stalled body ends the rows with an error.
fn rows(
    lines: Lines,
    timeout: Duration,
    large_texts: LargeTexts,
) -> impl Stream<Item = Result<ImportRequest, Refusal>> + Send {
    stream::unfold(Some(lines), move |lines| {
        let large_texts = large_texts.clone();
        async move {
            let mut lines = lines?;
            match tokio::time::timeout(timeout, lines.next()).await {
                Ok(Ok(Some(line))) => {
                    let size = if let NdjsonLine::Text(text) = &line { text.len() } else { 0 };
                    match large_texts.run(size, move || row(&line)).await {
                        Ok(row) => Some((Ok(row), Some(lines))),
                        Err(refusal) => Some((Err(refusal), None)),
                    }
                }
                Ok(Ok(None)) => None,
                Ok(Err(LinesError::Overloaded(refusal))) => Some((Err(refusal), None)),
                Ok(Err(LinesError::Interrupted)) => {
                    let refusal =
                        Refusal::unavailable("the stream of rows was interrupted", body::RETRY_DELAY);
                    Some((Err(refusal), None))
                }
                Err(_elapsed) => Some((Err(body::too_slow(timeout)), None)),
            }
        }
    })
}

fn row(line: &NdjsonLine) -> ImportRequest {
    let refused = |refusal| ImportRequest { order_id: String::new(), accept: Err(refusal) };
    match line {
        NdjsonLine::TooLong => refused(
            Refusal::new(Reason::TooLarge, format!("the line is longer than {MAX_LINE} bytes"))
                .with("limit_bytes", MAX_LINE),
        ),
        NdjsonLine::Text(text) => match json::parse(text) {
            Ok(message) => import_request(&message),
            Err(mut faults) => {
                // The index of the row gives the line of the body. The parser
                // sees one line, so its line number is always 1.
                for fault in &mut faults {
                    fault.description = fault.description.replace(" at line 1 column ", " at column ");
                }
                let mut refusal = call::refusal(faults, "the line");
                refusal.metadata.remove("line");
                refused(refusal)
            }
        },
    }
}

fn respond<T: Serialize + 'static>(
    results: impl Stream<Item = Result<T, Refusal>> + Send + 'static,
    context: ProblemContext,
) -> Response {
    let chunks = results.ready_chunks(CHUNK).map(move |results| {
        let mut text = Vec::new();
        for result in results {
            if let Err(refusal) = result.and_then(|result| write_line(&mut text, &result)) {
                let problem = Failure::from(refusal).into_problem(&context);
                text.extend_from_slice(&problem_line(&problem));
            }
        }
        Ok::<_, Infallible>(Bytes::from(text))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(ROW_TYPES[0]));
    stream_headers(response.headers_mut());
    response
}

fn write_line<T: Serialize>(text: &mut Vec<u8>, result: &T) -> Result<(), Refusal> {
    let before = text.len();
    serde_json::to_writer(&mut *text, result).map_err(|error| {
        tracing::error!(%error, "cannot write the result of an imported row as JSON");
        text.truncate(before);
        Refusal::internal()
    })?;
    text.push(b'\n');
    Ok(())
}
