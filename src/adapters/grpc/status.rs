//! Refusals as `google.rpc.Status`.

use prost::Message as _;
use prost_types::{Any, Duration as ProtoDuration};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic_types::pb::{
    BadRequest, ErrorInfo, RetryInfo, Status as RichStatus, bad_request::FieldViolation as PbViolation,
};

use crate::adapters::{proto_mapping, status};
use crate::domain::{BatchRefusal, FieldViolation, Refusal};
use crate::proto::v1;

/// What `ErrorInfo` calls the domain of every reason.
const DOMAIN: &str = "pvz";
/// Clients refuse trailers of over 8 KiB, and the details go there in base64:
/// lists carry only what keeps them below this (`docs/domain.md`, Refusals).
const DETAILS_LIMIT: usize = 6 * 1024;
/// What the encoding around a detail's list entry takes at most.
const ENTRY_OVERHEAD: usize = 8;
/// What the encoding around the details takes at most.
const STATUS_OVERHEAD: usize = 512;

/// The refusal as a gRPC status, with rich details and the metadata that tells
/// how long to wait.
pub fn to_status(refusal: &Refusal) -> tonic::Status {
    let code = status::status_codes(refusal.reason).grpc;
    let message = clip(&refusal.message);
    let rich = RichStatus { code: code as i32, message: message.clone(), details: details(refusal) };
    let mut metadata = MetadataMap::new();
    if let Some(delay) = refusal.retry_after {
        let seconds = delay.as_millis().div_ceil(1_000).max(1);
        if let Ok(value) = MetadataValue::try_from(seconds.to_string()) {
            metadata.insert("retry-after", value);
        }
    }
    tonic::Status::with_details_and_metadata(code, message, rich.encode_to_vec().into(), metadata)
}

/// No sentence is longer than this, so that it always fits beside the details.
fn clip(message: &str) -> String {
    message.chars().take(512).collect()
}

fn details(refusal: &Refusal) -> Vec<Any> {
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
    let mut room = DETAILS_LIMIT.saturating_sub(used + clip(&refusal.message).len() + STATUS_OVERHEAD);
    if !refusal.violations.is_empty() {
        let bad_request = bad_request(&refusal.violations, &mut room);
        details.push(any("google.rpc.BadRequest", &bad_request));
    }
    if let Some(batch) = &refusal.batch {
        details.push(any("pvz.v1.BatchRefusal", &batch_refusal(batch, &mut room)));
    }
    details
}

fn any(name: &str, message: &impl prost::Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// As many violations as fit.
fn bad_request(violations: &[FieldViolation], room: &mut usize) -> BadRequest {
    let entries = violations.iter().map(|violation| PbViolation {
        field: violation.field.clone(),
        description: violation.description.clone(),
        ..PbViolation::default()
    });
    BadRequest { field_violations: fitting(entries, room) }
}

/// As many of the refused orders as fit; the total counts them all.
fn batch_refusal(batch: &BatchRefusal, room: &mut usize) -> v1::BatchRefusal {
    let all = proto_mapping::batch_refusal(batch);
    v1::BatchRefusal { results: fitting(all.results.into_iter(), room), ..all }
}

fn fitting<M: prost::Message>(entries: impl Iterator<Item = M>, room: &mut usize) -> Vec<M> {
    entries
        .take_while(|entry| {
            let size = entry.encoded_len() + ENTRY_OVERHEAD;
            let fits = size <= *room;
            *room = room.saturating_sub(size);
            fits
        })
        .collect()
}
