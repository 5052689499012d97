//! Why a command did not succeed, and how that is printed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::adapters::status::{self, Reason};
use crate::proto::v1::{BatchRefusal, FieldViolation, Refusal, order_result};

/// What a command ends with: the exit code, or why it stopped.
pub(in crate::cli) type Outcome = Result<u8, Stop>;

/// The longest value that a refusal echoes, in characters.
const ECHO_LIMIT: usize = 64;

/// Why a command stopped.
#[derive(Debug)]
pub(in crate::cli) enum Stop {
    /// It was refused.
    Failure(Box<Failure>),
    /// Its answer could not be printed.
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

/// A refusal as the command line shows it.
#[derive(Debug)]
pub(in crate::cli) struct Failure {
    /// `None` for wrong usage, which has no reason. A server may know reasons
    /// that this client does not.
    refusal: Refusal,
    batch: Option<BatchRefusal>,
    exit: u8,
    /// How long the server asks to wait.
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

    /// Arguments that make no sense.
    pub(in crate::cli) fn usage(message: impl Into<String>) -> Self {
        let mut failure = Self::new(Reason::ValidationFailed, message);
        failure.refusal.reason.clear();
        failure
    }

    /// A refusal made on this side.
    pub(in crate::cli) fn of(refusal: Refusal) -> Self {
        let reason = Reason::parse(&refusal.reason).unwrap_or(Reason::Internal);
        Self { refusal, ..Self::new(reason, String::new()) }
    }

    /// Nobody answers at that address.
    pub(in crate::cli) fn no_server(server: &str, error: &tonic::transport::Error) -> Self {
        let refused = innermost(error)
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
        let cause = match innermost(error) {
            Some(cause) if !refused => format!(" ({cause})"),
            _ => String::new(),
        };
        Self::new(
            Reason::Unavailable,
            format!("no pvz server answers at {server}{cause}; start one with: pvz serve"),
        )
    }

    /// No answer came in time.
    pub(in crate::cli) fn deadline(server: &str, timeout: Duration) -> Self {
        let timeout = humantime::format_duration(timeout);
        Self::new(Reason::DeadlineExceeded, format!("no answer from {server} within {timeout}"))
    }

    /// The server ended a stream that has no end.
    pub(in crate::cli) fn stream_ended(server: &str) -> Self {
        let mut failure = Self::new(Reason::Unavailable, format!("{server} ended the stream"));
        failure.retryable = true;
        failure
    }

    /// What a server, or the way to it, answered.
    pub(in crate::cli) fn from_status(server: &str, answer: &Status) -> Self {
        if let Some(cause) = answer.source() {
            // Made on this side: the connection broke.
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

    /// The refusal of one order of many.
    pub(in crate::cli) fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Whether the same request may succeed a little later.
    pub(in crate::cli) fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Says how to ask again when it is not known whether the command took
    /// effect.
    pub(super) fn of_request(mut self, request_id: &str) -> Self {
        let uncertain = [Reason::Unavailable, Reason::DeadlineExceeded, Reason::Internal];
        if uncertain.iter().any(|reason| reason.name() == self.refusal.reason) {
            self.refusal.metadata.entry("request_id".to_owned()).or_insert_with(|| request_id.to_owned());
        }
        self
    }

    /// The text for standard error, in colours that the stream may drop.
    pub(in crate::cli) fn render(&self) -> String {
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

/// Prints why a command stopped, if it did, and says what to exit with.
pub(in crate::cli) fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Ok(exit) => exit,
        Err(Stop::Failure(failure)) => {
            anstream::eprint!("{}", failure.render());
            failure.exit
        }
        // Whoever reads standard output has read enough.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(Stop::Output(error)) => {
            anstream::eprintln!("error: standard output cannot be written: {error}");
            status::status_codes(Reason::Internal).exit
        }
    }
}

/// Reads the fields of a request that are texts on the command line, and
/// collects what is wrong with them.
#[derive(Debug, Default)]
pub(in crate::cli) struct Fields {
    violations: Vec<FieldViolation>,
}

impl Fields {
    /// Notes a fault, in words that stand after the field's name.
    pub(in crate::cli) fn fault(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.violations.push(FieldViolation { field: field.into(), description: description.into() });
    }

    /// Reads a field that may be absent; an empty text is absent.
    pub(in crate::cli) fn read<T, E: Into<String>>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text.filter(|text| !text.is_empty())?;
        parse(text).map_err(|description| self.fault(field, description)).ok()
    }

    /// Goes on if every field could be read.
    pub(in crate::cli) fn finish(self) -> Result<(), Failure> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.into_failure()) }
    }

    /// `VALIDATION_FAILED`, in the words that the server has for it.
    pub(in crate::cli) fn into_failure(self) -> Failure {
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

/// `REASON: sentence`.
fn sentence(refusal: &Refusal) -> String {
    let message = plain(&refusal.message);
    if refusal.reason.is_empty() { message.into_owned() } else { format!("{}: {message}", refusal.reason) }
}

/// The metadata and the faults of fields, a line each.
fn details(text: &mut String, indent: &str, refusal: &Refusal) {
    for (key, value) in &refusal.metadata {
        let _ = writeln!(text, "{indent}{}: {}", plain(key), plain(value));
    }
    for violation in &refusal.field_violations {
        let _ = writeln!(text, "{indent}- {} {}", plain(&violation.field), plain(&violation.description));
    }
}

/// A text that was sent by somebody, safe for a terminal: control characters
/// are escaped.
pub(in crate::cli) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The end of a chain of errors: what really happened.
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
