//! Title, meaning and remedy of each reason: the text of the pages at
//! `/problems/…`, of the OpenAPI document, and the titles of problems.

use crate::domain::Reason;

/// The texts of a reason for people.
#[derive(Debug, Clone, Copy)]
pub struct Explanation {
    /// A few words, the same for every problem with the reason.
    pub title: &'static str,
    /// The meaning of the reason.
    pub meaning: &'static str,
    /// The remedy for the caller.
    pub remedy: &'static str,
}

/// Returns the path of the page of a reason: `/problems/order-not-found`.
pub fn page(reason: Reason) -> String {
    format!("/problems/{}", slug(reason))
}

/// Returns the reason in kebab case: `order-not-found`.
pub fn slug(reason: Reason) -> String {
    reason.name().to_ascii_lowercase().replace('_', "-")
}

/// Returns the texts of a reason.
pub const fn explain(reason: Reason) -> Explanation {
    match reason {
        Reason::ValidationFailed => VALIDATION_FAILED,
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
        Reason::Unauthenticated => UNAUTHENTICATED,
        Reason::PermissionDenied => PERMISSION_DENIED,
        Reason::Overloaded => OVERLOADED,
        Reason::TooLarge => TOO_LARGE,
        Reason::Unavailable => UNAVAILABLE,
        Reason::DeadlineExceeded => DEADLINE_EXCEEDED,
        Reason::RouteNotFound => ROUTE_NOT_FOUND,
        Reason::MethodNotAllowed => METHOD_NOT_ALLOWED,
        Reason::UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE,
        Reason::Internal => INTERNAL,
    }
}

const VALIDATION_FAILED: Explanation = Explanation {
    title: "Request not valid",
    meaning: "A field is missing, malformed, unknown or given twice, or the body is not valid JSON.",
    remedy: "Correct the fields that fieldViolations lists. The request had no effect.",
};

const INVALID_PACKAGING: Explanation = Explanation {
    title: "Packaging not allowed",
    meaning: "A packaging code is empty, unknown or given twice, or there is more than one container or wrap.",
    remedy: "Choose codes from GET /v1/packaging: at most one container and one wrap, each once.",
};

const WEIGHT_TOO_HEAVY: Explanation = Explanation {
    title: "Too heavy for its packaging",
    meaning: "The weight of the order is not below the limit of its container.",
    remedy: "Choose a container whose limit (metadata.weight_below_grams) is above the weight, or correct the weight.",
};

const IDEMPOTENCY_KEY_REUSED: Explanation = Explanation {
    title: "Idempotency key used for another request",
    meaning: "The Idempotency-Key (request_id) was used before with different content. metadata.field names the first field that differs.",
    remedy: "Use a new key for a new request. To repeat a request, send exactly the same content.",
};

const ORDER_NOT_FOUND: Explanation = Explanation {
    title: "Order not found",
    meaning: "There is no order with this id.",
    remedy: "Check the id. Ids are case-sensitive.",
};

const ORDER_ALREADY_EXISTS: Explanation = Explanation {
    title: "Order already accepted",
    meaning: "An order with this id was accepted before. If metadata.identical is true, it is the same order; otherwise metadata.field names a field that differs.",
    remedy: "If it is the same order, there is nothing to do. Otherwise check the id.",
};

const STORAGE_EXPIRED: Explanation = Explanation {
    title: "Storage deadline passed",
    meaning: "The storage deadline of the order has passed, so the order can no longer be issued.",
    remedy: "Hand the order to a courier with POST /v1/orders:returnToCourier.",
};

const STORAGE_NOT_EXPIRED: Explanation = Explanation {
    title: "Storage deadline not passed",
    meaning: "The storage deadline of the order has not passed, so the order cannot be handed to a courier yet.",
    remedy: "Wait until metadata.storage_until.",
};

const ORDER_ALREADY_ISSUED: Explanation = Explanation {
    title: "Order already issued",
    meaning: "The order has already been issued to its customer.",
    remedy: "There is nothing to do. If the customer returns the order, use POST /v1/orders:acceptReturn.",
};

