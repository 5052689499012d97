//! The form of a request: everything that can be checked without a clock, a
//! state or a configuration. All fields are checked, and all faults reported
//! at once.

use super::refusal::{FieldViolation, Refusal};

/// Collects the faults of a request while its fields are read.
#[derive(Debug, Default)]
pub struct Form {
    violations: Vec<FieldViolation>,
}

impl Form {
    /// Notes a fault.
    pub fn fault(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.violations.push(FieldViolation { field: field.into(), description: description.into() });
    }

    /// Keeps a field that is as it must be, or notes its fault.
    pub fn field<T, E: Into<String>>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|description| self.fault(field, description)).ok()
    }

    /// The same for a field that may be absent: `Some(None)` is absent, `None`
    /// a fault.
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

    /// The request, if no field is at fault. `value` is `None` only when a
    /// fault was noted.
    ///
    /// # Errors
    /// `VALIDATION_FAILED` with every fault.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Refusal> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(Refusal::violations(self.violations)),
        }
    }
}
