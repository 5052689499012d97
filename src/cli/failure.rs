//! Failed commands: reason, message, exit code, and how they are printed.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::escape::plain;
use super::stderr;
use crate::adapters::status::{self, Reason};
use crate::proto::v1::{BatchRefusal, FieldViolation, Refusal, order_result};

/// The result of a command: the exit code, or the reason why it stopped.
pub(super) type Outcome = Result<u8, Stop>;

/// Longest field name that a message repeats, in characters.
const ECHO_LIMIT: usize = 64;

/// The reason why a command stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed or was refused.
    Failure(Box<Failure>),
    /// Its output could not be written.
    Output(io::Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// A failed command: a refusal of the server, or an error on this side.
#[derive(Debug)]
pub(super) struct Failure {
    /// The reason is empty for wrong usage. It may be one that this release does
    /// not know.
    refusal: Refusal,
    batch: Option<BatchRefusal>,
    exit: u8,
    /// Time after which the server allows a retry.
    pub retry_after: Option<Duration>,
    retryable: bool,
}

impl Failure {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        let refusal =
            Refusal { reason: reason.name().to_owned(), message: message.into(), ..Refusal::default() };
        Self {
            refusal,
            batch: None,
            exit: status::status_codes(reason).exit,
            retry_after: None,
            retryable: false,
        }
    }

    /// Returns a failure without a reason: the arguments are wrong, or the command
    /// cannot continue.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        let mut failure = Self::new(Reason::ValidationFailed, message);
        failure.refusal.reason.clear();
        failure
    }

    /// Returns the failure for a refusal.
    pub(super) fn of(refusal: Refusal) -> Self {
        let reason = Reason::parse(&refusal.reason).unwrap_or(Reason::Internal);
        Self { refusal, ..Self::new(reason, String::new()) }
    }

    /// Returns the failure for a server that cannot be reached.
    pub(super) fn no_server(server: &str, error: &tonic::transport::Error) -> Self {
        let refused = innermost(error)
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
        let cause = match innermost(error) {
            Some(cause) if !refused => format!(" ({cause})"),
            _ => String::new(),
        };
        Self::new(
            Reason::Unavailable,
            format!("cannot connect to a pvz server at {server}{cause}; start one with: pvz serve"),
        )
    }

    /// Returns the failure for a response that did not arrive in time.
    pub(super) fn deadline(server: &str, timeout: Duration) -> Self {
        let timeout = humantime::format_duration(timeout);
        Self::new(Reason::DeadlineExceeded, format!("no response from {server} within {timeout}"))
    }

    /// Returns the failure for a stream that the server ended too early.
    pub(super) fn stream_ended(server: &str) -> Self {
        let mut failure = Self::new(Reason::Unavailable, format!("the server at {server} ended the stream"));
        failure.retryable = true;
        failure
    }

    /// Returns the failure for a gRPC status, from the server or from the
    /// connection to it.
    pub(super) fn from_status(server: &str, answer: &Status) -> Self {
        if let Some(cause) = answer.source() {
            // A status with a source is made on this side: the connection broke.
            let cause = innermost(cause).map_or_else(|| cause.to_string(), ToString::to_string);
            let mut failure =
                Self::new(Reason::Unavailable, format!("the connection to {server} broke: {cause}"));
            failure.retryable = true;
            return failure;
        }
        let info = answer.get_details_error_info();
        let known = info.as_ref().and_then(|info| Reason::parse(&info.reason));
        let reason = known.unwrap_or_else(|| status::reason_of(answer.code()));
        let mut failure = Self::new(reason, answer.message());
        if let Some(info) = info {
            failure.refusal.reason = info.reason;
            failure.refusal.metadata = info.metadata.into_iter().collect();
        }
        if let Some(request) = answer.get_details_bad_request() {
            let violations = request.field_violations.into_iter();
            failure.refusal.field_violations = violations
                .map(|fault| FieldViolation { field: fault.field, description: fault.description })
                .collect();
        }
        failure.batch = batch_refusal(answer.details());
        failure.retry_after = retry_after(answer);
        failure.retryable = match answer.code() {
            Code::Unavailable => true,
            Code::ResourceExhausted => failure.retry_after.is_some(),
            _ => false,
        };
        failure
    }

    /// Returns the reason, message and metadata.
    pub(super) fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Returns true if the same request may succeed later.
    pub(super) fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Adds the `request_id` if it is unknown whether the command took effect, so
    /// that the user can repeat it safely.
    pub(super) fn of_request(self, request_id: &str) -> Self {
        self.with_request_value("request_id", request_id)
    }

    /// Adds a value of the request that the user needs to repeat the command, if it is unknown whether the
    /// command took effect.
    pub(super) fn with_request_value(mut self, name: &str, value: &str) -> Self {
        let uncertain = [Reason::Unavailable, Reason::DeadlineExceeded, Reason::Internal];
        if uncertain.iter().any(|reason| reason.name() == self.refusal.reason) {
            self.refusal.metadata.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        self
    }

    /// Returns the text for standard error, with colours.
    pub(super) fn render(&self) -> String {
        let mut text = format!("{}error:{} {}\n", "\u{1b}[1;31m", "\u{1b}[0m", sentence(&self.refusal));
        details(&mut text, "  ", &self.refusal);
        if let Some(batch) = &self.batch {
            for result in &batch.results {
                if let Some(order_result::Outcome::Refusal(refusal)) = &result.outcome {
                    let _ = writeln!(text, "  order {}: {}", plain(&result.order_id), sentence(refusal));
                    details(&mut text, "    ", refusal);
                }
            }
            let shown = i32::try_from(batch.results.len()).unwrap_or(i32::MAX);
            if batch.refused_total > shown {
                let _ = writeln!(text, "  and {} more refused orders", batch.refused_total - shown);
            }
        }
        text
    }
}