const ORDER_NOT_ISSUED: Explanation = Explanation {
    title: "Order not issued",
    meaning: "The order has not been issued, so it cannot be returned.",
    remedy: "Check the order id.",
};

const ORDER_RETURNED: Explanation = Explanation {
    title: "Order returned",
    meaning: "The customer returned the order, and it is waiting for a courier.",
    remedy: "Hand it to a courier with POST /v1/orders:returnToCourier.",
};

const ORDER_HANDED_TO_COURIER: Explanation = Explanation {
    title: "Order handed to a courier",
    meaning: "The order was handed to a courier. This state is final.",
    remedy: "There is nothing to do. Check the order id.",
};

const RETURN_WINDOW_CLOSED: Explanation = Explanation {
    title: "Return window closed",
    meaning: "The period in which the customer could return the order is over.",
    remedy: "Do not take the order back; the service cannot accept the return.",
};

const WRONG_CUSTOMER: Explanation = Explanation {
    title: "Order of another customer",
    meaning: "The order belongs to a customer other than the one in the request, or than that of the other orders of the batch.",
    remedy: "Check the customer and the order ids. Issue the orders of each customer in a separate request.",
};

const WRONG_PICKUP_POINT: Explanation = Explanation {
    title: "Order at another pickup point",
    meaning: "The order was accepted at another pickup point (metadata.pickup_point_id).",
    remedy: "Send the customer there, or correct pickup_point_id.",
};

const CURSOR_EXPIRED: Explanation = Explanation {
    title: "Events archived",
    meaning: "The events after this cursor were archived and are no longer in the feed.",
    remedy: "Continue from the oldest cursor, which metadata names, and read the missing events from the archive.",
};

const UNAUTHENTICATED: Explanation = Explanation {
    title: "Not authenticated",
    meaning: "The request has no credentials, or they are not valid.",
    remedy: "Sign in, and send the token as `authorization: Bearer …`.",
};

const PERMISSION_DENIED: Explanation = Explanation {
    title: "Permission denied",
    meaning: "The caller does not have permission for this request.",
    remedy: "Ask the administrator of the installation for the permission.",
};

const OVERLOADED: Explanation = Explanation {
    title: "Service overloaded",
    meaning: "The service has more work than it can accept. The request had no effect.",
    remedy: "Wait for the time in the header `retry-after`, then repeat the request.",
};

const TOO_LARGE: Explanation = Explanation {
    title: "Request too large",
    meaning: "The body, or one of its lines, exceeds a size limit, which metadata names.",
    remedy: "Send smaller requests. For many orders use POST /v1/orders:import, which does not limit the total size.",
};

const UNAVAILABLE: Explanation = Explanation {
    title: "Service unavailable",
    meaning: "The storage cannot be reached, or the service is stopping. The request may have taken effect.",
    remedy: "Wait for the time in the header `retry-after`, then repeat the request with the same Idempotency-Key.",
};

const DEADLINE_EXCEEDED: Explanation = Explanation {
    title: "Deadline exceeded",
    meaning: "The deadline passed before the request completed. The request may have taken effect.",
    remedy: "Repeat the request with the same Idempotency-Key.",
};

const ROUTE_NOT_FOUND: Explanation = Explanation {
    title: "Route not found",
    meaning: "The service has no route for this path.",
    remedy: "Look up the path in /openapi.json or /swagger-ui/. Ids in a path must be percent-encoded.",
};

const METHOD_NOT_ALLOWED: Explanation = Explanation {
    title: "Method not allowed",
    meaning: "The path exists, but does not support this HTTP method.",
    remedy: "Use one of the methods in the header `allow`.",
};

const UNSUPPORTED_MEDIA_TYPE: Explanation = Explanation {
    title: "Unsupported media type",
    meaning: "The route does not accept the media type or the encoding of the body.",
    remedy: "Send JSON as `application/json` and the rows of an import as `application/x-ndjson`, uncompressed.",
};

const INTERNAL: Explanation = Explanation {
    title: "Internal error",
    meaning: "The service has a bug. The request may have taken effect.",
    remedy: "Report it with the correlation id (`instance`). Repeating the request with the same Idempotency-Key is safe.",
};
