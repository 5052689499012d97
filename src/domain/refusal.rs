//! Refusals: a reason from a closed set, a sentence for people, and metadata for programs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::{OrderId, OrderResult, escape};

/// The maximum length of an echoed value, in characters (`docs/domain.md`, Refusals).
const ECHO_LIMIT: usize = 64;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The machine-readable name of a refusal. The set is closed: every
        /// mapping (gRPC, HTTP, exit code) is an exhaustive match over it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All reasons, in the order of the table in `docs/domain.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name on the wire, UPPER_SNAKE_CASE.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the reason with this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// A field is missing or malformed.
    ValidationFailed = "VALIDATION_FAILED",
    /// The catalogue does not allow this packaging.
    InvalidPackaging = "INVALID_PACKAGING",
    /// The order is too heavy for its packaging.
    WeightTooHeavy = "WEIGHT_TOO_HEAVY",
    /// The `request_id` was already used for another request.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
    /// The order does not exist.
    OrderNotFound = "ORDER_NOT_FOUND",
    /// The order was already accepted.
    OrderAlreadyExists = "ORDER_ALREADY_EXISTS",
    /// The storage deadline has passed.
    StorageExpired = "STORAGE_EXPIRED",
    /// The storage deadline has not passed.
    StorageNotExpired = "STORAGE_NOT_EXPIRED",
    /// The order was already issued to its customer.
    OrderAlreadyIssued = "ORDER_ALREADY_ISSUED",
    /// The order has not been issued.
    OrderNotIssued = "ORDER_NOT_ISSUED",
    /// The customer returned the order.
    OrderReturned = "ORDER_RETURNED",
    /// The order was handed to a courier.
    OrderHandedToCourier = "ORDER_HANDED_TO_COURIER",
    /// The return window is closed.
    ReturnWindowClosed = "RETURN_WINDOW_CLOSED",
    /// The order belongs to another customer.
    WrongCustomer = "WRONG_CUSTOMER",
    /// The order is at another pickup point.
    WrongPickupPoint = "WRONG_PICKUP_POINT",
    /// The events at that cursor have been archived.
    CursorExpired = "CURSOR_EXPIRED",
    /// The caller is not authenticated. Made only by proxies in front of the service; the CLI
    /// reports it.
    Unauthenticated = "UNAUTHENTICATED",
    /// The caller may not do this. Made only by proxies in front of the service; the CLI reports
    /// it.
    PermissionDenied = "PERMISSION_DENIED",
    /// The command queue is full.
    Overloaded = "OVERLOADED",
    /// The request is larger than allowed.
    TooLarge = "TOO_LARGE",
    /// The store is unreachable, or the service is shutting down.
    Unavailable = "UNAVAILABLE",
    /// The deadline of the call passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED",
    /// No route matches the path.
    RouteNotFound = "ROUTE_NOT_FOUND",
    /// The route does not support this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The route does not support this media type.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// A bug in the service.
    Internal = "INTERNAL",
}

impl Reason {
    /// Returns true if an idempotency record stores refusals of this reason: facts about orders
    /// are stored, errors that a corrected request would avoid are not (`docs/domain.md`,
    /// Idempotency).
    pub const fn is_stored(self) -> bool {
        use Reason as R;
        match self {
            R::OrderNotFound
            | R::OrderAlreadyExists
            | R::StorageExpired
            | R::StorageNotExpired
            | R::OrderAlreadyIssued
            | R::OrderNotIssued
            | R::OrderReturned
            | R::OrderHandedToCourier
            | R::ReturnWindowClosed
            | R::WrongCustomer
            | R::WrongPickupPoint => true,
            R::ValidationFailed
            | R::InvalidPackaging
            | R::WeightTooHeavy
            | R::IdempotencyKeyReused
            | R::CursorExpired
            | R::Unauthenticated
            | R::PermissionDenied
            | R::Overloaded
            | R::TooLarge
            | R::Unavailable
            | R::DeadlineExceeded
            | R::RouteNotFound
            | R::MethodNotAllowed
            | R::UnsupportedMediaType
            | R::Internal => false,
        }
    }
}

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path in proto spelling: `order_ids[2]`.
    pub field: String,
    /// The problem, as a predicate of the field: "must be …".
    pub description: String,
}

