//! Failures of the connection: no server, a server of another kind, a broken connection.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::StatusCode;
use tonic::{Code, Status};

use super::common::DEFAULT_SERVER;
use super::has_reason;
use super::peer::{NotGrpc, Speaks};
use crate::adapters::status::Reason;
use crate::cli::failure::Failure;

type Cause<'a> = &'a (dyn Error + 'static);

/// Returns the failure for a server that cannot be reached.
pub(in crate::cli) fn unreachable(server: &str, error: Cause<'_>) -> Failure {
    let cause = innermost(error);
    let fault = find::<io::Error>(error);
    let failure =
        |what: &str| Failure::new(Reason::Unavailable, format!("cannot connect to {server}: {what}"));
    let failure = match fault.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => {
            failure("connection refused").advise("is `pvz serve` running there?")
        }
        Some(io::ErrorKind::NotFound) => failure(&format!("the host is not known ({cause})")),
        Some(io::ErrorKind::TimedOut) => {
            failure("no answer").advise("is the machine running, or does a firewall drop the connection?")
        }
        _ => failure(&cause.to_string()),
    };
    failure.advise(choose(server))
}

/// Returns how to choose another server.
fn choose(server: &str) -> String {
    let default =
        if server == DEFAULT_SERVER { String::new() } else { format!("; the default is {DEFAULT_SERVER}") };
    format!("--server or PVZ_SERVER names the server{default}")
}

/// Returns the failure for a server that is not pvz.
fn not_pvz(server: &str, what: &str) -> Failure {
    Failure::new(Reason::Unavailable, format!("no pvz gRPC server at {server}: {what}"))
        .advise(choose(server))
}

/// Returns the failure for a response that did not arrive in time.
pub(in crate::cli) fn no_response(server: &str, speaks: Speaks, timeout: Duration) -> Failure {
    let timeout = humantime::format_duration(timeout);
    let failure =
        Failure::new(Reason::DeadlineExceeded, format!("no response from {server} within {timeout}"));
    if speaks == Speaks::Http2 {
        return failure.advise("--timeout allows more time");
    }
    let advice = "the server accepted the connection and sent nothing: is it a pvz gRPC server?";
    failure.advise(advice).advise(choose(server))
}

/// Returns the failure for a stream that the server ended too early.
pub(in crate::cli) fn stream_ended(server: &str) -> Failure {
    Failure::new(Reason::Unavailable, format!("the server at {server} ended the stream")).retryable()
}

/// Returns the failure for the status of a call.
pub(in crate::cli) fn of_status(server: &str, speaks: Speaks, status: &Status) -> Failure {
    match status.source() {
        // A status with a source is made on this side.
        Some(cause) => match find::<NotGrpc>(cause) {
            Some(NotGrpc(answer)) => of_answer(server, *answer),
            None => broken(server, speaks, cause),
        },
        None if status.code() == Code::Unimplemented && !has_reason(status) => not_pvz(
            server,
            "the gRPC server there does not know the call; it is another service, or an older release of pvz",
        ),
        None => Failure::of_status(status),
    }
}

/// Returns the failure for an HTTP status without gRPC.
fn of_answer(server: &str, answer: StatusCode) -> Failure {
    let by_proxy = |reason, what: &str| {
        Failure::new(reason, format!("a proxy at {server} {what} (HTTP {})", answer.as_u16()))
    };
    match answer {
        StatusCode::UNAUTHORIZED => by_proxy(Reason::Unauthenticated, "asks for authentication"),
        StatusCode::FORBIDDEN => by_proxy(Reason::PermissionDenied, "does not allow this call"),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => by_proxy(Reason::Unavailable, "gets no answer from pvz").retryable(),
        _ => not_pvz(
            server,
            &format!("the answer is HTTP {} without gRPC (is it the REST port?)", answer.as_u16()),
        ),
    }
}

/// Returns the failure for a broken connection.
fn broken(server: &str, speaks: Speaks, cause: Cause<'_>) -> Failure {
    if is_connect_error(cause) {
        return unreachable(server, cause).retryable();
    }
    match speaks {
        Speaks::Http2 => {
            let cause = innermost(cause);
            Failure::new(Reason::Unavailable, format!("the connection to {server} broke: {cause}"))
                .retryable()
        }
        Speaks::AnotherProtocol => {
            not_pvz(server, "the answer is not HTTP/2 (is it the REST port, or a port with TLS?)")
        }
        Speaks::Nothing => not_pvz(
            server,
            "the connection was closed without an answer (is it the REST port, or a port with TLS?)",
        ),
    }
}

/// Returns true if the connection was never open.
fn is_connect_error(cause: Cause<'_>) -> bool {
    find::<io::Error>(cause).is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::TimedOut
        )
    })
}

fn causes<'e>(error: Cause<'e>) -> impl Iterator<Item = Cause<'e>> {
    std::iter::successors(Some(error), |error: &Cause<'e>| (*error).source())
}

/// Returns the last error of a kind among an error and its causes.
fn find<T: Error + 'static>(error: Cause<'_>) -> Option<&T> {
    causes(error).filter_map(|cause| cause.downcast_ref()).last()
}

/// Returns the last cause of an error.
fn innermost(error: Cause<'_>) -> Cause<'_> {
    causes(error).last().unwrap_or(error)
}