/// Prints the failure, if there is one, and returns the exit code.
pub(super) fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Ok(exit) => exit,
        Err(Stop::Failure(failure)) => {
            stderr::line(failure.render().trim_end());
            failure.exit
        }
        Err(Stop::Output(error)) => printed(Err(error), 0),
    }
}

/// Returns the exit code of a command that has done its work and printed the
/// result. A closed pipe is not a failure: its reader has read enough. Any other
/// error of standard output is reported, and a success becomes a failure.
pub(super) fn printed(result: io::Result<()>, exit: u8) -> u8 {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            stderr::line(format_args!("error: cannot write to standard output: {error}"));
            if exit == 0 { status::status_codes(Reason::Internal).exit } else { exit }
        }
        _ => exit,
    }
}

/// Parses the fields of a request, and collects the violations.
#[derive(Debug, Default)]
pub(super) struct Fields {
    violations: Vec<FieldViolation>,
}

impl Fields {
    /// Adds a violation. The description continues a sentence that begins with the
    /// name of the field.
    pub(super) fn violation(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.violations.push(FieldViolation { field: field.into(), description: description.into() });
    }

    /// Parses a field. An empty string counts as absent.
    pub(super) fn read<T, E: Into<String>>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text.filter(|text| !text.is_empty())?;
        parse(text).map_err(|description| self.violation(field, description)).ok()
    }

    /// Fails if there are violations.
    pub(super) fn finish(self) -> Result<(), Failure> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.into_failure()) }
    }

    /// Returns `VALIDATION_FAILED` in the form that the server uses.
    pub(super) fn into_failure(self) -> Failure {
        let total = self.violations.len();
        let mut metadata = BTreeMap::new();
        let message = match self.violations.first() {
            None => "the request is not valid".to_owned(),
            Some(FieldViolation { field, description }) => {
                let field: String = field.chars().take(ECHO_LIMIT).collect();
                let more = if total > 1 { format!(" (and {} more)", total - 1) } else { String::new() };
                metadata.insert("field".to_owned(), field.clone());
                format!("the request is not valid: {field} {description}{more}")
            }
        };
        if total > 1 {
            metadata.insert("violations_total".to_owned(), total.to_string());
        }
        let mut failure = Failure::new(Reason::ValidationFailed, message);
        failure.refusal.metadata = metadata;
        failure.refusal.field_violations = self.violations;
        failure
    }
}

/// Returns `REASON: message`.
fn sentence(refusal: &Refusal) -> String {
    let message = plain(&refusal.message);
    if refusal.reason.is_empty() { message.into_owned() } else { format!("{}: {message}", refusal.reason) }
}

/// Writes the metadata and the field violations, one per line.
fn details(text: &mut String, indent: &str, refusal: &Refusal) {
    for (key, value) in &refusal.metadata {
        let _ = writeln!(text, "{indent}{}: {}", plain(key), plain(value));
    }
    for violation in &refusal.field_violations {
        let _ = writeln!(text, "{indent}- {} {}", plain(&violation.field), plain(&violation.description));
    }
}

/// Returns the last cause of an error.
fn innermost<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn std::error::Error + 'static)| (*error).source())
        .last()
}

fn batch_refusal(details: &[u8]) -> Option<BatchRefusal> {
    let details = tonic_types::Status::decode(details).ok()?.details;
    let found = details.iter().find(|any| any.type_url.ends_with("/pvz.v1.BatchRefusal"))?;
    BatchRefusal::decode(found.value.as_slice()).ok()
}

fn retry_after(answer: &Status) -> Option<Duration> {
    let header = || {
        let seconds = answer.metadata().get("retry-after")?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    };
    answer.get_details_retry_info().and_then(|info| info.retry_delay).or_else(header)
}
