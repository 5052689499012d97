//! Why a request had no effect: a closed set of reasons, a sentence for a
//! person, and metadata for a program.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::{OrderId, OrderResult};

/// The longest value that a refusal echoes, in characters (`docs/domain.md`, Refusals).
const ECHO_LIMIT: usize = 64;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The machine-readable name of a refusal. The set is closed: every
        /// mapping (gRPC, HTTP, exit code) is an exhaustive match over it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of the table in the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire, UPPER_SNAKE_CASE.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The reason with that name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// A field is missing or malformed.
    ValidationFailed = "VALIDATION_FAILED",
    /// The packaging is not one that the catalogue allows.
    InvalidPackaging = "INVALID_PACKAGING",
    /// The order weighs too much for its packaging.
    WeightTooHeavy = "WEIGHT_TOO_HEAVY",
    /// The `request_id` was used for another request.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
    /// No such order.
    OrderNotFound = "ORDER_NOT_FOUND",
    /// The order was accepted before.
    OrderAlreadyExists = "ORDER_ALREADY_EXISTS",
    /// The storage deadline has passed.
    StorageExpired = "STORAGE_EXPIRED",
    /// The storage deadline has not passed yet.
    StorageNotExpired = "STORAGE_NOT_EXPIRED",
    /// The customer has the order.
    OrderAlreadyIssued = "ORDER_ALREADY_ISSUED",
    /// The customer never had the order.
    OrderNotIssued = "ORDER_NOT_ISSUED",
    /// The customer brought the order back.
    OrderReturned = "ORDER_RETURNED",
    /// The order has gone away with a courier.
    OrderHandedToCourier = "ORDER_HANDED_TO_COURIER",
    /// The time to bring the order back is over.
    ReturnWindowClosed = "RETURN_WINDOW_CLOSED",
    /// The order belongs to another customer.
    WrongCustomer = "WRONG_CUSTOMER",
    /// The order is at another pickup point.
    WrongPickupPoint = "WRONG_PICKUP_POINT",
    /// The events at that cursor have been archived.
    CursorExpired = "CURSOR_EXPIRED",
    /// The caller did not prove its identity. Only a proxy says so today; the
    /// CLI reports it.
    Unauthenticated = "UNAUTHENTICATED",
    /// The caller may not do this. Only a proxy says so today; the CLI reports
    /// it.
    PermissionDenied = "PERMISSION_DENIED",
    /// The service has more work than it can take.
    Overloaded = "OVERLOADED",
    /// The request is larger than allowed.
    TooLarge = "TOO_LARGE",
    /// The storage cannot be reached, or the service is stopping.
    Unavailable = "UNAVAILABLE",
    /// The deadline of the call passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED",
    /// No such address.
    RouteNotFound = "ROUTE_NOT_FOUND",
    /// The address does not take that method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The body is not of a type that the address takes.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// A bug of the service.
    Internal = "INTERNAL",
}

impl Reason {
    /// Whether an idempotency record keeps a refusal of this reason: the facts
    /// about orders are kept, what a corrected request would change is not
    /// (`docs/domain.md`, Idempotency).
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

/// A field of a request that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path in proto spelling: `order_ids[2]`.
    pub field: String,
    /// What is wrong with it, to stand after the field's name.
    pub description: String,
}

/// The refused orders of an ATOMIC batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRefusal {
    /// How many orders were refused.
    pub refused_total: usize,
    /// The refused orders, in the order asked.
    pub results: Vec<OrderResult>,
}

/// Why a request had no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The machine-readable name.
    pub reason: Reason,
    /// A sentence for a person.
    pub message: String,
    /// Everything that the sentence mentions, keys in proto spelling.
    pub metadata: BTreeMap<String, String>,
    /// The fields at fault.
    pub violations: Vec<FieldViolation>,
    /// The refused orders, when a batch was refused as a whole.
    pub batch: Option<BatchRefusal>,
    /// How long to wait before the request is repeated, where waiting helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with nothing but a sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            batch: None,
            retry_after: None,
        }
    }

    /// Adds a value that the sentence mentions, cut at 64 characters.
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.metadata.insert(key.to_owned(), echo(&value.to_string()));
        self
    }

    /// Adds how long to wait.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// `VALIDATION_FAILED` for one field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::violations(vec![FieldViolation { field: field.into(), description: description.into() }])
    }

    /// `VALIDATION_FAILED` for every field at fault; the sentence names the
    /// first.
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
        refusal.violations = violations;
        refusal
    }

    /// `ORDER_NOT_FOUND`.
    pub fn order_not_found(order_id: &OrderId) -> Self {
        Self::new(Reason::OrderNotFound, format!("order {order_id} is not known")).with("order_id", order_id)
    }

    /// `OVERLOADED`: nothing happened, try again after the delay.
    pub fn overloaded(delay: Duration) -> Self {
        Self::new(Reason::Overloaded, "the service has more work than it can take; nothing was done")
            .retry_after(delay)
    }

    /// `UNAVAILABLE`: the effect may have happened, repeat with the same
    /// `request_id`.
    pub fn unavailable(message: &str, delay: Duration) -> Self {
        Self::new(Reason::Unavailable, message).retry_after(delay)
    }

    /// `UNAVAILABLE` while the service stops.
    pub fn stopping() -> Self {
        Self::unavailable("the service is stopping", Duration::from_secs(1))
    }

    /// `DEADLINE_EXCEEDED`.
    pub fn deadline_exceeded() -> Self {
        Self::new(Reason::DeadlineExceeded, "the deadline of the call passed before it was done")
    }

    /// `INTERNAL`; the cause is in the log, never in the answer.
    pub fn internal() -> Self {
        Self::new(Reason::Internal, "a bug in the service; the log has the cause under the correlation id")
    }
}

/// The value as it is echoed: at most 64 characters.
pub fn echo(value: &str) -> String {
    value.chars().take(ECHO_LIMIT).collect()
}
