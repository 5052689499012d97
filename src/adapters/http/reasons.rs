//! What each reason means, and what to do about it: the text of the pages at
//! `/problems/…` and the titles of problems.

use crate::domain::Reason;

/// What a person needs to know about a reason.
#[derive(Debug, Clone, Copy)]
pub struct Explanation {
    /// A few words, the same for every problem of the reason.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// The page of a reason: `/problems/order-not-found`.
pub fn page(reason: Reason) -> String {
    format!("/problems/{}", slug(reason))
}

/// The reason in kebab case: `order-not-found`.
pub fn slug(reason: Reason) -> String {
    reason.name().to_ascii_lowercase().replace('_', "-")
}

/// What a reason means.
pub const fn explain(reason: Reason) -> Explanation {
    let (title, meaning, remedy) = match reason {
        Reason::ValidationFailed
        | Reason::InvalidPackaging
        | Reason::WeightTooHeavy
        | Reason::IdempotencyKeyReused
        | Reason::CursorExpired
        | Reason::TooLarge
        | Reason::RouteNotFound
        | Reason::MethodNotAllowed
        | Reason::UnsupportedMediaType => wrong_request(reason),
        Reason::OrderNotFound
        | Reason::OrderAlreadyExists
        | Reason::StorageExpired
        | Reason::StorageNotExpired
        | Reason::OrderAlreadyIssued
        | Reason::OrderNotIssued
        | Reason::OrderReturned
        | Reason::OrderHandedToCourier
        | Reason::ReturnWindowClosed
        | Reason::WrongCustomer
        | Reason::WrongPickupPoint => wrong_state(reason),
        Reason::Unauthenticated
        | Reason::PermissionDenied
        | Reason::RateLimited
        | Reason::Overloaded
        | Reason::Unavailable
        | Reason::DeadlineExceeded
        | Reason::Internal => not_now(reason),
    };
    Explanation { title, meaning, remedy }
}

type Text = (&'static str, &'static str, &'static str);

/// The request itself must change.
const fn wrong_request(reason: Reason) -> Text {
    match reason {
        Reason::InvalidPackaging => (
            "Packaging not allowed",
            "The packaging is empty, unknown, named twice, or has two containers.",
            "Take codes from GET /v1/packaging: at most one container and one wrap, each once.",
        ),
        Reason::WeightTooHeavy => (
            "Too heavy for its packaging",
            "The order weighs as much as, or more than, its container may hold; the limit is strict.",
            "Choose the container by metadata.weight_below_grams, or correct the weight.",
        ),
        Reason::IdempotencyKeyReused => (
            "Idempotency key used for another request",
            "The Idempotency-Key (request_id) was used before, with other content; metadata.field names the first field that differs.",
            "Use a fresh key for a new request. To repeat a request, send exactly the same content.",
        ),
        Reason::CursorExpired => (
            "Events archived",
            "The events after that cursor have been archived and are no longer in the feed.",
            "Go on from the oldest cursor, which metadata names, and fetch what is missing from the archive.",
        ),
        Reason::TooLarge => (
            "Request too large",
            "The body, or a line of it, is larger than the service takes; metadata names the limit.",
            "Send less at a time; for many orders use POST /v1/orders:import, which has no limit as a whole.",
        ),
        Reason::RouteNotFound => (
            "No such address",
            "The service has nothing at this address.",
            "Look the address up in /openapi.json or /swagger-ui/. Ids in a path must be percent-encoded.",
        ),
        Reason::MethodNotAllowed => (
            "Method not allowed",
            "The address is right, but does not take this HTTP method.",
            "Use a method that the header `allow` lists.",
        ),
        Reason::UnsupportedMediaType => (
            "Unsupported media type",
            "The body is of a type, or in an encoding, that the address does not take.",
            "Send JSON as `content-type: application/json`, the rows of an import as `application/x-ndjson`, uncompressed.",
        ),
        _ => (
            "Request not valid",
            "A field is missing, malformed, unknown or given twice, or the body cannot be read as JSON.",
            "Correct the fields that fieldViolations names; the request had no effect.",
        ),
    }
}

/// The order is not in the state that the request needs.
const fn wrong_state(reason: Reason) -> Text {
    match reason {
        Reason::OrderAlreadyExists => (
            "Order already accepted",
            "An order of that id was accepted before. metadata.identical says that it is the same order; otherwise metadata.field names what differs.",
            "If it is the same order, there is nothing to do. Otherwise check the id.",
        ),
        Reason::StorageExpired => (
            "Storage deadline passed",
            "The storage deadline of the order has passed, so it can no longer be issued.",
            "Give the order to a courier with POST /v1/orders:returnToCourier.",
        ),
        Reason::StorageNotExpired => (
            "Storage deadline not passed",
            "The order still waits for its customer, so it cannot go to a courier yet.",
            "Wait until metadata.storage_until.",
        ),
        Reason::OrderAlreadyIssued => (
            "Order already issued",
            "The customer has the order.",
            "Nothing to do. If it was brought back, use POST /v1/orders:acceptReturn.",
        ),
        Reason::OrderNotIssued => (
            "Order not issued",
            "The order was never issued, so it cannot be brought back.",
            "Check the order id.",
        ),
        Reason::OrderReturned => (
            "Order returned",
            "The customer brought the order back; it waits for a courier.",
            "Give it to a courier with POST /v1/orders:returnToCourier.",
        ),
        Reason::OrderHandedToCourier => (
            "Order handed to a courier",
            "The order has left the pickup point; that is final.",
            "Nothing to do. Check the order id.",
        ),
        Reason::ReturnWindowClosed => (
            "Return window closed",
            "The time in which the customer could bring the order back is over.",
            "Refuse the parcel at the counter; the service cannot take it back.",
        ),
        Reason::WrongCustomer => (
            "Order of another customer",
            "The order belongs to another customer than the one asked for, or than the other orders of the batch.",
            "Check the customer and the order ids; issue the orders of each customer by themselves.",
        ),
        Reason::WrongPickupPoint => (
            "Order at another pickup point",
            "The order was accepted at another pickup point, which metadata.pickup_point_id names.",
            "Send the customer there, or correct pickup_point_id.",
        ),
        _ => (
            "Order not known",
            "No order has that id.",
            "Check the id; ids are compared letter by letter, upper and lower case apart.",
        ),
    }
}

/// The same request may succeed later, or by somebody else.
const fn not_now(reason: Reason) -> Text {
    match reason {
        Reason::Unauthenticated => (
            "Not signed in",
            "The request carries no credentials, or ones that are not valid.",
            "Sign in and send the token as `authorization: Bearer …`.",
        ),
        Reason::PermissionDenied => (
            "Not permitted",
            "Whoever is signed in may not do this.",
            "Ask whoever runs the installation for the permission.",
        ),
        Reason::RateLimited => (
            "Too many requests",
            "The caller asks more often than it may; nothing was done.",
            "Wait as long as the header `retry-after` says, and repeat the request.",
        ),
        Reason::Overloaded => (
            "Service overloaded",
            "The service has more work than it can take; nothing was done.",
            "Wait as long as the header `retry-after` says, and repeat the request.",
        ),
        Reason::Unavailable => (
            "Service unavailable",
            "The storage cannot be reached, or the service is stopping. A change may have happened all the same.",
            "Wait as long as `retry-after` says, and repeat the request with the same Idempotency-Key.",
        ),
        Reason::DeadlineExceeded => (
            "Deadline exceeded",
            "The time for the request was over before it was done. A change may have happened all the same.",
            "Repeat the request with the same Idempotency-Key.",
        ),
        _ => (
            "Internal error",
            "A bug in the service. A change may have happened all the same.",
            "Report it with the correlation id (`instance`). A repeat with the same Idempotency-Key is safe.",
        ),
    }
}
