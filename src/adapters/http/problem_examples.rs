//! An example of a problem for each reason, and the keys of its metadata. The pages
//! at `/problems/` and the OpenAPI document show them; `tests/it/http_pages.rs`
//! compares them with the answers of the service.

use std::sync::Arc;
use std::time::Duration;

use super::problem::{Problem, ProblemContext};
use crate::domain::{BatchRefusal, FieldViolation, OrderId, OrderResult, Reason, Refusal};

/// The order of the examples.
const ORDER: &str = "67012345-0001-1";

/// The correlation id of the examples.
const CORRELATION_ID: &str = "0193a5b0-7c1e-7000-8000-000000000001";

/// Returns an example, as a server with this public URL would answer it; `None` for a
/// reason that only proxies in front of the service give.
pub fn example(reason: Reason, public_url: &Arc<str>) -> Option<Problem> {
    let context = ProblemContext { correlation_id: CORRELATION_ID.into(), public_url: public_url.clone() };
    refusal(reason).map(|refusal| Problem::new(refusal, &context))
}

fn refusal(reason: Reason) -> Option<Refusal> {
    let refusal = match reason {
        Reason::Unauthenticated | Reason::PermissionDenied => return None,
        Reason::Overloaded => Refusal::overloaded(Duration::from_secs(1)),
        Reason::Unavailable => Refusal::stopping(),
        Reason::DeadlineExceeded => Refusal::deadline_exceeded(),
        Reason::Internal => Refusal::internal(),
        Reason::ValidationFailed => Refusal::violations(vec![
            violation("customer_id", "is required"),
            violation("storage_until", "is required"),
        ]),
        _ => {
            let (sentence, metadata) = sentence(reason);
            let refusal = metadata
                .iter()
                .fold(Refusal::new(reason, sentence), |refusal, (key, value)| refusal.with(key, value));
            match reason {
                Reason::StorageExpired | Reason::StorageNotExpired | Reason::OrderAlreadyIssued => {
                    refused_batch(refusal)
                }
                _ => refusal,
            }
        }
    };
    Some(refusal)
}

fn violation(field: &str, description: &str) -> FieldViolation {
    FieldViolation { field: field.to_owned(), description: description.to_owned() }
}

/// Returns the refusal of an ATOMIC batch with this order alone.
fn refused_batch(refusal: Refusal) -> Refusal {
    let result =
        OrderId::parse(ORDER).ok().map(|order_id| OrderResult { order_id, outcome: Err(refusal.clone()) });
    Refusal {
        batch: Some(BatchRefusal { refused_total: 1, results: result.into_iter().collect() }),
        ..refusal
    }
}

/// The sentence of a refusal, and its metadata.
type Sentence = (&'static str, &'static [(&'static str, &'static str)]);

/// Returns the sentence and the metadata of a refusal that has no constructor of its
/// own in the domain.
const fn sentence(reason: Reason) -> Sentence {
    match reason {
        Reason::InvalidPackaging => INVALID_PACKAGING,
        Reason::WeightTooHeavy => WEIGHT_TOO_HEAVY,
        Reason::IdempotencyKeyReused => IDEMPOTENCY_KEY_REUSED,
        Reason::OrderNotFound => ORDER_NOT_FOUND,
        Reason::OrderAlreadyExists => ORDER_ALREADY_EXISTS,
        Reason::StorageExpired => STORAGE_EXPIRED,
        Reason::StorageNotExpired => STORAGE_NOT_EXPIRED,
        Reason::OrderAlreadyIssued => ORDER_ALREADY_ISSUED,
        Reason::OrderNotIssued => ORDER_NOT_ISSUED,
        Reason::OrderReturned => ORDER_RETURNED,
        Reason::OrderHandedToCourier => ORDER_HANDED_TO_COURIER,
        Reason::ReturnWindowClosed => RETURN_WINDOW_CLOSED,
        Reason::WrongCustomer => WRONG_CUSTOMER,
        Reason::WrongPickupPoint => WRONG_PICKUP_POINT,
        Reason::CursorExpired => CURSOR_EXPIRED,
        Reason::TooLarge => TOO_LARGE,
        Reason::RouteNotFound => ROUTE_NOT_FOUND,
        Reason::MethodNotAllowed => METHOD_NOT_ALLOWED,
        Reason::UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE,
        Reason::ValidationFailed
        | Reason::Unauthenticated
        | Reason::PermissionDenied
        | Reason::Overloaded
        | Reason::Unavailable
        | Reason::DeadlineExceeded
        | Reason::Internal => ("", &[]),
    }
}

