//! Refusals as `google.rpc.Status`.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::{Any, Duration as ProtoDuration};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::pb::{
    BadRequest, ErrorInfo, RetryInfo, Status as RichStatus, bad_request::FieldViolation as PbViolation,
};

use crate::adapters::proto_mapping;
use crate::adapters::status::{RefusalSource, status_codes};
use crate::domain::{BatchRefusal, FieldViolation, Reason, Refusal};
use crate::proto::v1;

/// The `domain` of every `ErrorInfo`.
const DOMAIN: &str = "pvz";
/// The size limit of the details, in bytes. Clients reject trailers of more
/// than 8 KiB, and the details are sent there in base64: lists are cut to fit
/// (`docs/domain.md`, Refusals).
const DETAILS_LIMIT: usize = 6 * 1024;
/// The largest encoding overhead of a list entry, in bytes.
const ENTRY_OVERHEAD: usize = 8;
/// The largest encoding overhead of the status, in bytes.
const STATUS_OVERHEAD: usize = 512;
/// The longest message, in characters, so that it always fits next to the
/// details.
const MESSAGE_LIMIT: usize = 512;

/// Returns the refusal as a gRPC status: rich details that fit into trailers,
/// the `retry-after` metadata, and the whole refusal as its source, for REST.
pub fn to_status(refusal: Refusal) -> Status {
    let code = status_codes(refusal.reason).grpc;
    let message: String = refusal.message.chars().take(MESSAGE_LIMIT).collect();
    let details = details(&refusal, message.len());
    let rich = RichStatus { code: code as i32, message: message.clone(), details };
    let mut metadata = MetadataMap::new();
    if let Some(delay) = refusal.retry_after {
        let seconds = delay.as_millis().div_ceil(1_000).max(1);
        if let Ok(value) = MetadataValue::try_from(seconds.to_string()) {
            metadata.insert("retry-after", value);
        }
    }
    let mut status = Status::with_details_and_metadata(code, message, rich.encode_to_vec().into(), metadata);
    status.set_source(Arc::new(RefusalSource(refusal)));
    status
}

/// Returns the refusal for a request stream that tonic cannot read any further.
pub fn broken_stream(status: &Status) -> Refusal {
    if let Some(refusal) = RefusalSource::of(status) {
        return refusal.clone();
    }
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            Refusal::new(Reason::TooLarge, "a message is larger than the service accepts")
        }
        Code::Internal | Code::InvalidArgument => {
            Refusal::new(Reason::ValidationFailed, "a message cannot be decoded")
        }
        _ => Refusal::unavailable("the stream of rows was interrupted", Duration::from_secs(1)),
    }
}

fn details(refusal: &Refusal, message_length: usize) -> Vec<Any> {
    let mut details = vec![any(
        "google.rpc.ErrorInfo",
        &ErrorInfo {
            reason: refusal.reason.name().to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: refusal.metadata.clone().into_iter().collect(),
        },
    )];
    if let Some(delay) = refusal.retry_after {
        let retry_delay = ProtoDuration::try_from(delay).ok();
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    let used: usize = details.iter().map(|any| any.value.len() + any.type_url.len()).sum();
    let mut room = DETAILS_LIMIT.saturating_sub(used + message_length + STATUS_OVERHEAD);
    if !refusal.violations.is_empty() {
        details.push(any("google.rpc.BadRequest", &bad_request(&refusal.violations, &mut room)));
    }
    if let Some(batch) = &refusal.batch {
        details.push(any("pvz.v1.BatchRefusal", &batch_refusal(batch, &mut room)));
    }
    details
}

fn any(name: &str, message: &impl prost::Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// Returns as many violations as fit.
fn bad_request(violations: &[FieldViolation], room: &mut usize) -> BadRequest {
    let entries = violations.iter().map(|violation| PbViolation {
        field: violation.field.clone(),
        description: violation.description.clone(),
        ..PbViolation::default()
    });
    BadRequest { field_violations: take_fitting(entries, room) }
}

/// Returns as many refused orders as fit, with the total of all.
fn batch_refusal(batch: &BatchRefusal, room: &mut usize) -> v1::BatchRefusal {
    let all = proto_mapping::batch_refusal(batch);
    v1::BatchRefusal { results: take_fitting(all.results.into_iter(), room), ..all }
}

fn take_fitting<M: prost::Message>(entries: impl Iterator<Item = M>, room: &mut usize) -> Vec<M> {
    entries
        .take_while(|entry| {
            let size = entry.encoded_len() + ENTRY_OVERHEAD;
            let fits = size <= *room;
            *room = room.saturating_sub(size);
            fits
        })
        .collect()
}
