//! Failed commands: reason, message, exit code. [`super::errors`] prints them.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::escape::plain;
use crate::adapters::status::{self, Reason};
use crate::config::redact;
use crate::proto::v1::{BatchRefusal, FieldViolation, Refusal};

/// The result of a command: the exit code, or the reason why it stopped.
pub(super) type Outcome = Result<u8, Stop>;

/// The advice about a command that may have taken effect.
const REPEAT: &str = "the command may have taken effect; it is safe to repeat it";

/// Longest field name or value that a message repeats, in characters.
const ECHO_LIMIT: usize = 64;

/// The reason why a command stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed or was refused.
    Failure(Box<Failure>),
    /// Some of its parts failed.
    Several(Vec<Failure>),
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
    pub refusal: Refusal,
    /// The refused orders of a batch.
    pub batch: Option<BatchRefusal>,
    /// Advice for the user, one sentence each.
    pub advice: Vec<String>,
    pub exit: u8,
    /// Time after which the server allows a retry.
    pub retry_after: Option<Duration>,
    /// True if the same request may succeed later.
    pub is_retryable: bool,
}

impl Failure {
    /// Returns a failure with a reason and a sentence.
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        let refusal =
            Refusal { reason: reason.name().to_owned(), message: message.into(), ..Refusal::default() };
        Self {
            refusal,
            batch: None,
            advice: Vec::new(),
            exit: status::status_codes(reason).exit,
            retry_after: None,
            is_retryable: false,
        }
    }

    /// Returns a failure without a reason: the arguments are wrong, or the command
    /// cannot continue.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        let mut failure = Self::new(Reason::ValidationFailed, message);
        failure.refusal.reason.clear();
        failure
    }

    /// Returns a failure without a reason: the command has done its work, and standard output does not
    /// take the result.
    pub(super) fn unprinted(message: impl Into<String>) -> Self {
        let mut failure = Self::new(Reason::Internal, message);
        failure.refusal.reason.clear();
        failure
    }

    /// Returns the failure for a refusal.
    pub(super) fn of(refusal: Refusal) -> Self {
        let reason = Reason::parse(&refusal.reason).unwrap_or(Reason::Internal);
        Self { refusal, ..Self::new(reason, String::new()) }
    }

    /// Returns the failure for a gRPC status that a server sent.
    pub(super) fn of_status(answer: &Status) -> Self {
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
        failure.is_retryable = match answer.code() {
            Code::Unavailable => true,
            Code::ResourceExhausted => failure.retry_after.is_some(),
            _ => false,
        };
        failure
    }

    /// Marks the failure as one that a retry may avoid.
    pub(super) fn retryable(mut self) -> Self {
        self.is_retryable = true;
        self
    }

    /// Adds what to do.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// Adds how to change the orders of a batch that are not refused, if there are any.
    pub(super) fn of_batch(self, orders: usize) -> Self {
        let refused = self.batch.as_ref().and_then(|batch| usize::try_from(batch.refused_total).ok());
        match refused {
            Some(refused) if refused < orders => {
                self.advise("no order was changed; --partial changes those that are not refused")
            }
            _ => self,
        }
    }

    /// Adds the `request_id` if it is unknown whether the command took effect, so
    /// that the user can repeat it safely.
    pub(super) fn of_request(self, request_id: &str) -> Self {
        self.with_request_value("request_id", request_id)
    }

    /// Adds a value of the request that the user needs to repeat the command, if it is unknown whether the
    /// command took effect.
    pub(super) fn with_request_value(mut self, name: &str, value: &str) -> Self {
        if self.is_uncertain() {
            self.refusal.metadata.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            let option = format!(" --{}={value}", name.replace('_', "-"));
            match self.advice.last_mut().filter(|advice| advice.starts_with(REPEAT)) {
                Some(advice) => advice.push_str(&option),
                None => self.advice.push(format!("{REPEAT} with{option}")),
            }
        }
        self
    }

    /// Adds that the command can be repeated as it is, if it is unknown whether it took effect.
    pub(super) fn repeatable(self) -> Self {
        if self.is_uncertain() { self.advise(REPEAT) } else { self }
    }

    fn is_uncertain(&self) -> bool {
        let uncertain = [Reason::Unavailable, Reason::DeadlineExceeded, Reason::Internal];
        uncertain.iter().any(|reason| reason.name() == self.refusal.reason)
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

    /// Parses a field. An empty string counts as absent. A description of what the text must
    /// be repeats the text.
    pub(super) fn read<T, E: Into<String>>(
        &mut self,
        field: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text.filter(|text| !text.is_empty())?;
        let fault = match parse(text) {
            Ok(value) => return Some(value),
            Err(description) => description.into(),
        };
        self.violation(field, if fault.starts_with("must ") { rejected(&fault, text) } else { fault });
        None
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

/// Returns the description of a violation with the text that it is about. A URL in the wrong
/// place may have a password.
pub(super) fn rejected(description: &str, text: &str) -> String {
    let text = redact(text);
    let mut shown: String = text.chars().take(ECHO_LIMIT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{description}, not \"{}\"", plain(&shown))
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
