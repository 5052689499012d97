//! The header `Idempotency-Key`: the `request_id` of a message.

use http::HeaderMap;

use crate::domain::{Refusal, RequestId};

/// The name of the header, as spelled in refusals.
const FIELD: &str = "Idempotency-Key";

/// Returns the key of a request. A value in double quotes is the string inside.
///
/// # Errors
/// `VALIDATION_FAILED` if the header is repeated, empty or malformed.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::invalid(FIELD, "must be given once"));
    }
    let text = value
        .to_str()
        .map_err(|_| Refusal::invalid(FIELD, "must consist of visible ASCII characters"))?
        .trim();
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    RequestId::parse(inside).map_err(|fault| Refusal::invalid(FIELD, fault))?;
    Ok(Some(inside))
}

/// Copies the key into the message.
///
/// # Errors
/// `VALIDATION_FAILED` as in [`key`], and if the message has a different key.
pub fn apply(headers: &HeaderMap, request_id: &mut Option<String>) -> Result<(), Refusal> {
    let Some(key) = key(headers)? else { return Ok(()) };
    match request_id.as_deref().filter(|given| !given.is_empty()) {
        Some(given) if given != key => {
            Err(Refusal::invalid(FIELD, "must be the same as request_id when both are given"))
        }
        _ => {
            *request_id = Some(key.to_owned());
            Ok(())
        }
    }
}

/// Refuses the header, for an import, where each row has its own key.
///
/// # Errors
/// `VALIDATION_FAILED`.
pub fn forbid(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key("idempotency-key") {
        return Err(Refusal::invalid(FIELD, "is not allowed for an import; give each row its own requestId"));
    }
    Ok(())
}
