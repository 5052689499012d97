//! The rows of an import.

use std::io;

use crate::cli::failure::{Failure, Fields};
use crate::proto::v1::{AcceptOrderRequest, Refusal};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A table with a header; commas, semicolons or tabs between the fields.
    Csv,
    /// A JSON object on each line.
    Ndjson,
}

/// The reason why a file is not imported.
#[derive(Debug)]
pub(super) enum FileFault {
    /// It cannot be read.
    Io(io::Error),
    /// It is not what an import reads.
    Content {
        /// The line of the fault, from 1; `None` if the file has no lines.
        line: Option<u64>,
        /// The fault and what to do. `FILE` stands for the name of the file.
        message: String,
    },
}

impl FileFault {
    /// Returns a fault in a line.
    pub(super) fn at(line: u64, message: impl Into<String>) -> Self {
        Self::Content { line: Some(line), message: message.into() }
    }
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The location of a row in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowLocation {
    /// Index among the rows, from 0.
    pub index: i64,
    /// Number of its first line, from 1.
    pub line: u64,
    /// Offset of its end in the file, in bytes.
    pub end: u64,
}

/// A row as a parser returns it, before it has an index.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedRow {
    /// Number of its first line, from 1.
    pub line: u64,
    /// Offset of its end in the file, in bytes.
    pub end: u64,
    /// The request, or why the row cannot be sent.
    pub content: Result<AcceptOrderRequest, BadRow>,
}

/// A row with its location.
#[derive(Debug)]
pub(super) struct Row {
    pub location: RowLocation,
    /// The request, or why the row cannot be sent.
    pub content: Result<AcceptOrderRequest, BadRow>,
}

/// A row that cannot be sent.
#[derive(Debug, PartialEq)]
pub(super) struct BadRow {
    /// The id of the order; empty if it could not be read.
    pub order_id: String,
    pub refusal: Refusal,
}

impl BadRow {
    /// Returns the row of an order, refused for the reason of a failure.
    pub(super) fn refused(order_id: String, failure: &Failure) -> Self {
        Self { order_id, refusal: failure.refusal.clone() }
    }

    /// Returns a row without a readable order id, refused as `VALIDATION_FAILED`.
    pub(super) fn of(field: &str, description: impl Into<String>) -> Self {
        let mut fields = Fields::default();
        fields.violation(field, description);
        Self::refused(String::new(), &fields.into_failure())
    }

    /// Returns the first fault as a sentence.
    pub(super) fn sentence(&self) -> String {
        let fault = self.refusal.field_violations.first();
        fault.map_or_else(String::new, |fault| format!("{} {}", fault.field, fault.description))
    }
}
