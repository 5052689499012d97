//! Errors of a run.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::adapters::status::{Reason, reason_of};
use crate::proto::v1::Refusal;

/// An error that ends a run. The command line turns it into its own kind of failure.
#[derive(Debug)]
pub enum BenchError {
    /// The run cannot start or continue, for the stated reason.
    Failed(String),
    /// No server answers at the address.
    Connect {
        /// `host:port`.
        server: String,
        /// The transport's error.
        cause: tonic::transport::Error,
    },
    /// A call was not answered in time.
    Timeout {
        /// `host:port`.
        server: String,
        /// The timeout.
        timeout: Duration,
    },
    /// A call failed.
    Call {
        /// `host:port`.
        server: String,
        /// The server's status, or one that the client made.
        status: Box<Status>,
    },
    /// The server refused an order that the run needs.
    Refused(Box<Refusal>),
}

impl BenchError {
    pub(super) fn call(server: &str, status: Status) -> Self {
        Self::Call { server: server.to_owned(), status: Box::new(status) }
    }

    /// Returns the reason under which the call is counted.
    pub(super) fn reason(&self) -> String {
        let reason = match self {
            Self::Refused(refusal) => return refusal.reason.clone(),
            Self::Failed(_) => Reason::Internal,
            Self::Connect { .. } => Reason::Unavailable,
            Self::Timeout { .. } => Reason::DeadlineExceeded,
            Self::Call { status, .. } if is_broken(status) => Reason::Unavailable,
            Self::Call { status, .. } => match status.get_details_error_info() {
                Some(info) => return info.reason,
                None => reason_of(status.code()),
            },
        };
        reason.name().to_owned()
    }

    /// Returns true if the connection is gone.
    pub(super) fn is_disconnected(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Call { status, .. } => is_broken(status),
            Self::Failed(_) | Self::Timeout { .. } | Self::Refused(_) => false,
        }
    }
}

/// Returns true if the client made the status because the connection broke. A
/// status of the server has no source.
fn is_broken(status: &Status) -> bool {
    status.source().is_some()
}

impl fmt::Display for BenchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => formatter.write_str(message),
            Self::Connect { server, cause } => {
                write!(formatter, "cannot connect to {server}: {}", innermost(cause))
            }
            Self::Timeout { server, timeout } => {
                write!(formatter, "no answer from {server} within {}", humantime::format_duration(*timeout))
            }
            Self::Call { server, status } if is_broken(status) => {
                write!(formatter, "the connection to {server} broke: {}", innermost(&**status))
            }
            Self::Call { status, .. } => formatter.write_str(status.message()),
            Self::Refused(refusal) => formatter.write_str(&refusal.message),
        }
    }
}

/// Returns the last cause of an error.
fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