const INVALID_PACKAGING: Sentence = (
    "the packaging is not valid: \"crate\" is not in the catalogue (bag, box, film)",
    &[("order_id", ORDER), ("packaging", "crate"), ("code", "crate"), ("known_codes", "bag, box, film")],
);

const WEIGHT_TOO_HEAVY: Sentence = (
    "15000 g is too heavy for bag: the weight must be below 10000 g",
    &[("order_id", ORDER), ("packaging", "bag"), ("weight_grams", "15000"), ("weight_below_grams", "10000")],
);

const IDEMPOTENCY_KEY_REUSED: Sentence = (
    "the request_id 5d6c1a52-accept-1 was used for another request: its customer_id is different",
    &[("request_id", "5d6c1a52-accept-1"), ("field", "customer_id")],
);

const ORDER_NOT_FOUND: Sentence = ("order 67012345-0001-1 does not exist", &[("order_id", ORDER)]);

const ORDER_ALREADY_EXISTS: Sentence = (
    "order 67012345-0001-1 was already accepted, with another price_minor",
    &[("order_id", ORDER), ("field", "price_minor")],
);

const STORAGE_EXPIRED: Sentence = (
    "the storage deadline of order 67012345-0001-1 was 2026-12-31T10:00:00Z; it is now 2026-12-31T10:05:00Z",
    &[("order_id", ORDER), ("storage_until", "2026-12-31T10:00:00Z"), ("now", "2026-12-31T10:05:00Z")],
);

const STORAGE_NOT_EXPIRED: Sentence = (
    "the storage deadline of order 67012345-0001-1 is 2026-12-31T10:00:00Z; it is now 2026-12-01T09:15:00Z",
    &[("order_id", ORDER), ("storage_until", "2026-12-31T10:00:00Z"), ("now", "2026-12-01T09:15:00Z")],
);

const ORDER_ALREADY_ISSUED: Sentence = (
    "order 67012345-0001-1 was issued to its customer at 2026-12-01T09:15:00Z",
    &[("order_id", ORDER), ("issued_at", "2026-12-01T09:15:00Z")],
);

const ORDER_NOT_ISSUED: Sentence =
    ("order 67012345-0001-1 has not been issued, so it cannot be returned", &[("order_id", ORDER)]);

const ORDER_RETURNED: Sentence = (
    "order 67012345-0001-1 was returned at 2026-12-02T18:40:00Z",
    &[("order_id", ORDER), ("returned_at", "2026-12-02T18:40:00Z")],
);

const ORDER_HANDED_TO_COURIER: Sentence = (
    "order 67012345-0001-1 was handed to a courier at 2026-12-03T08:00:00Z",
    &[("order_id", ORDER), ("handed_to_courier_at", "2026-12-03T08:00:00Z")],
);

const RETURN_WINDOW_CLOSED: Sentence = (
    "order 67012345-0001-1 was issued at 2026-12-01T09:15:00Z and could be returned until \
             2026-12-03T09:15:00Z; it is now 2026-12-03T11:30:00Z",
    &[
        ("order_id", ORDER),
        ("issued_at", "2026-12-01T09:15:00Z"),
        ("return_window_closed_at", "2026-12-03T09:15:00Z"),
        ("now", "2026-12-03T11:30:00Z"),
    ],
);

const WRONG_CUSTOMER: Sentence = (
    "order 67012345-0001-1 does not belong to the customer 124",
    &[("order_id", ORDER), ("customer_id", "124")],
);

