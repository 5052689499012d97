//! The only mapping of reasons to gRPC codes, HTTP statuses and exit codes, and
//! the transport of a refusal in a `tonic::Status`.

use std::error::Error as _;

use http::StatusCode;
use tonic::{Code, Status};

pub use crate::domain::Reason;
use crate::domain::Refusal;

/// The codes of a reason on each interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusCodes {
    /// The gRPC status code.
    pub grpc: Code,
    /// The HTTP status.
    pub http: StatusCode,
    /// The exit code of the CLI.
    pub exit: u8,
}

/// The exit code of `pvz verify` if it found differences.
pub const EXIT_DIFFERENCES: u8 = 7;

/// Returns the codes of a reason (`docs/domain.md`, Refusals).
pub const fn status_codes(reason: Reason) -> StatusCodes {
    use Reason as R;
    let (grpc, http, exit) = match reason {
        R::ValidationFailed | R::InvalidPackaging | R::WeightTooHeavy | R::IdempotencyKeyReused => {
            (Code::InvalidArgument, StatusCode::BAD_REQUEST, 2)
        }
        R::OrderNotFound => (Code::NotFound, StatusCode::NOT_FOUND, 3),
        R::OrderAlreadyExists => (Code::AlreadyExists, StatusCode::CONFLICT, 4),
        R::StorageExpired
        | R::StorageNotExpired
        | R::OrderAlreadyIssued
        | R::OrderNotIssued
        | R::OrderReturned
        | R::OrderHandedToCourier
        | R::ReturnWindowClosed
        | R::WrongCustomer
        | R::WrongPickupPoint => (Code::FailedPrecondition, StatusCode::CONFLICT, 4),
        R::CursorExpired => (Code::OutOfRange, StatusCode::GONE, 2),
        R::Unauthenticated => (Code::Unauthenticated, StatusCode::UNAUTHORIZED, 5),
        R::PermissionDenied => (Code::PermissionDenied, StatusCode::FORBIDDEN, 5),
        R::Overloaded => (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, 6),
        R::TooLarge => (Code::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE, 2),
        R::Unavailable => (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, 6),
        R::DeadlineExceeded => (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, 6),
        R::RouteNotFound => (Code::Unimplemented, StatusCode::NOT_FOUND, 2),
        R::MethodNotAllowed => (Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED, 2),
        R::UnsupportedMediaType => (Code::Unimplemented, StatusCode::UNSUPPORTED_MEDIA_TYPE, 2),
        R::Internal => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, 1),
    };
    StatusCodes { grpc, http, exit }
}

/// Returns the reason for a gRPC status without details: from a proxy, a client
/// library, or tonic itself.
pub const fn reason_of(code: Code) -> Reason {
    match code {
        Code::InvalidArgument | Code::Ok => Reason::ValidationFailed,
        Code::NotFound => Reason::OrderNotFound,
        Code::AlreadyExists => Reason::OrderAlreadyExists,
        Code::OutOfRange => Reason::CursorExpired,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::Unavailable | Code::Aborted => Reason::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => Reason::DeadlineExceeded,
        Code::Unimplemented => Reason::RouteNotFound,
        Code::FailedPrecondition | Code::Internal | Code::Unknown | Code::DataLoss => Reason::Internal,
    }
}

/// A refusal as the source of a `tonic::Status`. REST, which calls the service
/// in process, reads the whole refusal from it; the details of the status are
/// cut to fit into gRPC trailers.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct RefusalSource(pub Refusal);

impl RefusalSource {
    /// Returns the refusal of a status that has one as its source.
    pub fn of(status: &Status) -> Option<&Refusal> {
        status.source()?.downcast_ref::<Self>().map(|source| &source.0)
    }
}
