//! The rows of an import.

use crate::cli::failure::{Failure, Fields};
use crate::proto::v1::{AcceptOrderRequest, Refusal};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object on each line.
    Ndjson,
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
#[derive(Debug)]
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
#[derive(Debug)]
pub(super) struct BadRow {
    /// The id of the order; empty if it could not be read.
    pub order_id: String,
    pub refusal: Refusal,
}

impl BadRow {
    /// Returns the row of an order, refused for the reason of a failure.
    pub(super) fn refused(order_id: String, failure: &Failure) -> Self {
        Self { order_id, refusal: failure.refusal().clone() }
    }

    /// Returns a row without a readable order id, refused as `VALIDATION_FAILED`.
    pub(super) fn of(field: &str, description: impl Into<String>) -> Self {
        let mut fields = Fields::default();
        fields.violation(field, description);
        Self::refused(String::new(), &fields.into_failure())
    }

    /// Returns a row for a line or record that exceeds the limit.
    pub(super) fn too_long() -> Self {
        Self::of("line", "must be at most 64 KiB long")
    }
}
