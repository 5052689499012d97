//! The header `Idempotency-Key`, which is the `request_id` of a message.

use http::HeaderMap;

use crate::domain::{Refusal, RequestId};

/// The header's name, as refusals spell it.
const FIELD: &str = "Idempotency-Key";

/// The key that the caller gave. A value in double quotes is the string inside.
///
/// # Errors
/// `VALIDATION_FAILED` for two headers, an empty or a malformed key.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::invalid(FIELD, "must be given once"));
    }
    let text =
        value.to_str().map_err(|_| Refusal::invalid(FIELD, "may hold only visible ASCII characters"))?.trim();
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    RequestId::parse(inside).map_err(|fault| Refusal::invalid(FIELD, fault))?;
    Ok(Some(inside))
}

/// Puts the header's key into the message.
///
/// # Errors
/// `VALIDATION_FAILED` as [`key`], and when the message has another one.
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

/// Refuses the header where each row has its own key.
///
/// # Errors
/// `VALIDATION_FAILED`.
pub fn forbid(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key("idempotency-key") {
        return Err(Refusal::invalid(FIELD, "has no meaning for an import; give each row its own requestId"));
    }
    Ok(())
}