const WRONG_PICKUP_POINT: Sentence = (
    "order 67012345-0001-1 is at the pickup point main, not at north",
    &[("order_id", ORDER), ("pickup_point_id", "main"), ("asked_pickup_point_id", "north")],
);

const CURSOR_EXPIRED: Sentence = (
    "the events after the cursor 17 were archived; the oldest cursor is 120000",
    &[("after", "17"), ("oldest_cursor", "120000")],
);

const TOO_LARGE: Sentence = ("the body is larger than 262144 bytes", &[("limit_bytes", "262144")]);

const ROUTE_NOT_FOUND: Sentence = ("no route matches /v1/order", &[("path", "/v1/order")]);

const METHOD_NOT_ALLOWED: Sentence = (
    "/v1/orders does not allow DELETE, only GET, HEAD, OPTIONS, POST",
    &[("path", "/v1/orders"), ("method", "DELETE"), ("allow", "GET, HEAD, OPTIONS, POST")],
);

const UNSUPPORTED_MEDIA_TYPE: Sentence = (
    "the content-type must be application/json, not text/plain",
    &[("expected", "application/json"), ("content_type", "text/plain")],
);

/// Returns the keys that the metadata of a reason can have.
pub fn metadata_keys(reason: Reason) -> Vec<&'static str> {
    let (_, example) = sentence(reason);
    let others: &[&str] = match reason {
        Reason::ValidationFailed => &[
            "field",
            "violations_total",
            "line",
            "column",
            "path",
            "limit",
            "order_id",
            "packaging",
            "storage_until",
            "latest_storage_until",
            "now",
        ],
        Reason::OrderAlreadyExists => &["identical"],
        Reason::CursorExpired => &["from"],
        Reason::Overloaded => &["limit_bytes"],
        Reason::DeadlineExceeded => &["limit_seconds"],
        Reason::UnsupportedMediaType => &["content_encoding"],
        _ => &[],
    };
    example.iter().map(|(key, _)| *key).chain(others.iter().copied()).collect()
}

/// Returns the meaning of a key.
pub const fn meaning(key: &str) -> &'static str {
    match key.as_bytes() {
        b"after" | b"from" => "The cursor in the request.",
        b"allow" => "The methods that the path supports.",
        b"asked_pickup_point_id" => "The pickup point of the request.",
        b"code" => "The code that is not allowed.",
        b"column" => "The column of the body at which it is not valid JSON, from 1.",
        b"content_encoding" => "The header content-encoding of the request.",
        b"content_type" => "The header content-type of the request; empty if it has none.",
        b"customer_id" => "The customer of the request, who is not that of the order.",
        b"expected" => "The content-type that the route expects.",
        b"field" => "The first field that is not valid or that differs, in the spelling of the contract.",
        b"handed_to_courier_at" => "The time at which the order was handed to a courier.",
        b"identical" => "true: the order was accepted before with the same content.",
        b"issued_at" => "The time at which the order was issued.",
        b"known_codes" => "The codes of the catalogue.",
        b"latest_storage_until" => "The latest storage deadline that the service accepts.",
        b"limit" => "The largest number of query parameters.",
        b"limit_bytes" => "The limit, in bytes.",
        b"limit_seconds" => "The limit, in seconds.",
        b"line" => "The line of the body at which it is not valid JSON, from 1.",
        b"method" => "The HTTP method of the request.",
        b"now" => "The time of the decision.",
        b"oldest_cursor" => "The oldest cursor that is valid.",
        b"order_id" => "The order.",
        b"packaging" => "The packaging that the sentence is about.",
        b"path" => "The path of the request.",
        b"pickup_point_id" => "The pickup point that has the order.",
        b"request_id" => "The idempotency key of the request.",
        b"return_window_closed_at" => "The time from which the order could no longer be returned.",
        b"returned_at" => "The time at which the order was returned.",
        b"storage_until" => "The storage deadline.",
        b"violations_total" => "The number of fields that are not valid, if there are several.",
        b"weight_below_grams" => "The weight must be below this limit.",
        b"weight_grams" => "The weight in the request.",
        _ => "",
    }
}
