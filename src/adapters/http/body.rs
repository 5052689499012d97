//! Request bodies: their type, their size, and how long they may take.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use tokio_util::sync::CancellationToken;

use super::HttpOptions;
use crate::domain::{Reason, Refusal};

/// How long a body may still take once the service stops.
const GRACE: Duration = Duration::from_secs(1);

/// How much of a body that is too large is read and thrown away, in bytes, and
/// for how long, so that a client that is still sending reads the answer.
const DISCARD: usize = 16 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// How long a caller should wait for a service that stops.
pub const RESTART: Duration = Duration::from_secs(1);

/// Checks the type of a body.
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

/// A whole body.
///
/// # Errors
/// `TOO_LARGE`; `DEADLINE_EXCEEDED` when it takes too long; `UNAVAILABLE` when
/// the service stops first; `VALIDATION_FAILED` when it breaks off.
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
        collected = collect(&mut data, limit) => collected,
        () = tokio::time::sleep(options.body_timeout) => return Err(too_slow(options.body_timeout)),
        () = stopped(shutdown) => return Err(stopping()),
    };
    match collected {
        Ok(Some(text)) => Ok(text),
        Ok(None) => {
            discard(data).await;
            Err(too_large(limit))
        }
        Err(_) => Err(Refusal::new(Reason::ValidationFailed, "the body broke off before its end")),
    }
}

/// The whole of a body; `None` when it is larger than the limit.
async fn collect(data: &mut BodyDataStream, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    let first = data.next().await.transpose()?.unwrap_or_default();
    if first.len() > limit {
        return Ok(None);
    }
    // Most bodies are one chunk, which needs no copy.
    let Some(second) = data.next().await.transpose()? else { return Ok(Some(first)) };
    let mut text = BytesMut::from(first);
    let mut chunk = second;
    loop {
        if text.len() + chunk.len() > limit {
            return Ok(None);
        }
        text.extend_from_slice(&chunk);
        match data.next().await.transpose()? {
            Some(next) => chunk = next,
            None => return Ok(Some(text.freeze())),
        }
    }
}

/// When the service has been stopping for a moment.
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
    // Whoever sends no more within the time gets the answer all the same.
    let _elapsed = tokio::time::timeout(DISCARD_TIME, read).await;
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(Reason::TooLarge, format!("the body is larger than {limit} bytes"))
        .with("limit_bytes", limit)
}

/// `DEADLINE_EXCEEDED`: a body did not arrive in time.
pub fn too_slow(timeout: Duration) -> Refusal {
    let seconds = timeout.as_secs();
    Refusal::new(
        Reason::DeadlineExceeded,
        format!("the body did not arrive within {seconds} s; nothing was done"),
    )
    .with("limit_seconds", seconds)
}

/// `UNAVAILABLE`: the service stops.
pub fn stopping() -> Refusal {
    Refusal::unavailable("the service is stopping", RESTART)
}
