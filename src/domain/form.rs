//! Validation of the form of a request: every check that needs no clock, state or configuration.
//! All fields are checked and all violations are reported at once.

use super::refusal::{FieldViolation, Refusal};

/// Collects the field violations of a request.
#[derive(Debug, Default)]
pub struct Form {
    violations: Vec<FieldViolation>,
}

impl Form {
    /// Adds a violation.
    pub fn fault(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.violations.push(FieldViolation { field: field.into(), description: description.into() });
    }

    /// Returns the field if it is valid, or adds a violation.
    pub fn field<T, E: Into<String>>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|description| self.fault(field, description)).ok()
    }

    /// Like [`field`](Self::field), for a field that may be absent: `Some(None)` means absent,
    /// `None` invalid.
    pub fn optional<T, E: Into<String>>(
        &mut self,
        field: &str,
        parsed: Option<Result<T, E>>,
    ) -> Option<Option<T>> {
        match parsed {
            None => Some(None),
            Some(parsed) => self.field(field, parsed).map(Some),
        }
    }

    /// Returns the request if there are no violations. `value` is `None` only if a violation was
    /// added.
    ///
    /// # Errors
    /// Returns `VALIDATION_FAILED` with all violations.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Refusal> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(Refusal::violations(self.violations)),
        }
    }
}
