//! Request bodies: media type, size limit and timeout.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;

use super::HttpOptions;
use crate::adapters::api::{OPEN_REQUEST, RequestBytes};
use crate::domain::{Reason, Refusal};

/// The time that a body may still take after the service begins to stop.
const GRACE: Duration = Duration::from_secs(1);

/// The limits up to which the rest of a body that is too large is read and
/// discarded, in bytes and time. A client that is still sending would otherwise
/// not read the answer.
const DISCARD: usize = 16 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The delay after which a client should retry an interrupted request.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Checks the media type of a body, and that it is not compressed.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`.
pub fn check_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = given.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim());
    if !essence.is_some_and(|essence| accepted.iter().any(|one| essence.eq_ignore_ascii_case(one))) {
        let expected = accepted.first().copied().unwrap_or_default();
        let given = given.as_deref().unwrap_or_default();
        let sentence = if given.is_empty() {
            format!("the body needs the header content-type: {expected}")
        } else {
            format!("the content-type must be {expected}, not {}", crate::domain::echo(given))
        };
        return Err(Refusal::new(Reason::UnsupportedMediaType, sentence)
            .with("expected", expected)
            .with("content_type", given));
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let coding = String::from_utf8_lossy(coding.as_bytes());
            Err(Refusal::new(Reason::UnsupportedMediaType, "the body must not be compressed")
                .with("content_encoding", coding))
        }
        _ => Ok(()),
    }
}

/// Reads a whole body.
///
/// # Errors
/// `TOO_LARGE`; `OVERLOADED` if the request is evicted for other incomplete requests;
/// `DEADLINE_EXCEEDED` after the timeout; `UNAVAILABLE` if the service stops first;
/// `VALIDATION_FAILED` if the body is interrupted.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    options: &HttpOptions,
    shutdown: &CancellationToken,
) -> Result<Bytes, Refusal> {
    let limit = options.max_body;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        if !headers.contains_key(EXPECT) {
            discard(body.into_data_stream()).await;
        }
        return Err(too_large(limit));
    }
    let mut data = body.into_data_stream();
    let collected = tokio::select! {
        collected = collect(&mut data, limit, options.request_memory.open()) => collected,
        () = tokio::time::sleep(options.body_timeout) => return Err(too_slow(options.body_timeout)),
        () = stopped(shutdown) => return Err(Refusal::stopping()),
    };
    match collected {
        Ok(text) => Ok(text),
        Err(Incomplete::TooLarge) => {
            discard(data).await;
            Err(too_large(limit))
        }
        Err(Incomplete::Overloaded(refusal)) => Err(refusal),
        Err(Incomplete::Interrupted) => {
            Err(Refusal::new(Reason::ValidationFailed, "the body ended before it was complete"))
        }
    }
}

/// The reason why a body was not read to its end.
enum Incomplete {
    TooLarge,
    /// The request was evicted for others.
    Overloaded(Refusal),
    Interrupted,
}

/// Returns the next chunk of a body, of which `received` bytes have arrived. The request counts as
/// incomplete only while it waits for the client.
async fn next(
    data: &mut BodyDataStream,
    account: &mut RequestBytes,
    received: usize,
) -> Result<Option<Bytes>, Incomplete> {
    let chunk = if let Some(chunk) = data.next().now_or_never() {
        chunk
    } else {
        account.set(OPEN_REQUEST + received).map_err(Incomplete::Overloaded)?;
        tokio::select! {
            chunk = data.next() => chunk,
            refusal = account.evicted() => return Err(Incomplete::Overloaded(refusal)),
        }
    };
    chunk.transpose().map_err(|_| Incomplete::Interrupted)
}

/// Reads a whole body.
async fn collect(
    data: &mut BodyDataStream,
    limit: usize,
    mut account: RequestBytes,
) -> Result<Bytes, Incomplete> {
    let first = next(data, &mut account, 0).await?.unwrap_or_default();
    if first.len() > limit {
        return Err(Incomplete::TooLarge);
    }
    // Most bodies are a single chunk, which is complete and not copied.
    if data.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = next(data, &mut account, first.len()).await? else { return Ok(first) };
    let mut text = BytesMut::from(first);
    let mut chunk = second;
    loop {
        if text.len() + chunk.len() > limit {
            return Err(Incomplete::TooLarge);
        }
        text.extend_from_slice(&chunk);
        match next(data, &mut account, text.len()).await? {
            Some(more) => chunk = more,
            None => return Ok(text.freeze()),
        }
    }
}

/// Waits until the service has been stopping for [`GRACE`].
async fn stopped(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

async fn discard(mut data: BodyDataStream) {
    let mut left = DISCARD;
    let read = async {
        while let Some(Ok(chunk)) = data.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // The answer is sent even if the client is still sending.
    let _elapsed = tokio::time::timeout(DISCARD_TIME, read).await;
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(Reason::TooLarge, format!("the body is larger than {limit} bytes"))
        .with("limit_bytes", limit)
}

/// Returns `DEADLINE_EXCEEDED` for a body that did not arrive in time.
pub fn too_slow(timeout: Duration) -> Refusal {
    let seconds = timeout.as_secs();
    Refusal::new(
        Reason::DeadlineExceeded,
        format!("the body did not arrive within {seconds} s; the request had no effect"),
    )
    .with("limit_seconds", seconds)
}