/// The refused orders of an ATOMIC batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRefusal {
    /// The number of refused orders.
    pub refused_total: usize,
    /// The refused orders, in the order of the request.
    pub results: Vec<OrderResult>,
}

/// A refusal: the request had no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The machine-readable reason.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
    /// Everything that the sentence mentions, keys in proto spelling.
    pub metadata: BTreeMap<String, String>,
    /// The invalid fields.
    pub violations: Vec<FieldViolation>,
    /// The refused orders, if a batch was refused as a whole.
    pub batch: Option<BatchRefusal>,
    /// The time to wait before retrying, where waiting helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Returns a refusal with a reason and a sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: escaped(message.into()),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            batch: None,
            retry_after: None,
        }
    }

    /// Adds a value that the sentence mentions, cut at 64 characters and escaped.
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.metadata.insert(key.to_owned(), echo(&value.to_string()));
        self
    }

    /// Adds the time to wait before retrying.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Returns `VALIDATION_FAILED` for one field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::violations(vec![FieldViolation { field: field.into(), description: description.into() }])
    }

    /// Returns `VALIDATION_FAILED` for all invalid fields. The sentence names the first.
    pub fn violations(violations: Vec<FieldViolation>) -> Self {
        let total = violations.len();
        let mut refusal = match violations.first() {
            None => Self::new(Reason::ValidationFailed, "the request is not valid"),
            Some(first) => {
                let more = if total > 1 { format!(" (and {} more)", total - 1) } else { String::new() };
                let message =
                    format!("the request is not valid: {} {}{more}", echo(&first.field), first.description);
                Self::new(Reason::ValidationFailed, message).with("field", &first.field)
            }
        };
        if total > 1 {
            refusal = refusal.with("violations_total", total);
        }
        let shown = |FieldViolation { field, description }| FieldViolation {
            field: escaped(field),
            description: escaped(description),
        };
        refusal.violations = violations.into_iter().map(shown).collect();
        refusal
    }

    /// Returns `ORDER_NOT_FOUND`.
    pub fn order_not_found(order_id: &OrderId) -> Self {
        Self::new(Reason::OrderNotFound, format!("order {order_id} does not exist"))
            .with("order_id", order_id)
    }

    /// Returns `OVERLOADED`: nothing happened, retry after the delay.
    pub fn overloaded(delay: Duration) -> Self {
        Self::new(Reason::Overloaded, "the service is overloaded; the request had no effect")
            .retry_after(delay)
    }

    /// Returns `UNAVAILABLE`: the effect may have happened, retry with the same `request_id`.
    pub fn unavailable(message: &str, delay: Duration) -> Self {
        Self::new(Reason::Unavailable, message).retry_after(delay)
    }

    /// Returns `UNAVAILABLE` during shutdown.
    pub fn stopping() -> Self {
        Self::unavailable("the service is stopping", Duration::from_secs(1))
    }

    /// Returns `DEADLINE_EXCEEDED`.
    pub fn deadline_exceeded() -> Self {
        Self::new(Reason::DeadlineExceeded, "the deadline of the call passed before it completed")
    }

    /// Returns `INTERNAL`. The cause is logged and never part of the answer.
    pub fn internal() -> Self {
        Self::new(Reason::Internal, "a bug in the service; the log has the cause under the correlation id")
    }
}

/// Cuts an echoed value at 64 characters, and escapes it.
pub fn echo(value: &str) -> String {
    escaped(value.chars().take(ECHO_LIMIT).collect())
}

fn escaped(text: String) -> String {
    match escape(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}
